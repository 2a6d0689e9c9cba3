//! Removal of what a daemon left in the kernel, while none of its directories runs: `tared repair`.
//!
//! Containers outlive a daemon: what a living one uses stays. One lives when its shim answers at its socket.

use crate::{
    EngineConfig, Error, Result, engine::network_config, lifecycle::restore::find_bundles,
    shim::bundle::Bundle,
};
use std::{os::unix::net::UnixStream, time::Duration};
use tare_net::{ContainerKey, Networks};

/// The longest wait for the kernel to let go of what dead containers had.
const RELEASE: Duration = Duration::from_secs(30);

/// Removes leftovers of an instance and gives a line for each. The caller holds the locks of the directories.
///
/// # Errors
/// The first removal that failed.
pub fn repair(config: &EngineConfig) -> Result<Vec<String>> {
    let failed = |operation: &'static str| {
        move |error: tare_net::Error| {
            Error::new(error.kind(), operation, "networks", config.instance.as_str(), "").with_source(error)
        }
    };
    let live = living(config);
    let networks = network_config(config)?;
    let opened = Networks::open(networks.clone()).map_err(failed("open"))?;
    let report = opened.reconcile(&live).map_err(failed("reconcile"))?;
    opened.settle(RELEASE).map_err(failed("release"))?;
    drop(opened);
    let mut lines: Vec<String> =
        report.released.iter().map(|container| format!("network of container {container}")).collect();
    lines.extend(report.removed.iter().map(ToString::to_string));
    if live.is_empty() {
        let found = tare_net::leftovers(&networks).map_err(failed("look for leftovers of"))?;
        tare_net::repair(&found).map_err(failed("repair"))?;
        lines.extend(found.iter().map(ToString::to_string));
        crate::engine::remove_cgroup_parent(&config.instance);
    }
    Ok(lines)
}

/// The containers whose shim answers.
fn living(config: &EngineConfig) -> Vec<ContainerKey> {
    let bundles = find_bundles(&config.state).into_iter();
    let alive = bundles.filter(|key| {
        let facts = Bundle::of(&config.state, key).facts();
        facts.is_some_and(|facts| UnixStream::connect(facts.address).is_ok())
    });
    alive.map(|key| ContainerKey { namespace: key.namespace, id: key.id }).collect()
}
