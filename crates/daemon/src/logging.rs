//! The daemon's own log, on standard error.

use crate::config::Debug;
use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging as the configuration says.
///
/// # Errors
/// For a level that is none.
pub fn start(config: &Debug) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&config.level).with_context(|| format!("log level {:?}", config.level))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = if config.format == "json" { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| anyhow::anyhow!("start logging: {error}"))
}
