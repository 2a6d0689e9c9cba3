//! Namespaces, sessions, names and the loopback interface.
#![allow(unsafe_code, reason = "unshare(2) is unsafe in rustix because of shared descriptor tables")]

use crate::{
    raw,
    report::{At, Call, Outcome},
    target,
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, BorrowedFd},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
    thread::{Gid, ThreadNameSpaceType, Uid, UnshareFlags},
};

/// Joins namespaces by descriptor.
pub(crate) fn enter(fd: BorrowedFd<'_>, flags: u32) -> Outcome {
    join(fd, flags).at(Call::Setns)
}

/// setns(2).
pub(crate) fn join(fd: BorrowedFd<'_>, flags: u32) -> Result<(), Errno> {
    rustix::thread::move_into_thread_name_spaces(fd, ThreadNameSpaceType::from_bits_retain(flags))
}

/// Makes namespaces of its own.
pub(crate) fn unshare(flags: u32) -> Outcome {
    make(flags).at(Call::Unshare)
}

/// unshare(2).
pub(crate) fn make(flags: u32) -> Result<(), Errno> {
    // SAFETY: only namespace flags are given; the descriptor table, which the precondition is about,
    // is the child's own in any case.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(flags)) }
}

/// Takes on id 0 of the user namespace, which makes files of the container's root its own.
pub(crate) fn become_root() -> Outcome {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Call::Setresgid)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Call::Setresuid)
}

/// A session keyring of its own. A kernel without keys, or a filter that forbids them, is no error.
pub(crate) fn new_keyring(name: &CStr) -> Outcome {
    match raw::join_session_keyring(name) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        result => result.at(Call::Keyctl),
    }
}

/// A session of its own; the leader of one has it already.
pub(crate) fn new_session() -> Outcome {
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).at(Call::Setsid),
    }
}

/// Brings `lo` up in the network namespace.
pub(crate) fn loopback_up() -> Outcome {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .at(Call::Socket)?;
    let done = raw::loopback_up(socket.as_fd()).at(Call::Ioctl);
    target::leave(socket);
    done
}
