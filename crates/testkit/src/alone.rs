//! A network of the test's own: its thread in a new network namespace, with a loopback interface that is up.
//!
//! Bridges, addresses and tables that a test makes there are its own, and go with its last thread.

use crate::skip;
use rustix::thread::UnshareFlags;
use std::{future::Future, process::Command};

/// Takes the calling thread, and every thread it starts from here on, into a new network namespace.
///
/// # Errors
/// What is missing to do so.
pub fn enter_network() -> Result<(), String> {
    #[allow(
        deprecated,
        reason = "the descriptor table stays shared: what the unsafe one warns of is not done"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNET)
        .map_err(|error| format!("a network namespace of its own (unshare: {error})"))?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    match up {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("ip (package iproute2) to bring the loopback interface up: {other:?}")),
    }
}

/// Runs an asynchronous test on a runtime whose threads are all in a network of their own; counted as skipped where
/// that cannot be.
pub fn alone(test: impl Future<Output = ()>) {
    if let Err(what) = enter_network() {
        skip::skipped(&format!("needs {what}"));
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("invariant: a test has threads and descriptors left").block_on(test);
}
