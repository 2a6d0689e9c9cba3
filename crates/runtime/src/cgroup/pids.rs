//! The processes of a cgroup and of those below it.

use super::{Cgroup, freeze};
use crate::{During, Error, Result};
use alloc::vec::Vec;
use tare_sys::{Errno, cgroup, clock, process};
use tare_types::ErrorKind;

const SIGKILL: i32 = 9;
const DEADLINE_MILLIS: u64 = 5_000;

pub(super) fn all(made: &Cgroup) -> Result<Vec<i32>> {
    // In version 1 every tree has the same processes; runc asks that of the devices controller.
    let directory = made.directory("devices").or_else(|| made.directories().first().copied());
    directory.map_or(Ok(Vec::new()), |directory| cgroup::processes(directory).during("list processes"))
}

/// The kernel has no event for the end of the last process in version 1: it is asked again and again.
pub(super) fn is_deserted(made: &Cgroup, limit: u64) -> Result<bool> {
    let deadline = clock::monotonic_millis() + limit;
    loop {
        if all(made)?.is_empty() {
            return Ok(true);
        }
        if clock::monotonic_millis() > deadline {
            return Ok(false);
        }
        super::remove::pause(500_000);
    }
}

pub(super) fn kill(made: &Cgroup, signal: i32) -> Result<()> {
    if signal == SIGKILL && made.is_v2() {
        match cgroup::write(&made.paths[""], "cgroup.kill", "1") {
            Ok(()) => return Ok(()),
            Err(error) if error.errno() == Errno::NODEV => return Ok(()),
            // Before Linux 5.14, or removed already: the loop finds out.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(Error::system("kill", error)),
        }
    }
    // Nobody forks while frozen, so that one pass reaches all. Signals act when thawed.
    let before = freeze::is_frozen(made)?;
    if !before && freeze::freeze(made).is_err() {
        return if signal == SIGKILL { until_empty(made) } else { once(made, signal).map(drop) };
    }
    let done = once(made, signal).map(drop);
    // A paused container stays paused, but killed processes must run to die.
    if before && signal != SIGKILL { done } else { done.and(freeze::thaw(made)) }
}

fn once(made: &Cgroup, signal: i32) -> Result<usize> {
    let pids = all(made)?;
    for pid in &pids {
        match process::kill(*pid, signal) {
            Err(error) if error.errno() != Errno::SRCH => return Err(error).during("kill"),
            _ => {}
        }
    }
    Ok(pids.len())
}

/// Without a freezer: again and again until nobody is left.
fn until_empty(made: &Cgroup) -> Result<()> {
    let deadline = clock::monotonic_millis() + DEADLINE_MILLIS;
    while once(made, SIGKILL)? > 0 {
        if clock::monotonic_millis() > deadline {
            let detail = "processes are left after 5 s of SIGKILL";
            return Err(Error::new(ErrorKind::DeadlineExceeded, "kill", "cgroup", detail));
        }
        super::remove::pause(1_000_000);
    }
    Ok(())
}
