//! Mounts below the root: made detached, attached to a descriptor of their place.

use crate::{
    FsOption, MountOp, MountSource,
    interpreter::Child,
    raw::{self, MountAttr},
    report::{At, Call, Outcome},
    target,
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
        UnmountFlags,
    },
};

/// Changes propagation of all mounts.
pub(crate) fn set_propagation(flags: u32) -> Outcome {
    rustix::mount::mount_change(c"/", MountPropagationFlags::from_bits_retain(flags)).at(Call::Mount)
}

/// Attaches the root's tree over `/` or at a path, and makes it the working directory.
pub(crate) fn attach_root(tree: BorrowedFd<'_>, path: Option<&CStr>) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", CWD, path.unwrap_or(c"/"), flags).at(Call::MoveMount)?;
    rustix::process::fchdir(tree).at(Call::Fchdir)
}

/// pivot_root(".", ".") stacks the old root on the new one, where it is detached: no directory is needed.
pub(crate) fn pivot(tree: BorrowedFd<'_>) -> Outcome {
    rustix::process::fchdir(tree).at(Call::Fchdir)?;
    rustix::process::pivot_root(c".", c".").at(Call::PivotRoot)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Call::Umount)?;
    rustix::process::chdir(c"/").at(Call::Chdir)
}

/// Detaches a mount by path.
pub(crate) fn detach(path: &CStr) -> Outcome {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at(Call::Umount),
    }
}

/// The way for a host whose root is the initramfs, which cannot be pivoted away.
pub(crate) fn move_root(tree: BorrowedFd<'_>) -> Outcome {
    rustix::process::fchdir(tree).at(Call::Fchdir)?;
    rustix::mount::mount_move(c".", c"/").at(Call::Mount)?;
    rustix::process::chroot(c".").at(Call::Chroot)?;
    rustix::process::chdir(c"/").at(Call::Chdir)
}

/// Makes one mount of the configuration.
pub(crate) fn mount(child: &mut Child<'_>, op: &MountOp<'_>) -> Outcome {
    let root = child.root()?;
    let place = target::open_target(root, op.destination, op.target, op.strict)?;
    match op.source {
        MountSource::Tree(tree) => {
            attach(tree, place.as_fd())?;
            propagate(tree, op.propagation)
        }
        MountSource::Filesystem(kind, options, attributes) => {
            let made = new_filesystem(kind, options, attributes)?;
            if op.copy_up {
                crate::device::copy_up(root, op.destination, made.as_fd())?;
            } else if kind == c"tmpfs" && !options.iter().any(|option| option.key == c"mode") {
                keep_mode(place.as_fd(), made.as_fd())?;
            }
            attach(made.as_fd(), place.as_fd())?;
            propagate(made.as_fd(), op.propagation)?;
            child.remember(kind, op.destination, made);
            Ok(())
        }
    }
}

/// A tmpfs without a mode of its own looks like the directory that it covers.
fn keep_mode(place: BorrowedFd<'_>, made: BorrowedFd<'_>) -> Outcome {
    let stat = rustix::fs::fstat(place).at(Call::Fstat)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(made, c".", flags, Mode::empty()).at(Call::Open)?;
    rustix::fs::fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777)).at(Call::Chmod)
}

/// A new instance of a file system, not attached anywhere.
pub(crate) fn new_filesystem(kind: &CStr, options: &[FsOption<'_>], attributes: u32) -> Outcome<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).at(Call::Fsopen)?;
    for option in options {
        match option.value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, option.key, value),
            None => rustix::mount::fsconfig_set_flag(&context, option.key),
        }
        .at(Call::Fsconfig)?;
    }
    rustix::mount::fsconfig_create(&context).at(Call::Fsconfig)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at(Call::Fsmount)
}

/// Attaches a detached mount at the place behind a descriptor.
pub(crate) fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", place, c"", flags).at(Call::MoveMount)
}

/// A detached copy of what is behind a descriptor.
pub(crate) fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> Outcome<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, c"", flags).at(Call::OpenTree)
}

/// Sets attributes of the mount at a path.
pub(crate) fn set_attributes(child: &Child<'_>, path: &CStr, set: u64, recursive: bool) -> Outcome {
    let place = target::open_below(child.root()?, path, OFlags::PATH).at(Call::Openat2)?;
    let attr = MountAttr { set, ..MountAttr::default() };
    raw::mount_setattr(place.as_fd(), recursive, &attr).at(Call::MountSetattr)
}

fn propagate(tree: BorrowedFd<'_>, (propagation, recursive): (u64, bool)) -> Outcome {
    if propagation == 0 {
        return Ok(());
    }
    let attr = MountAttr { propagation, ..MountAttr::default() };
    raw::mount_setattr(tree, recursive, &attr).at(Call::MountSetattr)
}
