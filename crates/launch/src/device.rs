//! Device nodes, links, and copying a directory's content up into a new tmpfs.

use crate::{
    DeviceOp, TargetKind,
    interpreter::Child,
    mount,
    report::{At, Call, Failed, Outcome},
    target,
};
use core::{ffi::CStr, mem::MaybeUninit};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat},
    io::Errno,
    process::{Gid, Uid},
};

/// Makes a device node. One that exists is left as it is.
pub(crate) fn device(child: &Child<'_>, op: &DeviceOp<'_>) -> Outcome {
    if let Some(bind) = op.bind {
        let (place, _) = target::open_target(child.root()?, op.path, TargetKind::File, false)?;
        return mount::attach(bind, place.as_fd());
    }
    if let Some(path) = op.bind_path {
        let (place, _) = target::open_target(child.root()?, op.path, TargetKind::File, false)?;
        let node = mount::copy_path(path, false, &[])?;
        return mount::attach(node.as_fd(), place.as_fd());
    }
    child.in_parent_of(op.path, |parent, name| {
        let mode = Mode::from_raw_mode(op.mode & 0o7777);
        match rustix::fs::mknodat(parent, name, FileType::from_raw_mode(op.mode), mode, op.device) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(Failed { call: Call::Mknodat, errno }),
        }
        if let Some((uid, gid)) = op.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at(Call::Chown)?;
        }
        Ok(())
    })
}

/// Makes a symbolic link. Whatever has its name already is left.
pub(crate) fn symlink(child: &Child<'_>, link: &CStr, path: &CStr) -> Outcome {
    child.in_parent_of(path, |parent, name| match rustix::fs::symlinkat(link, parent, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Failed { call: Call::Symlinkat, errno }),
    })
}

/// How deep `tmpcopyup` goes: each level holds two descriptors and a buffer on the stack.
const MAX_DEPTH: usize = 32;

/// Copies what a directory holds into a new file system that will cover it, with modes and owners.
pub(crate) fn copy_up(root: BorrowedFd<'_>, path: &CStr, to: BorrowedFd<'_>) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = target::open_below(root, path, flags).at(Call::Openat2)?;
    let stat = rustix::fs::fstat(&from).at(Call::Fstat)?;
    let inside = rustix::fs::openat(to, c".", flags | OFlags::CLOEXEC, Mode::empty()).at(Call::Open)?;
    rustix::fs::fchmod(&inside, Mode::from_raw_mode(stat.st_mode & 0o7777)).at(Call::Chmod)?;
    own(inside.as_fd(), c"", &stat)?;
    copy_directory(from, inside, 0)
}

fn copy_directory(from: OwnedFd, to: OwnedFd, depth: usize) -> Outcome {
    let mut space = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(from.as_fd(), &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry.at(Call::Getdents)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from.as_fd(), to.as_fd(), name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Outcome {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at(Call::Fstat)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::Directory if depth < MAX_DEPTH => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::mkdirat(to, name, mode).at(Call::Mkdirat)?;
            let inner = rustix::fs::openat(from, name, flags, Mode::empty()).at(Call::Open)?;
            let outer = rustix::fs::openat(to, name, flags, Mode::empty()).at(Call::Open)?;
            copy_directory(inner, outer, depth + 1)?;
        }
        FileType::Directory => return Err(Failed { call: Call::Copy, errno: Errno::LOOP }),
        FileType::RegularFile => copy_file(from, to, name, mode)?,
        FileType::Symlink => return copy_link(from, to, name, &stat),
        _ => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).at(Call::Mknodat)?,
    }
    own(to, name, &stat)
}

fn copy_link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Outcome {
    let mut text = [0_u8; 4096];
    let length = rustix::fs::readlinkat_raw(from, name, &mut text[..4095]).at(Call::Readlink)?;
    let link = text
        .get(..=length)
        .and_then(|bytes| CStr::from_bytes_with_nul(bytes).ok())
        .ok_or(Failed { call: Call::Readlink, errno: Errno::NAMETOOLONG })?;
    rustix::fs::symlinkat(link, to, name).at(Call::Symlinkat)?;
    own(to, name, stat)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Outcome {
    let source = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, source, Mode::empty()).at(Call::Open)?;
    let made = rustix::fs::openat(to, name, made, mode).at(Call::Open)?;
    while rustix::fs::sendfile(&made, &source, None, 1 << 30).at(Call::Copy)? > 0 {}
    Ok(())
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Outcome {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    rustix::fs::chownat(dir, name, uid, gid, flags).at(Call::Chown)
}
