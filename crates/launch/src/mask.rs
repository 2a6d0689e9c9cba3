//! Masked and read-only paths, and kernel parameters.

use crate::{
    FsOption,
    interpreter::Child,
    mount,
    raw::{self, MountAttr},
    report::{At, Call, Failed, Outcome},
    target,
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

const RDONLY: u32 = 1;

/// Covers a path so that it cannot be read. One that is missing is no error.
pub(crate) fn mask(child: &mut Child<'_>, path: &CStr) -> Outcome {
    let Some(place) = open_existing(child, path)? else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(&place).at(Call::Fstat)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        let cover = mount::clone_tree(null_device(child)?, false)?;
        mount::attach(cover.as_fd(), place.as_fd())?;
        target::leave(cover);
    } else if let Some(empty) = &child.empty {
        let cover = mount::clone_tree(empty.as_fd(), false)?;
        mount::attach(cover.as_fd(), place.as_fd())?;
        target::leave(cover);
    } else {
        let empty = empty_directory()?;
        mount::attach(empty.as_fd(), place.as_fd())?;
        child.empty = Some(empty);
    }
    target::leave(place);
    Ok(())
}

/// Makes a path read-only with what is mounted below it. One that is missing is no error.
pub(crate) fn read_only(child: &Child<'_>, path: &CStr) -> Outcome {
    let Some(place) = open_existing(child, path)? else {
        return Ok(());
    };
    let copy = mount::clone_tree(place.as_fd(), true)?;
    let attr = MountAttr { set: u64::from(RDONLY), ..MountAttr::default() };
    raw::mount_setattr(copy.as_fd(), true, &attr).at(Call::MountSetattr)?;
    mount::attach(copy.as_fd(), place.as_fd())?;
    target::leave(copy);
    target::leave(place);
    Ok(())
}

/// Writes a kernel parameter through the child's own procfs.
pub(crate) fn sysctl(child: &mut Child<'_>, path: &CStr, value: &[u8]) -> Outcome {
    // NO_XDEV: a mount that somebody slipped over a part of it ends the look-up, it does not redirect it.
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(procfs(child)?, path, flags, Mode::empty(), resolve).at(Call::Openat2)?;
    rustix::io::write(&file, value).at(Call::Write)?;
    Ok(())
}

fn open_existing(child: &Child<'_>, path: &CStr) -> Outcome<Option<OwnedFd>> {
    match target::open_below(child.root()?, path, OFlags::PATH) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Failed { call: Call::Openat2, errno }),
    }
}

/// The container's `/dev/null`, checked to be the null device: whoever replaces it by a link or another
/// file would have that mounted over the path instead (CVE-2025-31133).
fn null_device<'c>(child: &'c mut Child<'_>) -> Outcome<BorrowedFd<'c>> {
    if child.null.is_none() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let null = target::open_below(child.root()?, c"/dev/null", flags).at(Call::Openat2)?;
        let stat = rustix::fs::fstat(&null).at(Call::Fstat)?;
        let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
        if !is_device || stat.st_rdev != rustix::fs::makedev(1, 3) {
            return Err(Failed { call: Call::NotADevice, errno: Errno::INVAL });
        }
        child.null = Some(null);
    }
    child.null.as_ref().map(AsFd::as_fd).ok_or(Failed { call: Call::NotADevice, errno: Errno::NODEV })
}

/// An empty read-only directory; all masked directories are clones of the first one.
fn empty_directory() -> Outcome<OwnedFd> {
    const LEAST: [FsOption<'_>; 3] = [
        FsOption { key: c"source", value: Some(c"tmpfs") },
        FsOption { key: c"nr_blocks", value: Some(c"1") },
        FsOption { key: c"nr_inodes", value: Some(c"1") },
    ];
    mount::new_filesystem(c"tmpfs", &LEAST, None, RDONLY)
}

/// The procfs that this child mounted; without one, an instance that is attached nowhere.
fn procfs<'c>(child: &'c mut Child<'_>) -> Outcome<BorrowedFd<'c>> {
    if child.proc.is_none() {
        child.proc = Some(mount::new_filesystem(c"proc", &[], None, 0)?);
    }
    child.proc.as_ref().map(AsFd::as_fd).ok_or(Failed { call: Call::Fsopen, errno: Errno::NODEV })
}
