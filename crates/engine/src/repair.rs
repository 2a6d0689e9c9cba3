//! Removal of what a daemon left in the kernel, while none of its directories runs: `tared repair`.

use crate::{EngineConfig, Error, Result, engine::network_config};

/// Removes leftovers of an instance and gives a line for each. The caller holds the locks of the directories.
///
/// # Errors
/// The first removal that failed.
pub fn repair(config: &EngineConfig) -> Result<Vec<String>> {
    let networks = network_config(config)?;
    let failed = |operation: &'static str, error: tare_net::Error| {
        Error::new(error.kind(), operation, "networks", config.instance.as_str(), "").with_source(error)
    };
    let found = tare_net::leftovers(&networks).map_err(|error| failed("look for leftovers of", error))?;
    tare_net::repair(&found).map_err(|error| failed("repair", error))?;
    Ok(found.iter().map(ToString::to_string).collect())
}
