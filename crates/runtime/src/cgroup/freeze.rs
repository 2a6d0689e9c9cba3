//! Freezing and thawing, with a bounded wait for the state.

use super::Cgroup;
use crate::{During, Error, Result};
use alloc::format;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use tare_sys::{Errno, cgroup, clock};
use tare_types::ErrorKind;

const DEADLINE_MILLIS: u64 = 10_000;
const STEP_NANOS: i64 = 500_000;

pub(super) fn freeze(made: &Cgroup) -> Result<()> {
    let done = if made.is_v2() { freeze_v2(&made.paths[""]) } else { freeze_v1(freezer(made)?) };
    if done.is_err() {
        // A container half frozen is worse than one not frozen; the first error is what the caller must see.
        let _ = thaw(made);
    }
    done
}

pub(super) fn thaw(made: &Cgroup) -> Result<()> {
    if made.is_v2() {
        return cgroup::write(&made.paths[""], "cgroup.freeze", "0").during("thaw");
    }
    cgroup::write(freezer(made)?, "freezer.state", "THAWED").during("thaw")
}

pub(super) fn is_frozen(made: &Cgroup) -> Result<bool> {
    let text = if made.is_v2() {
        cgroup::read(&made.paths[""], "cgroup.freeze")
    } else {
        match made.paths.get("freezer") {
            // Frozen by itself, not only by a parent.
            Some(directory) => cgroup::read(directory, "freezer.self_freezing"),
            None => return Ok(false),
        }
    };
    match text {
        Ok(text) => Ok(text.trim() == "1"),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(error) => Err(Error::system("read freezer", error)),
    }
}

fn freezer(made: &Cgroup) -> Result<&str> {
    made.paths.get("freezer").map(alloc::string::String::as_str).ok_or_else(|| {
        Error::new(ErrorKind::FailedPrecondition, "freeze", "cgroup", "freezer controller not mounted")
    })
}

/// Version 1 may stay in FREEZING while processes keep appearing; writing the state again moves it on.
fn freeze_v1(directory: &str) -> Result<()> {
    let deadline = clock::monotonic_millis() + DEADLINE_MILLIS;
    let mut round = 0_u32;
    loop {
        cgroup::write(directory, "freezer.state", "FROZEN").during("freeze")?;
        if cgroup::read(directory, "freezer.state").during("freeze")?.trim() == "FROZEN" {
            return Ok(());
        }
        if clock::monotonic_millis() > deadline {
            return Err(timed_out(directory));
        }
        round += 1;
        if round.is_multiple_of(50) {
            // Letting them run for a moment lets forks finish that freezing interrupted.
            cgroup::write(directory, "freezer.state", "THAWED").during("freeze")?;
            super::remove::pause(10_000_000);
        } else if round > 2 {
            super::remove::pause(STEP_NANOS);
        }
    }
}

/// Version 2 tells by a priority event on `cgroup.events`.
fn freeze_v2(directory: &str) -> Result<()> {
    let path = format!("{directory}/cgroup.events");
    let deadline = clock::monotonic_millis() + DEADLINE_MILLIS;
    cgroup::write(directory, "cgroup.freeze", "1").during("freeze")?;
    let events = tare_sys::file::open(&path, OFlags::RDONLY, 0).during("freeze")?;
    loop {
        let text = cgroup::read(directory, "cgroup.events").during("freeze")?;
        if cgroup::value_of(&text, "frozen") == Some(1) {
            return Ok(());
        }
        if clock::monotonic_millis() > deadline {
            return Err(timed_out(directory));
        }
        // Short, because the event may fall between the read and the poll.
        let timeout = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let mut fds = [PollFd::new(&events, PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::system("freeze", tare_sys::Error::new("poll", path, errno)));
            }
        }
    }
}

fn timed_out(directory: &str) -> Error {
    let detail = "unable to freeze: processes did not stop within 10 s";
    Error::new(ErrorKind::DeadlineExceeded, "freeze", directory, detail)
}
