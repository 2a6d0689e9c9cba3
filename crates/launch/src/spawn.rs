//! Cloning the child.
#![allow(unsafe_code, reason = "clone3")]

use crate::{
    Program, interpreter, namespace,
    raw::{self, CloneArgs},
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, WaitOptions},
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

/// A user namespace that exists, and other namespaces to join before and after it.
#[derive(Debug, Clone, Copy)]
pub struct ForeignUser<'a> {
    /// The user namespace.
    pub user: BorrowedFd<'a>,
    /// Further ones with their `CLONE_NEW*` flags; those that belong to the caller's user namespace are joined
    /// while its rights are there, the others with those of the new one.
    pub joined: &'a [(BorrowedFd<'a>, u32)],
}

/// What the helper of [`spawn_in_user`] reads.
struct Helper<'a> {
    foreign: &'a ForeignUser<'a>,
    request: &'a CloneRequest<'a>,
    program: &'a Program<'a>,
    answer: BorrowedFd<'a>,
}

/// As [`spawn`] for a child that is born in a user namespace that exists: what is made with it (a pid namespace above
/// all, which decides whether procfs can be mounted) must belong to that one.
///
/// A helper enters the namespaces, makes the new ones and clones the child as its sibling (CLONE_PARENT), so that the
/// caller is the child's parent.
///
/// # Errors
/// The failing call's errno: clone3(2)'s, setns(2)'s, unshare(2)'s, pipe2(2)'s, pidfd_open(2)'s.
pub fn spawn_in_user(
    foreign: &ForeignUser<'_>,
    request: &CloneRequest<'_>,
    program: &Program<'_>,
) -> Result<Spawned, Errno> {
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    const SIGCHLD: u64 = 17;
    if request.namespaces & !NAMESPACES != 0 {
        return Err(Errno::INVAL);
    }
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let helper = Helper { foreign, request, program, answer: write.as_fd() };
    let args = CloneArgs { flags: CLONE_CLEAR_SIGHAND, exit_signal: SIGCHLD, ..CloneArgs::default() };
    // SAFETY: memory is not shared, no pidfd is asked for, and the entry takes a Helper.
    let helper = unsafe { raw::clone_into(&args, helper_entry, core::ptr::from_ref(&helper).cast()) }?;
    drop(write);
    let mut answer = [0; 4];
    let answered = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut answer));
    let helper = Pid::from_raw(helper).ok_or(Errno::SRCH)?;
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(helper), WaitOptions::empty()))?;
    match (answered?, i32::from_ne_bytes(answer)) {
        (4, pid) if pid > 0 => {
            // The child is the caller's and not reaped: the number is still its.
            let pidfd = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
            Ok(Spawned { pid, pidfd: rustix::process::pidfd_open(pidfd, PidfdFlags::empty())? })
        }
        (4, errno) => Err(Errno::from_raw_os_error(-errno)),
        _ => Err(Errno::CHILD),
    }
}

/// # Safety
/// `argument` points to a `Helper`.
unsafe extern "C" fn helper_entry(argument: *const u8) -> ! {
    // SAFETY: `spawn_in_user` passes its helper, of which this process has its own copy.
    let helper = unsafe { &*argument.cast::<Helper<'_>>() };
    let answer = clone_sibling(helper).unwrap_or_else(|errno| -errno.raw_os_error());
    // Without a reader nobody is there to be told; the exit code is not read.
    let _ = rustix::io::write(helper.answer, &answer.to_ne_bytes());
    exit(0)
}

fn clone_sibling(helper: &Helper<'_>) -> Result<i32, Errno> {
    const CLONE_PARENT: u64 = 0x8000;
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    const NEWUSER: u32 = 0x1000_0000;
    let mut later = 0_u64;
    for (index, (namespace, flag)) in helper.foreign.joined.iter().enumerate() {
        match namespace::join(*namespace, *flag) {
            Err(Errno::PERM) => later |= 1 << index,
            joined => joined?,
        }
    }
    namespace::join(helper.foreign.user, NEWUSER)?;
    for (index, (namespace, flag)) in helper.foreign.joined.iter().enumerate() {
        if later & (1 << index) != 0 {
            namespace::join(*namespace, *flag)?;
        }
    }
    namespace::make(helper.request.namespaces as u32)?;
    // The signal at its end is that of the helper: SIGCHLD; naming one beside CLONE_PARENT is refused.
    let mut args = CloneArgs { flags: CLONE_PARENT | CLONE_CLEAR_SIGHAND, ..CloneArgs::default() };
    if let Some(cgroup) = helper.request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: memory is not shared, no pidfd is asked for, and the entry takes a Program.
    unsafe { raw::clone_into(&args, entry, core::ptr::from_ref(helper.program).cast()) }
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
