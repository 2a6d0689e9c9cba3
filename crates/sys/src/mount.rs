//! The mount API by descriptors: fsopen, open_tree, move_mount, mount_setattr.
//!
//! A mount is made detached, gets its attributes, and is attached to a descriptor of its target. No path
//! of the target is resolved twice, and nobody sees the mount before its flags are set.

pub use crate::raw::MountAttr;
use crate::{Context, Errno, Error, Result, raw};
use alloc::string::String;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::CWD,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
};

/// A detached copy of the mount at `path` (of the host), with the mounts below it if `recursive`.
/// Relative paths start in the working directory.
///
/// # Errors
/// open_tree(2)'s.
pub fn clone_tree(path: &str, recursive: bool) -> Result<OwnedFd> {
    rustix::mount::open_tree(CWD, path, tree_flags(recursive)).on("open_tree", || path)
}

/// As [`clone_tree`] with attributes changed, for all mounts of the copy if `recursive`. One call where the kernel has
/// it (6.15).
///
/// # Errors
/// open_tree(2)'s and mount_setattr(2)'s.
pub fn clone_tree_with(path: &str, recursive: bool, attr: &MountAttr) -> Result<OwnedFd> {
    let text = alloc::ffi::CString::new(path).map_err(|_| Error::new("open_tree", path, Errno::INVAL))?;
    match raw::open_tree_attr(&text, recursive, attr) {
        // An older kernel, or a filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {}
        copy => return copy.on("open_tree", || path),
    }
    let copy = clone_tree(path, recursive)?;
    set_attributes(&copy, recursive, attr)?;
    Ok(copy)
}

/// A detached copy of the mount that `fd` stands for.
///
/// # Errors
/// open_tree(2)'s.
pub fn clone_tree_of(fd: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    let flags = tree_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(fd, c"", flags).on("open_tree", String::new)
}

fn tree_flags(recursive: bool) -> OpenTreeFlags {
    let base = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { base | OpenTreeFlags::AT_RECURSIVE } else { base }
}

/// Sets attributes of the mount that `fd` stands for.
///
/// # Errors
/// mount_setattr(2)'s.
pub fn set_attributes(fd: impl AsFd, recursive: bool, attr: &MountAttr) -> Result<()> {
    raw::mount_setattr(fd.as_fd().as_raw_fd(), recursive, attr).on("mount_setattr", String::new)
}

/// Makes a detached mount of a new file system instance. An option without a value is a flag.
///
/// # Errors
/// fsopen(2)'s, fsconfig(2)'s with the option's name, fsmount(2)'s.
pub fn new_filesystem(
    kind: &str,
    source: Option<&str>,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).on("fsopen", || kind)?;
    if let Some(source) = source {
        rustix::mount::fsconfig_set_string(&context, c"source", source).on("fsconfig", || source)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            None => rustix::mount::fsconfig_set_flag(&context, *key),
        }
        .on("fsconfig", || *key)?;
    }
    rustix::mount::fsconfig_create(&context).on("fsconfig", || kind)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).on("fsmount", || kind)
}

/// Attaches a detached mount at the file or directory that `target` stands for.
///
/// # Errors
/// move_mount(2)'s.
pub fn attach(tree: impl AsFd, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags).on("move_mount", String::new)
}

/// Detaches the mount at `path` without following a symbolic link at its end.
///
/// # Errors
/// umount2(2)'s.
pub fn detach(path: &str) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).on("umount2", || path)
}
