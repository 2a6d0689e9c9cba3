//! The shim against the real kernel: driven as tared drives it, as Go's containerd drives it, and its codec against
//! Go's shim.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod containerd;
mod events;
mod go_shim;
mod life;
mod streams;
mod support;

/// Prints why a test cannot run here; it then counts as skipped.
#[macro_export]
macro_rules! skip_unless_able {
    () => {
        if let Some(reason) = $crate::support::cannot_run() {
            tare_testkit::skip::skipped(reason);
            return;
        }
    };
}
