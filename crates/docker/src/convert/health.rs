//! Health checks: Docker's request, and what is shown.

use crate::convert::time_text;
use crate::error::ApiError;
use crate::wire::config::{Config, HealthConfig};
use crate::wire::container::{Health as WireHealth, HealthResult};
use tare_engine::health::{Health, HealthCheck};
use tare_engine::state::ContainerState;

/// A millisecond, the least time that a check may name, in nanoseconds.
const LEAST: i64 = 1_000_000;

/// The engine's check of a configuration that the image has completed; `None` for none and for `NONE`.
pub(crate) fn to_check(config: &Config) -> Option<HealthCheck> {
    let check = config.healthcheck.as_ref()?;
    let mut test = check.test.iter().flatten().cloned();
    let argv = match test.next()?.as_str() {
        "CMD" => test.collect(),
        "CMD-SHELL" => {
            let shell = match config.shell.as_slice() {
                [] => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
                shell => shell.to_vec(),
            };
            shell.into_iter().chain(test).collect()
        }
        _ => return None,
    };
    let nanos = |value: i64| u64::try_from(value).unwrap_or(0);
    Some(HealthCheck {
        argv,
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: u32::try_from(check.retries).unwrap_or(0),
    })
}

/// dockerd's refusals.
pub(crate) fn check(config: &Config) -> Result<(), ApiError> {
    let Some(health) = &config.healthcheck else { return Ok(()) };
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < LEAST {
            return Err(ApiError::bad_parameter(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(ApiError::bad_parameter("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// Fills what a client left open of its check with what the image says.
pub(crate) fn merge(own: &mut HealthConfig, image: &HealthConfig) {
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// `State.Health` of an inspected container.
pub(crate) fn to_wire(health: &Health) -> WireHealth {
    WireHealth {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak,
        log: health
            .log
            .iter()
            .map(|probe| HealthResult {
                start: time_text(Some(probe.start)),
                end: time_text(Some(probe.end)),
                exit_code: probe.exit_code,
                output: probe.output.clone(),
            })
            .collect(),
    }
}

/// The word of a container's health for filters: `none` without a check.
pub(crate) fn word(state: &ContainerState) -> &'static str {
    state.health.as_ref().map_or("none", |health| health.status.as_str())
}

/// What `ps` says behind `Up 3 minutes`, with the space before it.
pub(crate) fn suffix(state: &ContainerState) -> String {
    match word(state) {
        "none" => String::new(),
        "starting" => " (health: starting)".to_owned(),
        word => format!(" ({word})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        crate::wire::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn tests_become_programs() {
        let argv = |json: &str| to_check(&config(json)).map(|check| check.argv.join(" "));
        assert_eq!(argv(r#"{"Healthcheck":{"Test":["CMD","a","b"]}}"#).unwrap(), "a b");
        assert_eq!(argv(r#"{"Healthcheck":{"Test":["CMD-SHELL","x y"]}}"#).unwrap(), "/bin/sh -c x y");
        let shell = r#"{"Healthcheck":{"Test":["CMD-SHELL","x"]},"Shell":["/bin/ash","-ec"]}"#;
        assert_eq!(argv(shell).unwrap(), "/bin/ash -ec x");
        for none in [r#"{"Healthcheck":{"Test":["NONE"]}}"#, "{}", r#"{"Healthcheck":{}}"#] {
            assert_eq!(argv(none), None, "{none}");
        }
    }

    #[test]
    fn what_the_client_left_open_is_the_images() {
        let mut own = HealthConfig { retries: 2, ..HealthConfig::default() };
        let image = HealthConfig {
            test: Some(vec!["CMD".into(), "true".into()]),
            interval: 7,
            retries: 5,
            ..HealthConfig::default()
        };
        merge(&mut own, &image);
        assert_eq!((own.test, own.interval, own.retries), (image.test, 7, 2));
    }

    #[test]
    fn impossible_checks_are_refused_in_dockerds_words() {
        let message = |json: &str| check(&config(json)).unwrap_err().message().to_owned();
        assert_eq!(
            message(r#"{"Healthcheck":{"Interval":1000}}"#),
            "Interval in Healthcheck cannot be less than 1ms"
        );
        assert_eq!(message(r#"{"Healthcheck":{"Retries":-1}}"#), "Retries in Healthcheck cannot be negative");
    }
}
