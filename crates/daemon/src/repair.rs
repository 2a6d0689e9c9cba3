//! `tared repair`: what a daemon left in the kernel is removed while none runs.

use crate::{config::Config, instance};
use std::path::Path;

/// Removes leftovers of the instance and gives a line for each.
///
/// # Errors
/// When a daemon holds the directories, or the first removal that failed.
pub fn repair(config: &Config, beside: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let _locks = instance::lock(&config.root, &config.state)?;
    let id = instance::id(&config.root)?;
    Ok(tare_engine::repair::repair(&config.engine(id, beside))?)
}
