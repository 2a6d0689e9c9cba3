//! Mounts below the root: made detached, attached to a descriptor of their place.

use crate::{
    CgroupsOp, FsOption, MountChange, MountOp, MountSource, TargetKind,
    classic::{self, NewFilesystem, Place},
    interpreter::Child,
    raw::{self, MountAttr},
    report::{At, Call, Failed, Outcome},
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

/// Attaches the root's tree over `/` or at a path.
pub(crate) fn attach_root(tree: BorrowedFd<'_>, path: Option<&CStr>) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", CWD, path.unwrap_or(c"/"), flags).at(Call::MoveMount)
}

/// pivot_root(".", ".") stacks the old root on the new one, where it is detached: no directory is needed. The working
/// directory is the new root then.
pub(crate) fn pivot(tree: BorrowedFd<'_>) -> Outcome {
    rustix::process::fchdir(tree).at(Call::Fchdir)?;
    rustix::process::pivot_root(c".", c".").at(Call::PivotRoot)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Call::Umount)
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

/// The way for a container without a mount namespace.
pub(crate) fn change_root(directory: BorrowedFd<'_>) -> Outcome {
    rustix::process::fchdir(directory).at(Call::Fchdir)?;
    rustix::process::chroot(c".").at(Call::Chroot)?;
    rustix::process::chdir(c"/").at(Call::Chdir)
}

/// Makes one mount of the configuration.
pub(crate) fn mount(child: &mut Child<'_>, op: &MountOp<'_>) -> Outcome {
    if let MountSource::Filesystem(kind, options, attributes) = op.source
        && let Some((dev, name)) = child.in_dev(op.destination)
        && !op.copy_up
        && rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).is_ok()
    {
        // A new directory of the child's own file system: there is nothing to look up.
        let mode = default_mode(kind, options).then_some(c"1777");
        let new = NewFilesystem { kind, options, mode, attributes };
        if op.propagation.0 == 0 && classic::at(child, (dev, Place::Dev), name, &new) {
            return Ok(());
        }
        let made = new_filesystem(kind, options, mode, attributes)?;
        attach_at(made.as_fd(), dev, name)?;
        propagate(made.as_fd(), op.propagation)?;
        child.remember(kind, op.destination, made);
        return Ok(());
    }
    let root = child.root()?;
    if let MountSource::Path(source) = op.source {
        let tree = copy_path(source.path, source.recursive, source.changes)?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree).at(Call::Fstat)?.st_mode);
        let kind = if kind.is_dir() { TargetKind::Directory } else { TargetKind::File };
        let (place, _) = target::open_target(root, op.destination, kind, op.strict)?;
        return attach(tree.as_fd(), place.as_fd());
    }
    let (place, is_new) = target::open_target(root, op.destination, op.target, op.strict)?;
    match op.source {
        MountSource::Path(_) => Ok(()),
        MountSource::Tree(tree) => {
            attach(tree, place.as_fd())?;
            // One that was made is open for writing, which would keep the root from becoming read-only.
            if !is_new {
                target::leave(place);
            }
            propagate(tree, op.propagation)
        }
        MountSource::Cgroups(cgroups) => {
            let made = cgroup_tree(cgroups, place.as_fd())?;
            target::leave(made);
            target::leave(place);
            Ok(())
        }
        MountSource::Filesystem(kind, options, attributes) => {
            // A tmpfs without a mode of its own looks like the directory that it covers; over none it is everybody's.
            let mut text = [0; 8];
            let like = default_mode(kind, options) && !op.copy_up;
            let mode = match (like, is_new) {
                (false, _) => None,
                (true, true) => Some(c"1777"),
                (true, false) => Some(mode_of(place.as_fd(), &mut text)?),
            };
            let new = NewFilesystem { kind, options, mode, attributes };
            // Of `/dev` the descriptor is needed.
            let plain = !op.copy_up && op.propagation.0 == 0 && op.destination != c"/dev";
            if plain && classic::over(child, place.as_fd(), &new) {
                target::leave(place);
                return Ok(());
            }
            let made = new_filesystem(kind, options, mode, attributes)?;
            if op.copy_up {
                crate::device::copy_up(root, op.destination, made.as_fd())?;
            }
            attach(made.as_fd(), place.as_fd())?;
            target::leave(place);
            propagate(made.as_fd(), op.propagation)?;
            child.remember(kind, op.destination, made);
            Ok(())
        }
    }
}

