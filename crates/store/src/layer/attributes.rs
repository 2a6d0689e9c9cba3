//! Owner, mode, extended attributes and times of what was extracted, with no system call that changes nothing.

use crate::tar::{Entry, Time};
use rustix::{
    fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use std::os::fd::BorrowedFd;

/// What the kernel gives to new files of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Creator {
    uid: u32,
    gid: u32,
    umask: u32,
}

impl Creator {
    /// Read from procfs: asking for the umask by system call means setting it. When it cannot be read, every file is
    /// given owner and mode.
    pub(super) fn current() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        // Real, effective, saved, file system.
        let id = |key| line(key).and_then(|ids| ids.split_whitespace().nth(3)?.parse().ok());
        Self {
            uid: id("Uid:").unwrap_or(u32::MAX),
            gid: id("Gid:").unwrap_or(u32::MAX),
            umask: line("Umask:").and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777),
        }
    }

    /// The owner that must be set on a new file, if any.
    pub(super) fn owner(&self, uid: u32, gid: u32, parent_sets_group: bool) -> Option<(Uid, Gid)> {
        let right = uid == self.uid && gid == self.gid && !parent_sets_group;
        (!right).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Mode to create with: no set-id bit before the owner is right.
    pub(super) fn initial_mode(entry: &Entry) -> Mode {
        Mode::from_raw_mode(entry.mode & 0o777)
    }

    /// Whether the mode at creation is not the final one.
    pub(super) fn needs_mode(&self, entry: &Entry, parent_sets_group: bool) -> bool {
        entry.mode & 0o7000 != 0 || entry.mode & self.umask != 0 || parent_sets_group
    }
}

/// Access and modification time. A time before 1970 becomes 1970, as in containerd.
pub(super) fn timestamps(entry: &Entry) -> Timestamps {
    let access = entry.atime.map_or(entry.mtime, |atime| atime.max(entry.mtime));
    Timestamps { last_access: bounded(access), last_modification: bounded(entry.mtime) }
}

fn bounded(time: Time) -> Timespec {
    match time.seconds < 0 {
        true => Timespec { tv_sec: 0, tv_nsec: 0 },
        false => Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) },
    }
}

/// Sets the entry's extended attributes. Those of overlayfs itself are never taken from an archive: they would
/// change how the stack of layers is read. What the file system does not support is left out, as in containerd.
pub(super) fn set_xattrs(entry: &Entry, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    set_xattrs_with(entry, |name, value| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))
}

pub(super) fn set_xattrs_with(
    entry: &Entry,
    mut set: impl FnMut(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    for (name, value) in &entry.xattrs {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name.contains(&0) {
            continue;
        }
        match set(name, value) {
            // user.* is refused on links and devices by EPERM.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM) if name.starts_with(b"user.") => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
