//! Reaping: every child that ends is waited for, whoever made it.
//!
//! The shim is a subreaper, so processes whose parents in a container have gone become its children. SIGCHLD wakes
//! the loop; one signal may stand for many exits, so each wake reaps until there is nothing left. All children are
//! made on the thread that reaps, and registered before it looks again, so no exit is missed and none is taken for
//! an orphan's; while the runtime waits for hooks on another thread, only children that are known are reaped. Signals to children go through their pidfds: a number that is used again is never hit.

use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shim::Shim;

/// Registers for SIGCHLD; to be done before the first child exists.
///
/// # Errors
/// The signal cannot be registered.
pub(crate) fn register() -> std::io::Result<Signal> {
    signal(SignalKind::child())
}

/// Reaps for as long as the shim lives.
pub(crate) async fn run(shim: Arc<Shim>, mut signals: Signal) {
    loop {
        tokio::select! {
            signal = signals.recv() => if signal.is_none() { return },
            () = shim.back.notified() => {}
        }
        match shim.only() {
            Some(known) => reap_known(&shim, &known),
            None => reap_all(&shim),
        }
    }
}

/// While the runtime makes and reaps children on another thread, what is not known may be one of those.
fn reap_known(shim: &Shim, known: &[i32]) {
    for pid in known.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        if let Ok(Some((pid, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
            told(shim, pid, status);
        }
    }
}

fn reap_all(shim: &Shim) {
    // An error means that there is no child at all.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        told(shim, pid, status);
    }
}

fn told(shim: &Shim, pid: Pid, status: WaitStatus) {
    let pid = pid.as_raw_nonzero().get();
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => shim.reaped(pid, code as u32, false),
        (None, Some(signal)) => shim.reaped(pid, 128 + signal as u32, signal == 9),
        // Stopped or continued: not asked for.
        (None, None) => {}
    }
}
