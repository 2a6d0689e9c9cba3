//! Counting what a directory takes on disk.

use super::Usage;
use crate::{Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::{
    collections::HashSet,
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Allocated bytes and inodes below a directory, itself included; hard links counted once. Files that vanish
/// meanwhile are left out: an active snapshot may be in use. `object` is for messages.
///
/// # Errors
/// Those of reading the tree.
pub fn of_directory(directory: OwnedFd, object: &str) -> Result<Usage> {
    let mut seen = HashSet::new();
    let mut usage = Usage::default();
    let mut open = vec![directory];
    while let Some(directory) = open.pop() {
        let stat = rustix::fs::fstat(&directory).map_err(|errno| Error::io("count usage", object, errno))?;
        usage += Usage { bytes: stat.st_blocks as u64 * 512, inodes: 1 };
        count_entries(directory.as_fd(), object, &mut usage, &mut seen, &mut open)?;
    }
    Ok(usage)
}

fn count_entries(
    directory: BorrowedFd<'_>,
    object: &str,
    usage: &mut Usage,
    seen: &mut HashSet<(u64, u64)>,
    open: &mut Vec<OwnedFd>,
) -> Result<()> {
    let failed = |errno: rustix::io::Errno| Error::io("count usage", object, errno);
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                Ok(child) => open.push(child),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            continue;
        }
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) => {}
            Ok(stat) => *usage += Usage { bytes: stat.st_blocks as u64 * 512, inodes: 1 },
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
