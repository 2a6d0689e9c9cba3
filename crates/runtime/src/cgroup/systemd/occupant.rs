//! A process that does nothing but be in a scope: systemd makes none without.

use super::super::Cgroup;
use crate::{
    Error, Result,
    child::{self, Pipe},
};
use alloc::{string::ToString, vec::Vec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use tare_launch::{CloneRequest, Op, Program, Spawned};
use tare_sys::cgroup;
use tare_types::spec::LinuxResources;

/// The process; it is ended and reaped when this is dropped, and ends by itself when this process does.
#[derive(Debug)]
pub(crate) struct Occupant {
    spawned: Spawned,
    /// The other end is what it reads from: end of file ends it.
    _life: OwnedFd,
    /// A directory whose limit on processes leaves no room beside this one.
    narrow: Option<alloc::string::String>,
}

impl Occupant {
    pub(super) fn new() -> Result<Self> {
        let Pipe { read, write } = Pipe::new()?;
        // It holds nothing of the caller's, above all not the end that keeps it alive.
        let mut keep = Vec::from([read.as_raw_fd()]);
        keep.sort_unstable();
        let ops = [Op::CloseOthers(&keep), Op::AwaitByte(read.as_fd())];
        // Nobody wants to know how it ends.
        let program = Program { ops: &ops, report: read.as_fd(), root: None };
        let request = CloneRequest { namespaces: 0, cgroup: None };
        let spawned = tare_launch::spawn(&request, &program)
            .map_err(|errno| Error::system("make cgroup", tare_sys::Error::new("clone3", "", errno)))?;
        Ok(Self { spawned, _life: write, narrow: None })
    }

    pub(super) fn pid(&self) -> i32 {
        self.spawned.pid
    }

    /// Where one process is all that may be, a second one must be born before this one goes (version 2; in version 1
    /// the first process enters by itself, which no limit forbids).
    pub(super) fn make_room(&mut self, made: &Cgroup, resources: &LinuxResources) -> Result<()> {
        let limit = resources.pids.as_ref().and_then(|pids| pids.limit);
        let named = resources.unified.get("pids.max").map(|value| value.trim());
        if made.is_v2() && (limit == Some(1) || named == Some("1")) {
            let directory = made.paths[""].as_str();
            cgroup::write(directory, "pids.max", "2").map_err(|error| Error::system("make cgroup", error))?;
            self.narrow = Some(directory.to_string());
        }
        Ok(())
    }

    /// Leaves the place to the container's first process, which is in.
    pub(crate) fn leave(mut self) -> Result<()> {
        let narrow = self.narrow.take();
        drop(self);
        match narrow {
            Some(directory) => cgroup::write(&directory, "pids.max", "1")
                .map_err(|error| Error::system("limit resources", error)),
            None => Ok(()),
        }
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        // It can only have ended already; then it is reaped all the same.
        let _ = tare_sys::process::send_signal(self.spawned.pidfd.as_fd(), 9);
        let _ = tare_sys::process::reap_within(self.spawned.pidfd.as_fd(), child::KILL_LIMIT);
    }
}
