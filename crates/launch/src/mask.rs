//! Masked and read-only paths, and kernel parameters.

use crate::{
    FsOption,
    classic::{self, NewFilesystem, Place},
    interpreter::Child,
    mount,
    report::{At, Call, Failed, Outcome},
    target,
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

const RDONLY: u32 = 1;

/// An empty directory.
const EMPTY: [FsOption<'_>; 3] = [
    FsOption { key: c"source", value: Some(c"tmpfs") },
    FsOption { key: c"nr_blocks", value: Some(c"1") },
    FsOption { key: c"nr_inodes", value: Some(c"1") },
];

/// The symbolic links in a procfs.
const LINKS: [&CStr; 5] = [c"self", c"thread-self", c"mounts", c"net", c"device-tree"];

/// Covers a path so that it cannot be read. One that is missing is no error.
pub(crate) fn mask<'a>(child: &mut Child<'a>, path: &'a CStr) -> Outcome {
    with_proc(child, path, mask_in_proc, mask_path)
}

/// Makes a path read-only with what is mounted below it. One that is missing is no error.
pub(crate) fn read_only<'a>(child: &mut Child<'a>, path: &'a CStr) -> Outcome {
    with_proc(child, path, read_only_in_proc, read_only_path)
}

/// Does something with a name directly in `/proc`, or with a path.
///
/// What `/proc` leads to is looked up once, when everything is mounted, and must be a procfs: its names are the
/// kernel's, nobody can rename or replace them, and they need no descriptor each.
fn with_proc<'a>(
    child: &mut Child<'a>,
    path: &'a CStr,
    by_name: fn(&mut Child<'a>, BorrowedFd<'_>, &'a CStr) -> Outcome,
    by_path: fn(&mut Child<'a>, &CStr) -> Outcome,
) -> Outcome {
    let name = path.to_bytes_with_nul().strip_prefix(b"/proc/");
    let name = name.and_then(|name| CStr::from_bytes_with_nul(name).ok());
    let plain = |name: &&CStr| {
        !name.to_bytes().contains(&b'/')
            && !matches!(name.to_bytes(), b"" | b"." | b"..")
            && !LINKS.contains(name)
    };
    let Some(name) = name.filter(plain) else { return by_path(child, path) };
    if child.kernel.is_none() {
        child.kernel = Some(open_proc(child.root()?));
    }
    match child.kernel.take().flatten() {
        Some(proc) => {
            let done = by_name(child, proc.as_fd(), name);
            child.kernel = Some(Some(proc));
            done
        }
        None => {
            child.kernel = Some(None);
            by_path(child, path)
        }
    }
}

fn open_proc(root: BorrowedFd<'_>) -> Option<OwnedFd> {
    const PROC_MAGIC: i64 = 0x9fa0;
    let proc = target::open_strict(root, c"/proc", OFlags::PATH | OFlags::DIRECTORY).ok()?;
    let on = rustix::fs::fstatfs(&proc).ok()?;
    (on.f_type as i64 == PROC_MAGIC).then_some(proc)
}

fn mask_in_proc<'a>(child: &mut Child<'a>, proc: BorrowedFd<'_>, name: &'a CStr) -> Outcome {
    let stat = match rustix::fs::statat(proc, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        stat => stat.at(Call::Fstat)?,
    };
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return cover_file(child, |cover| mount::attach_at(cover, proc, name));
    }
    if child.empty.is_none() && child.covered.is_none() {
        let new = NewFilesystem { kind: c"tmpfs", options: &EMPTY, mode: None, attributes: RDONLY };
        if classic::at(child, (proc, Place::Proc), name, &new) {
            child.covered = Some(name);
            return Ok(());
        }
    }
    cover_directory(child, proc, |cover| mount::attach_at(cover, proc, name))
}

fn mask_path(child: &mut Child<'_>, path: &CStr) -> Outcome {
    let Some(place) = open_existing(child, path)? else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(&place).at(Call::Fstat)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        cover_file(child, |cover| mount::attach(cover, place.as_fd()))?;
    } else {
        let proc = child.kernel.take();
        let known = proc.as_ref().and_then(Option::as_ref).map_or(place.as_fd(), AsFd::as_fd);
        let done = cover_directory(child, known, |cover| mount::attach(cover, place.as_fd()));
        child.kernel = proc;
        done?;
    }
    target::leave(place);
    Ok(())
}

/// All masked directories are covered by clones of the first one's empty directory.
fn cover_directory(
    child: &mut Child<'_>,
    proc: BorrowedFd<'_>,
    attach: impl FnOnce(BorrowedFd<'_>) -> Outcome,
) -> Outcome {
    let (cover, is_first) = match (&child.empty, child.covered) {
        (Some(empty), _) => (mount::clone_tree(empty.as_fd())?, false),
        (None, Some(name)) => (mount::clone_at(proc, name)?, true),
        (None, None) => (mount::new_filesystem(c"tmpfs", &EMPTY, None, RDONLY)?, true),
    };
    attach(cover.as_fd())?;
    if is_first {
        child.empty = Some(cover);
    } else {
        target::leave(cover);
    }
    Ok(())
}

/// Covers by the container's null device; all by clones of the first.
fn cover_file(child: &mut Child<'_>, attach: impl FnOnce(BorrowedFd<'_>) -> Outcome) -> Outcome {
    if let Some(null) = &child.null {
        let cover = mount::clone_tree(null.as_fd())?;
        attach(cover.as_fd())?;
        target::leave(cover);
        return Ok(());
    }
    let null = null_device(child)?;
    attach(null.as_fd())?;
    child.null = Some(null);
    Ok(())
}

fn read_only_in_proc<'a>(_: &mut Child<'a>, proc: BorrowedFd<'_>, name: &'a CStr) -> Outcome {
    let copy = match mount::clone_readonly(proc, name) {
        Err(Failed { errno: Errno::NOENT | Errno::NOTDIR, .. }) => return Ok(()),
        copy => copy?,
    };
    mount::attach_at(copy.as_fd(), proc, name)?;
    target::leave(copy);
    Ok(())
}

fn read_only_path(child: &mut Child<'_>, path: &CStr) -> Outcome {
    let Some(place) = open_existing(child, path)? else {
        return Ok(());
    };
    let copy = mount::clone_readonly(place.as_fd(), c"")?;
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

/// A detached clone of the container's `/dev/null`, checked to be the null device: whoever replaces it by a link or
/// another file would have that mounted over the path instead (CVE-2025-31133).
fn null_device(child: &Child<'_>) -> Outcome<OwnedFd> {
    let own = child.in_dev(c"/dev/null").and_then(|(dev, name)| mount::clone_at(dev, name).ok());
    let null = match own {
        Some(null) => null,
        None => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let null = target::open_below(child.root()?, c"/dev/null", flags).at(Call::Openat2)?;
            mount::clone_tree(null.as_fd())?
        }
    };
    let stat = rustix::fs::fstat(&null).at(Call::Fstat)?;
    let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
    if !is_device || stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Failed { call: Call::NotADevice, errno: Errno::INVAL });
    }
    Ok(null)
}

/// The procfs that this child mounted; without one, an instance that is attached nowhere.
fn procfs<'c>(child: &'c mut Child<'_>) -> Outcome<BorrowedFd<'c>> {
    if child.proc.is_none() {
        child.proc = Some(mount::new_filesystem(c"proc", &[], None, 0)?);
    }
    child.proc.as_ref().map(AsFd::as_fd).ok_or(Failed { call: Call::Fsopen, errno: Errno::NODEV })
}
