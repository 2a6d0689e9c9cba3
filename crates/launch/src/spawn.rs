//! Cloning the child.
#![allow(unsafe_code, reason = "clone3")]

use crate::{
    Program, interpreter,
    raw::{self, CloneArgs},
};
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
};

/// How to clone.
#[derive(Debug, Clone, Copy)]
pub struct CloneRequest<'a> {
    /// `CLONE_NEW*` flags of the namespaces to make, all at once.
    pub namespaces: u64,
    /// A cgroup v2 directory to be born in (CLONE_INTO_CGROUP): cheaper than any move.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child that was cloned.
#[derive(Debug)]
pub struct Spawned {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// Its descriptor, close-on-exec.
    pub pidfd: OwnedFd,
}

/// The namespaces clone3 can make; other flags are refused.
const NAMESPACES: u64 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// Clones a child that walks `program` and ends.
///
/// The child has a copy of the caller's memory and descriptors, none of its signal handlers, and sends
/// SIGCHLD when it ends. The caller may be multi-threaded.
///
/// # Errors
/// clone3(2)'s; EINVAL for flags that are no namespaces.
pub fn spawn(request: &CloneRequest<'_>, program: &Program<'_>) -> Result<Spawned, Errno> {
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    const SIGCHLD: u64 = 17;
    if request.namespaces & !NAMESPACES != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd = -1_i32;
    let mut args = CloneArgs {
        flags: request.namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        exit_signal: SIGCHLD,
        pidfd: core::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the flags are namespaces and the three above, so memory is not shared; the pidfd's address is
    // an i32 that outlives the call; the entry takes a Program.
    let pid = unsafe { raw::clone_into(&args, entry, core::ptr::from_ref(program).cast()) }?;
    // SAFETY: clone3 succeeded, so the kernel has stored a new descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Spawned { pid, pidfd })
}

/// # Safety
/// `argument` points to a `Program`.
unsafe extern "C" fn entry(argument: *const u8) -> ! {
    // SAFETY: `spawn` passes its program, of which the child has its own copy.
    let program = unsafe { &*argument.cast::<Program<'_>>() };
    interpreter::walk(program);
    exit(1)
}

/// Ends the child without any of the program's clean-up.
pub(crate) fn exit(code: i32) -> ! {
    raw::exit_group(code)
}
