//! `changes` of a commit or an import: single lines of a Dockerfile that set what containers of the image run as.

use crate::convert::ports;
use crate::error::ApiError;
use crate::wire::StrSlice;
use crate::wire::config::{Config, HealthConfig};
use tare_types::image::{Empty, ExecutionConfig};

/// Applies the lines, in order.
pub(crate) fn apply(config: &mut Config, lines: &[&str]) -> Result<(), ApiError> {
    for line in lines.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        instruction(config, &word.to_ascii_uppercase(), rest.trim())?;
    }
    Ok(())
}

fn instruction(config: &mut Config, word: &str, rest: &str) -> Result<(), ApiError> {
    if rest.is_empty() {
        return Err(ApiError::bad_parameter(format!("{word} requires at least one argument")));
    }
    match word {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "ENV" => {
            for (name, value) in pairs(rest) {
                let env = config.env.get_or_insert_default();
                env.retain(|entry| entry.split('=').next() != Some(name.as_str()));
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(rest)),
        "EXPOSE" => {
            for port in words(rest) {
                let port = ports::parse_port(&port)?;
                let exposed = config.exposed_ports.get_or_insert_default();
                exposed.extend(ports::canonical([port]).into_keys().map(|port| (port, Empty {})));
            }
        }
        "USER" => config.user = rest.to_owned(),
        "VOLUME" => {
            let volumes = match json_list(rest) {
                Some(list) => list,
                None => words(rest),
            };
            config.volumes.get_or_insert_default().extend(volumes.into_iter().map(|path| (path, Empty {})));
        }
        "WORKDIR" => {
            let base = config.working_dir.trim_end_matches('/').to_owned();
            let path = if rest.starts_with('/') { rest.to_owned() } else { format!("{base}/{rest}") };
            config.working_dir = crate::convert::mounts::clean(&path);
        }
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        "HEALTHCHECK" => config.healthcheck = Some(health(rest)?),
        "ONBUILD" => return Err(ApiError::not_implemented("ONBUILD among changes")),
        other => {
            let other = other.to_ascii_lowercase();
            return Err(ApiError::bad_parameter(format!("{other} is not a valid change command")));
        }
    }
    Ok(())
}

/// `["a", "b"]` as it is, anything else through the shell.
fn command(text: &str) -> StrSlice {
    let shell = || vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()];
    StrSlice(Some(json_list(text).unwrap_or_else(shell)))
}

fn json_list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `A=1 B="x y"`, or the older `A x y`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let words = words(text);
    if words.first().is_some_and(|word| word.contains('=')) {
        let split =
            |word: &String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        return words.iter().filter_map(split).collect();
    }
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    vec![(name.to_owned(), value.trim().to_owned())]
}

/// Words of a line: quotes keep spaces, a backslash keeps the next character.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut inside) = (Vec::new(), String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quote, inside) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if inside || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (c, None) => word.push(c),
        }
    }
    if inside || !word.is_empty() {
        words.push(word);
    }
    words
}

fn health(text: &str) -> Result<HealthConfig, ApiError> {
    let mut check = HealthConfig::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let wrong = || ApiError::bad_parameter(format!("invalid flag of HEALTHCHECK: --{flag}"));
        let nanos = || crate::units::parse_go_duration(value).ok_or_else(wrong);
        match name {
            "interval" => check.interval = nanos()?,
            "timeout" => check.timeout = nanos()?,
            "start-period" => check.start_period = nanos()?,
            "start-interval" => check.start_interval = nanos()?,
            "retries" => check.retries = value.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = Some(match (word.to_ascii_uppercase().as_str(), json_list(command.trim())) {
        ("NONE", _) => vec!["NONE".to_owned()],
        ("CMD", Some(list)) => std::iter::once("CMD".to_owned()).chain(list).collect(),
        ("CMD", None) => vec!["CMD-SHELL".to_owned(), command.trim().to_owned()],
        (other, _) => {
            return Err(ApiError::bad_parameter(format!("unknown type {other:?} in HEALTHCHECK (try CMD)")));
        }
    });
    Ok(check)
}

/// What of a configuration an image keeps.
pub(crate) fn to_execution(config: &Config) -> ExecutionConfig {
    let text = serde_json::to_value(config).unwrap_or_default();
    // The names are the same; what an image does not know is left out.
    let mut kept: ExecutionConfig = serde_json::from_value(text).unwrap_or_default();
    kept.env.retain(|entry| entry.contains('='));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(lines: &[&str]) -> Config {
        let mut config = Config { env: Some(vec!["A=0".into()]), ..Config::default() };
        apply(&mut config, lines).unwrap();
        config
    }

    #[test]
    fn lines_set_the_configuration() {
        let config = applied(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint run it",
            "ENV A=1 B=\"x y\"",
            "LABEL k=v",
            "EXPOSE 80 53/udp",
            "VOLUME /a /b",
            "WORKDIR /srv\nWORKDIR sub",
            "USER nobody",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=2 CMD curl x",
        ]);
        assert_eq!(config.cmd.as_slice(), ["a", "b c"]);
        assert_eq!(config.entrypoint.as_slice(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env.unwrap(), ["A=1", "B=x y"]);
        assert_eq!(config.exposed_ports.unwrap().keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes.unwrap().len(), 2);
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv/sub", "nobody"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (5_000_000_000, 2));
        assert_eq!(check.test.unwrap(), ["CMD-SHELL", "curl x"]);
    }

    #[test]
    fn other_lines_are_refused() {
        for (line, message) in [
            ("RUN ls", "run is not a valid change command"),
            ("CMD", "CMD requires at least one argument"),
            ("HEALTHCHECK MAYBE x", "unknown type \"MAYBE\" in HEALTHCHECK (try CMD)"),
        ] {
            let error = apply(&mut Config::default(), &[line]).unwrap_err();
            assert_eq!((error.status().as_u16(), error.message()), (400, message));
        }
    }

    #[test]
    fn an_image_keeps_what_it_knows() {
        let config = Config {
            hostname: "h".into(),
            env: Some(vec!["A=1".into(), "GONE".into()]),
            cmd: StrSlice(Some(vec!["x".into()])),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            ..Config::default()
        };
        let kept = to_execution(&config);
        assert_eq!(
            (kept.env.as_slice(), kept.cmd.as_slice()),
            (&["A=1".to_owned()][..], &["x".to_owned()][..])
        );
        assert_eq!(kept.labels["a"], "b");
    }
}
