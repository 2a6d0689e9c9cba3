//! Memory shortage: a descriptor that tells, and the kernel's count of what it killed.

use super::Cgroup;
use crate::{During, Error, Result};
use alloc::{
    format,
    string::{String, ToString},
};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use tare_sys::{Context, Errno, cgroup};
use tare_types::ErrorKind;

/// A watch on a container's memory controller.
///
/// Poll the descriptor for [`OomEvents::interest`], then call [`OomEvents::take`].
#[derive(Debug)]
pub struct OomEvents {
    /// Version 1: an eventfd registered with `memory.oom_control`. Version 2: `memory.events` itself.
    fd: OwnedFd,
    directory: String,
    v2: bool,
    seen: u64,
}

impl OomEvents {
    pub(super) fn open(made: &Cgroup) -> Result<Self> {
        const OPERATION: &str = "watch memory";
        let Some(directory) = made.directory("memory") else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION, "cgroup", "no memory controller"));
        };
        let directory = directory.to_string();
        if made.is_v2() {
            let path = format!("{directory}/memory.events");
            let fd = tare_sys::file::open(&path, OFlags::RDONLY, 0).during(OPERATION)?;
            let seen = kills(made)?;
            return Ok(Self { fd, directory, v2: true, seen });
        }
        let control = format!("{directory}/memory.oom_control");
        let control = tare_sys::file::open(&control, OFlags::RDONLY, 0).during(OPERATION)?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .on("eventfd", || "memory.oom_control")
            .during(OPERATION)?;
        let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        cgroup::write(&directory, "cgroup.event_control", &line).during(OPERATION)?;
        Ok(Self { fd, directory, v2: false, seen: 0 })
    }

    /// What to poll for: readable in version 1, a priority event in version 2.
    pub fn interest(&self) -> PollFlags {
        if self.v2 { PollFlags::PRI } else { PollFlags::IN }
    }

    /// Takes what the descriptor told: true for a shortage, false for something else, the end of the cgroup
    /// among it.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn take(&mut self) -> Result<bool> {
        if self.v2 {
            // Reading through the descriptor is what resets it.
            let text = pread_text(&self.fd).on("read", || "memory.events").during("watch memory")?;
            let now = cgroup::value_of(&text, "oom_kill").unwrap_or(self.seen);
            let more = now > self.seen;
            self.seen = now;
            return Ok(more);
        }
        let mut count = [0_u8; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno).on("read", || "eventfd").during("watch memory"),
        }
        // The removal of the cgroup is told the same way.
        Ok(cgroup::read(&self.directory, "memory.oom_control").is_ok())
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn kills(made: &Cgroup) -> Result<u64> {
    let Some(directory) = made.directory("memory") else { return Ok(0) };
    let name = if made.is_v2() { "memory.events" } else { "memory.oom_control" };
    match cgroup::read(directory, name) {
        Ok(text) => Ok(cgroup::value_of(&text, "oom_kill").unwrap_or(0)),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV) => Ok(0),
        Err(error) => Err(Error::system("read memory events", error)),
    }
}

fn pread_text(fd: &OwnedFd) -> rustix::io::Result<String> {
    let mut buffer = [0_u8; 4096];
    let length = match rustix::io::pread(fd, &mut buffer, 0) {
        Ok(length) => length,
        // The cgroup is gone.
        Err(Errno::NODEV) => 0,
        Err(errno) => return Err(errno),
    };
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
