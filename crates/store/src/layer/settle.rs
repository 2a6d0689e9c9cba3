//! Completing a layer that was applied without the layers below it.
//!
//! Layers are unpacked at the same time, each into its own directory. Two things need what is below: a directory
//! that an entry's path names and no entry describes has to look as it does below, and a hard link may point to a
//! file of a lower layer, which then has to be copied up.

use super::{
    Applied,
    parents::{Parents, resolve_in},
    path,
};
use crate::{
    Error, Result,
    copy::{copy_bytes, copy_xattrs, list_xattrs},
};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::os::fd::{AsFd, OwnedFd};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Applied {
    /// Completes what depends on the parents of a layer that was applied without them: owners and modes of
    /// directories that the archive does not describe, hard links to files of lower layers. `lowers` topmost first,
    /// none for a first layer. Cheap when there is nothing to do. Call it once, before the commit.
    ///
    /// # Errors
    /// `InvalidArgument` when the target of a hard link does not exist in any layer.
    pub fn settle(&mut self, root: &OwnedFd, lowers: &[OwnedFd]) -> Result<()> {
        if self.deferred.is_empty() && (self.implicit.is_empty() || lowers.is_empty()) {
            return Ok(());
        }
        let root = root.try_clone().map_err(|error| Error::io("settle layer", "", error))?;
        let mut parents = Parents::new(root)?;
        for (link, target) in std::mem::take(&mut self.deferred) {
            let failed = |errno| Error::io("settle layer", path::show(&link), errno);
            copy_up(&mut parents, lowers, &target)?;
            let (to, name) = path::split(&link);
            let (from, target_name) = path::split(&target);
            let to = parents.get(to)?;
            let from = parents.get(from)?;
            rustix::fs::linkat(&from.fd, target_name, &to.fd, name, AtFlags::empty()).map_err(failed)?;
        }
        self.implicit.extend(parents.implicit.drain());
        self.implicit.sort();
        self.implicit.dedup();
        // Deepest first: giving attributes to a directory changes the times of the one above at most.
        for path in self.implicit.iter().rev() {
            copy_directory_attributes(&parents, lowers, path)
                .map_err(|errno| Error::io("settle layer", path::show(path), errno))?;
        }
        Ok(())
    }
}

enum Found {
    Entry { parent: OwnedFd, stat: Box<Stat> },
    Missing,
}

/// What the stack of lower directories shows under a path: whiteouts and opaque directories hide what is below.
fn find(lowers: &[OwnedFd], path: &[u8]) -> rustix::io::Result<Found> {
    'layers: for lower in lowers {
        let mut directory = rustix::io::fcntl_dupfd_cloexec(lower, 0)?;
        let mut opaque = is_opaque(&directory);
        let mut components = path.split(|&byte| byte == b'/').peekable();
        while let Some(name) = components.next() {
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) if opaque => return Ok(Found::Missing),
                Err(Errno::NOENT) => continue 'layers,
                Err(errno) => return Err(errno),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                return Ok(Found::Missing);
            }
            if components.peek().is_none() {
                return Ok(Found::Entry { parent: directory, stat: Box::new(stat) });
            }
            if kind != FileType::Directory {
                // A link in the path: the archive meant a directory of its own.
                return Ok(Found::Missing);
            }
            directory = rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty())?;
            opaque |= is_opaque(&directory);
        }
    }
    Ok(Found::Missing)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let names = list_xattrs(directory.as_fd()).unwrap_or_default();
    names.iter().any(|name| matches!(name.to_bytes(), b"trusted.overlay.opaque" | b"user.overlay.opaque"))
}

fn copy_directory_attributes(parents: &Parents, lowers: &[OwnedFd], path: &[u8]) -> rustix::io::Result<()> {
    let Found::Entry { parent, stat } = find(lowers, path)? else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let (_, name) = path::split(path);
    let from = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
    let to = resolve_in(parents.root(), path)?;
    for key in list_xattrs(from.as_fd())? {
        if key.to_bytes().starts_with(b"trusted.overlay.") || key.to_bytes().starts_with(b"user.overlay.") {
            continue;
        }
        let value = crate::copy::get_xattr(from.as_fd(), &key)?;
        rustix::fs::fsetxattr(&to, &key, &value, rustix::fs::XattrFlags::empty())?;
    }
    set_attributes(&to, &stat)
}

fn set_attributes(to: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(to, &times)
}

/// Copies a regular file of a lower layer into this one, unless it is there already.
fn copy_up(parents: &mut Parents, lowers: &[OwnedFd], target: &[u8]) -> Result<()> {
    let failed = |errno| Error::io("settle layer", path::show(target), errno);
    let (above, name) = path::split(target);
    if let Some(parent) = parents.find(above)?
        && rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    {
        return Ok(());
    }
    let missing = || {
        let detail = "the target of a hard link does not exist";
        Error::invalid("apply layer", path::show(target), detail)
    };
    let Found::Entry { parent, stat } = find(lowers, target).map_err(failed)? else { return Err(missing()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(missing());
    }
    let to = parents.get(above)?;
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(&parent, name, read, Mode::empty()).map_err(failed)?;
    let copy = rustix::fs::openat(&to.fd, name, write, Mode::from_raw_mode(0o600)).map_err(failed)?;
    copy_bytes(source.as_fd(), copy.as_fd()).map_err(failed)?;
    copy_xattrs(source.as_fd(), copy.as_fd()).map_err(failed)?;
    set_attributes(&copy, &stat).map_err(failed)
}
