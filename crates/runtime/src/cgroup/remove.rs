//! Removing directories. A cgroup is busy until its last process has been reaped and its last child is gone.

use super::Cgroup;
use crate::{Error, Result};
use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::thread::{Timespec, nanosleep};
use tare_sys::{Errno, Error as SysError, cgroup, clock};
use tare_types::ErrorKind;

const DEADLINE_MILLIS: u64 = 2_000;

pub(super) fn all(made: &Cgroup) -> Result<()> {
    let mut deadline = None;
    let mut first = Ok(());
    for directory in made.directories() {
        // One that stays does not keep the others.
        let removed = within(directory, &mut deadline);
        if first.is_ok() {
            first = removed;
        }
    }
    first
}

/// Removes one directory, with those below it.
pub(super) fn one(directory: &str) -> core::result::Result<(), SysError> {
    match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(errno) => return Err(SysError::new("rmdir", directory, errno)),
    }
    let below = cgroup::children(directory);
    let busy = || SysError::new("rmdir", directory, Errno::BUSY);
    if below.is_empty() {
        return Err(busy());
    }
    for child in below {
        one(&child)?;
    }
    match unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(busy()),
        Err(errno) => Err(SysError::new("rmdir", directory, errno)),
    }
}

/// The deadline is one for all, and is set when the first directory is found busy.
fn within(directory: &str, deadline: &mut Option<u64>) -> Result<()> {
    let mut wait = 100_000;
    loop {
        match one(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.errno() == Errno::BUSY && is_early(deadline) => {
                pause(wait);
                wait = (wait * 2).min(20_000_000);
            }
            Err(error) => {
                let busy = error.errno() == Errno::BUSY;
                let error = Error::system("remove cgroup", error);
                return Err(if busy { error.with_kind(ErrorKind::FailedPrecondition) } else { error });
            }
        }
    }
}

fn is_early(deadline: &mut Option<u64>) -> bool {
    let now = clock::monotonic_millis();
    now < *deadline.get_or_insert(now + DEADLINE_MILLIS)
}

/// Waits for less than a second. The kernel has no event for the end of a dying process in a cgroup of version 1.
pub(super) fn pause(nanoseconds: i64) {
    // An interrupted wait only means to look again sooner.
    let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: nanoseconds });
}
