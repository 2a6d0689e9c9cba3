//! The daemon's own log, on standard error.

use crate::config::Debug;
use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging as the configuration says.
///
/// # Errors
/// For a level that is none.
pub fn start(config: &Debug) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter(&config.level)?).with_context(|| {
        format!("log level {:?} is none of trace, debug, info, warn, error", config.level)
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = if config.format == "json" { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| anyhow::anyhow!("start logging: {error}"))
}

/// The filter of a level. containerd's other words are understood, and libraries that tell each frame stay quiet. What
/// has `=` or `,` is a filter of its own (`info,tare_engine=trace`).
fn filter(level: &str) -> anyhow::Result<String> {
    Ok(match level.to_ascii_lowercase().as_str() {
        "" => "info".to_owned(),
        "warning" => "warn".to_owned(),
        "fatal" | "panic" => "error".to_owned(),
        level @ ("debug" | "trace") => {
            format!("{level},h2=info,hyper=info,hyper_util=info,tower=info,rustls=info")
        }
        other @ ("info" | "warn" | "error" | "off") => other.to_owned(),
        own if own.contains(['=', ',']) => level.to_owned(),
        _ => anyhow::bail!("log level {level:?} is none of trace, debug, info, warn, error"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_both_worlds() {
        for level in ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic", ""] {
            assert!(EnvFilter::try_new(filter(level).unwrap()).is_ok(), "{level}");
        }
        assert!(EnvFilter::try_new(filter("info,tare_engine=trace").unwrap()).is_ok());
        assert!(EnvFilter::try_new(filter("lou=d=er").unwrap()).is_err());
        assert!(filter("loud").is_err());
    }
}