fn default_mode(kind: &CStr, options: &[FsOption<'_>]) -> bool {
    kind == c"tmpfs" && !options.iter().any(|option| option.key == c"mode")
}

/// The cgroups of version 1 below a small file system: its directories are new and nobody else's, so that each tree is
/// attached by name, and one call gives all their attributes.
fn cgroup_tree(op: &CgroupsOp<'_>, place: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    const SLAVE: u64 = 1 << 19;
    let source = FsOption { key: c"source", value: Some(c"tmpfs") };
    let options = [source, FsOption { key: c"context", value: op.context }];
    let options = if op.context.is_some() { &options[..] } else { &options[..1] };
    let attr = MountAttr { set: op.attributes, propagation: SLAVE, ..MountAttr::default() };
    let base = (op.attributes & !RDONLY) as u32;
    let made = new_filesystem(c"tmpfs", options, Some(c"755"), base)?;
    attach(made.as_fd(), place)?;
    for (name, tree) in op.trees {
        if !op.together {
            raw::mount_setattr(*tree, false, &attr).at(Call::MountSetattr)?;
        }
        rustix::fs::mkdirat(&made, *name, Mode::from_raw_mode(0o755)).at(Call::Mkdirat)?;
        attach_at(*tree, made.as_fd(), name)?;
    }
    for (link, name) in op.links {
        rustix::fs::symlinkat(*link, &made, *name).at(Call::Symlinkat)?;
    }
    if op.together {
        raw::mount_setattr(made.as_fd(), true, &attr).at(Call::MountSetattr)?;
    }
    Ok(made)
}

const RDONLY: u64 = 1;

/// The permission bits of a directory as the octal text that file systems read.
fn mode_of<'t>(place: BorrowedFd<'_>, text: &'t mut [u8; 8]) -> Outcome<&'t CStr> {
    let mode = rustix::fs::fstat(place).at(Call::Fstat)?.st_mode & 0o7777;
    for (index, digit) in text.iter_mut().take(4).enumerate() {
        *digit = b'0' + ((mode >> (9 - 3 * index)) & 7) as u8;
    }
    CStr::from_bytes_until_nul(text).map_err(|_| Failed { call: Call::Fsconfig, errno: Errno::INVAL })
}

/// A new instance of a file system, not attached anywhere.
pub(crate) fn new_filesystem(
    kind: &CStr,
    options: &[FsOption<'_>],
    mode: Option<&CStr>,
    attributes: u32,
) -> Outcome<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).at(Call::Fsopen)?;
    for option in options {
        match option.value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, option.key, value),
            None => rustix::mount::fsconfig_set_flag(&context, option.key),
        }
        .at(Call::Fsconfig)?;
    }
    if let Some(mode) = mode {
        rustix::mount::fsconfig_set_string(&context, c"mode", mode).at(Call::Fsconfig)?;
    }
    rustix::mount::fsconfig_create(&context).at(Call::Fsconfig)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    let made = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at(Call::Fsmount);
    target::leave(context);
    made
}

/// Attaches a detached mount at a name of a directory; a symbolic link there is not followed.
pub(crate) fn attach_at(tree: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", directory, name, flags).at(Call::MoveMount)
}

/// Attaches a detached mount at the place behind a descriptor.
pub(crate) fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", place, c"", flags).at(Call::MoveMount)
}

/// A detached copy of what is behind a descriptor.
pub(crate) fn clone_tree(fd: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    clone_at(fd, c"")
}

/// A detached copy of a name in a directory; a symbolic link there is not followed.
pub(crate) fn clone_at(directory: BorrowedFd<'_>, name: &CStr) -> Outcome<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    rustix::mount::open_tree(directory, name, flags).at(Call::OpenTree)
}

/// A detached copy of a name in a directory with all that is mounted below, read-only. An empty name is the directory
/// itself; a symbolic link is not followed.
pub(crate) fn clone_readonly(directory: BorrowedFd<'_>, name: &CStr) -> Outcome<OwnedFd> {
    let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
    match raw::open_tree_attr(directory, name, &attr) {
        // Kernels before 6.15, and filters that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {}
        copy => return copy.at(Call::OpenTree),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_RECURSIVE;
    let copy = rustix::mount::open_tree(directory, name, flags).at(Call::OpenTree)?;
    raw::mount_setattr(copy.as_fd(), true, &attr).at(Call::MountSetattr)?;
    Ok(copy)
}

/// A detached copy of what is at a path of the host's root, with its attributes.
pub(crate) fn copy_path(path: &CStr, recursive: bool, changes: &[MountChange]) -> Outcome<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, path, flags).at(Call::OpenTree)?;
    for change in changes {
        let &MountChange { set, clear, propagation, recursive } = change;
        let attr = MountAttr { set, clear, propagation, ..MountAttr::default() };
        raw::mount_setattr(tree.as_fd(), recursive, &attr).at(Call::MountSetattr)?;
    }
    Ok(tree)
}

/// Sets attributes of the mount at a path.
pub(crate) fn set_attributes(child: &Child<'_>, path: &CStr, set: u64, recursive: bool) -> Outcome {
    let attr = MountAttr { set, ..MountAttr::default() };
    if path == c"/" {
        return raw::mount_setattr(child.root()?, recursive, &attr).at(Call::MountSetattr);
    }
    let place = target::open_below(child.root()?, path, OFlags::PATH).at(Call::Openat2)?;
    let done = raw::mount_setattr(place.as_fd(), recursive, &attr).at(Call::MountSetattr);
    target::leave(place);
    done
}

fn propagate(tree: BorrowedFd<'_>, (propagation, recursive): (u64, bool)) -> Outcome {
    if propagation == 0 {
        return Ok(());
    }
    let attr = MountAttr { propagation, ..MountAttr::default() };
    raw::mount_setattr(tree, recursive, &attr).at(Call::MountSetattr)
}
