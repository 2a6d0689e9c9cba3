//! Executing the own binary again from a place that nobody can write (CVE-2019-5736).
//!
//! A process in a container may reach the binary of a process that enters the container through
//! `/proc/<pid>/exe`. The own binary is therefore executed once more from a detached, read-only clone of
//! its mount whose descriptor the execve closes: writing fails with EROFS, and nothing is left to undo
//! the flag with. Where that is impossible (no CAP_SYS_ADMIN, an old kernel) a sealed memory file holds a
//! copy. Nothing is copied on the usual way; the page cache is shared.

use crate::{Context, Result, mount, raw::MountAttr};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, MemfdFlags, Mode, OFlags, SealFlags},
    mount::MountAttrFlags,
};

/// Whether `/proc/self/exe` is on a read-only mount or a write-sealed memory file, and was executed by
/// descriptor (`execfn` is the auxiliary vector's AT_EXECFN, `/dev/fd/N` then).
pub fn is_sealed(execfn: &CStr) -> bool {
    if !execfn.to_bytes().starts_with(b"/dev/fd/") {
        return false;
    }
    let exe = c"/proc/self/exe";
    if fs::statvfs(exe).is_ok_and(|stat| stat.f_flag.contains(fs::StatVfsMountFlags::RDONLY)) {
        return true;
    }
    let copy = fs::open(exe, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    copy.and_then(fs::fcntl_get_seals).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// As [`sealed_self`] by one call of new kernels, and `None` where that fails. For the first steps of a program: it
/// touches no memory but the stack.
pub fn sealed_at_once() -> Option<OwnedFd> {
    crate::raw::open_tree_attr(c"/proc/self/exe", false, &read_only()).ok()
}

/// A descriptor of the own binary that cannot be written through; close-on-exec.
///
/// # Errors
/// Those of the calls of both ways; the second's if both fail.
pub fn sealed_self() -> Result<OwnedFd> {
    sealed_mount().or_else(|_| sealed_copy())
}

/// A descriptor of another program that cannot be written through; close-on-exec. For whoever executes it many times.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2): no CAP_SYS_ADMIN, an old kernel, no such file.
pub fn sealed_program(path: &str) -> Result<OwnedFd> {
    read_only_clone(path)
}

fn sealed_mount() -> Result<OwnedFd> {
    read_only_clone("/proc/self/exe")
}

fn read_only_clone(path: &str) -> Result<OwnedFd> {
    mount::clone_tree_with(path, false, &read_only())
}

fn read_only() -> MountAttr {
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    MountAttr { set: u64::from(flags.bits()), ..MountAttr::default() }
}

fn sealed_copy() -> Result<OwnedFd> {
    let exe = crate::file::open("/proc/self/exe", OFlags::RDONLY, 0)?;
    let size = fs::fstat(&exe).on("fstat", || "/proc/self/exe")?.st_size as usize;
    let copy = fs::memfd_create(c"tare", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .on("memfd_create", || "")?;
    let mut done = 0;
    while done < size {
        let sent = fs::sendfile(&copy, &exe, None, size - done).on("sendfile", || "/proc/self/exe")?;
        if sent == 0 {
            break;
        }
        done += sent;
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fs::fcntl_add_seals(&copy, seals).on("fcntl", || "F_ADD_SEALS")?;
    Ok(copy)
}

/// Replaces the process by the binary behind `fd`. Returns only on failure.
///
/// `argv` and `envp` are the arrays the process was started with, each ending with a null pointer.
///
/// # Safety
/// Both must be such arrays of pointers to terminated strings.
#[allow(unsafe_code, reason = "execveat takes raw pointer arrays")]
pub unsafe fn execute(fd: &OwnedFd, argv: *const *const u8, envp: *const *const u8) -> rustix::io::Errno {
    // SAFETY: the caller answers for the arrays.
    unsafe { crate::raw::execveat_self(fd.as_fd(), argv, envp) }
}
