//! Copying a tree by descriptors, with everything a layer can hold: hard links, xattrs, devices, times.

use crate::{Error, Result};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies what is in `from` into the empty directory `to`, and the attributes of `from` itself. No link is followed.
///
/// # Errors
/// Those of the file system, with the path below `from`.
pub fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut copier = Copier { links: HashMap::new() };
    copier
        .directory(from.as_fd(), to.as_fd(), Vec::new())
        .map_err(|(path, errno)| Error::io("copy", String::from_utf8_lossy(&path), errno))
}

type Failure = (Vec<u8>, Errno);

struct Copier {
    /// First copy of an inode that has several names.
    links: HashMap<(u64, u64), OwnedFd>,
}

impl Copier {
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: Vec<u8>,
    ) -> std::result::Result<(), Failure> {
        let fail = |errno| (path.clone(), errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(from).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        for name in names {
            let mut below = path.clone();
            below.push(b'/');
            below.extend_from_slice(name.to_bytes());
            self.entry(from, to, &name, below)?;
        }
        let stat = rustix::fs::fstat(from).map_err(fail)?;
        copy_xattrs(from, to).map_err(fail)?;
        set_attributes(to, &stat).map_err(fail)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CString,
        path: Vec<u8>,
    ) -> std::result::Result<(), Failure> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| (path.clone(), errno))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let source = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
                Ok((source, rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?))
            };
            let (source, target) = open().map_err(|errno| (path.clone(), errno))?;
            return self.directory(source.as_fd(), target.as_fd(), path);
        }
        self.leaf(from, to, name, &stat).map_err(|errno| (path, errno))
    }

    fn leaf(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> rustix::io::Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key).filter(|_| stat.st_nlink > 1) {
            let magic = format!("/proc/self/fd/{}", first.as_raw_fd());
            return rustix::fs::linkat(CWD, magic, to, name, AtFlags::SYMLINK_FOLLOW);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => copy_file(from, to, name, stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
                chown_link(to, name, stat)?;
            }
            kind => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
                chown_link(to, name, stat)?;
                rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
            }
        }
        rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_nlink > 1 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.links.insert(key, rustix::fs::openat(to, name, flags, Mode::empty())?);
        }
        Ok(())
    }
}

fn chown_link(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::chownat(to, name, Some(owner(stat)), Some(group(stat)), AtFlags::SYMLINK_NOFOLLOW)
}

/// Copies the bytes of a regular file; a reflink where the file system has them.
fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, read, Mode::empty())?;
    let target = rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))?;
    copy_bytes(source.as_fd(), target.as_fd())?;
    copy_xattrs(source.as_fd(), target.as_fd())?;
    set_attributes(target.as_fd(), stat)
}

/// Copies from the current position of one descriptor to that of the other, until the end.
pub(crate) fn copy_bytes(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    loop {
        match rustix::fs::copy_file_range(source, None, target, None, 1 << 30) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(errno) => return Err(errno),
        }
    }
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = rustix::io::read(source, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let written = rustix::io::write(target, rest)?;
            rest = &rest[written..];
        }
    }
}

/// Owner, then mode (a change of owner clears the set-id bits), then times.
fn set_attributes(target: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchown(target, Some(owner(stat)), Some(group(stat)))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(target, &times(stat))
}

/// Copies all extended attributes; those the target's file system does not have are left out.
pub(crate) fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for name in list_xattrs(from)? {
        let value = get_xattr(from, &name)?;
        match rustix::fs::fsetxattr(to, &name, &value, rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Names of the extended attributes of an open file.
pub(crate) fn list_xattrs(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut buffer = vec![0_u8; 1024];
    let length = loop {
        match rustix::fs::flistxattr(file, buffer.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::OPNOTSUPP) => break 0,
            Err(errno) => return Err(errno),
        }
    };
    let names = buffer[..length].split_inclusive(|&byte| byte == 0);
    Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok()).map(CStr::to_owned).collect())
}

/// One extended attribute of an open file.
pub(crate) fn get_xattr(file: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 256];
    loop {
        match rustix::fs::fgetxattr(file, name, buffer.as_mut_slice()) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 16, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn owner(stat: &Stat) -> Uid {
    Uid::from_raw(stat.st_uid)
}

fn group(stat: &Stat) -> Gid {
    Gid::from_raw(stat.st_gid)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
