//! Programs: the container's own, and hooks.
#![allow(unsafe_code, reason = "execve takes raw pointer arrays, and a hook is a child of the child")]

use crate::{
    HookOp,
    raw::{self, CloneArgs},
    report::{At, Call, Failed, Outcome},
};
use core::{ffi::CStr, marker::PhantomData};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, FromRawFd, OwnedFd},
    fs::{Access, AtFlags, CWD, FileType},
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions},
};

/// A pointer to a terminated string, or null at the end of an array.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Pointer<'a>(*const u8, PhantomData<&'a CStr>);

impl<'a> Pointer<'a> {
    /// The end of an array.
    pub const NULL: Self = Self(core::ptr::null(), PhantomData);

    /// A pointer to a string.
    pub fn new(text: &'a CStr) -> Self {
        Self(text.as_ptr().cast(), PhantomData)
    }
}

/// An array of strings as execve(2) wants it.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentArray<'a>(&'a [Pointer<'a>]);

impl<'a> ArgumentArray<'a> {
    /// Checks that the array ends with a null pointer and has no other.
    pub fn new(pointers: &'a [Pointer<'a>]) -> Option<Self> {
        let (last, strings) = pointers.split_last()?;
        (last.0.is_null() && strings.iter().all(|pointer| !pointer.0.is_null())).then_some(Self(pointers))
    }

    fn as_ptr(self) -> *const *const u8 {
        self.0.as_ptr().cast()
    }
}

/// Index of the first candidate that is a file this process may execute.
///
/// The errno is the one a caller of runc expects: that of a single candidate, EACCES if one was there
/// but not executable, else ENOENT.
pub(crate) fn find(candidates: &[&CStr]) -> Outcome<usize> {
    let mut answer = Errno::NOENT;
    for (index, candidate) in candidates.iter().enumerate() {
        match executable(candidate) {
            Ok(()) => return Ok(index),
            Err(errno) if candidates.len() == 1 => answer = errno,
            Err(Errno::ACCESS) => answer = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(Failed { call: Call::Lookup, errno: answer })
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::ISDIR);
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(Errno::ACCESS);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // A kernel without faccessat2: execve will tell.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// Replaces the process. Returns only on failure.
pub(crate) fn execute(path: &CStr, arguments: ArgumentArray<'_>, environment: ArgumentArray<'_>) -> Failed {
    if let Err(errno) = raw::reset_signals() {
        return Failed { call: Call::Execve, errno };
    }
    // SAFETY: the path is terminated, and the arrays were checked to end with null and to borrow strings.
    let errno = unsafe { raw::execve(path.as_ptr().cast(), arguments.as_ptr(), environment.as_ptr()) };
    Failed { call: Call::Execve, errno }
}

/// Runs a hook and waits for it. A code other than 0, a signal or the timeout is a failure.
pub(crate) fn run_hook(op: &HookOp<'_>) -> Outcome {
    const CLONE_PIDFD: u64 = 0x1000;
    const SIGCHLD: u64 = 17;
    raw::rewind(op.stdin).at(Call::Read)?;
    let mut pidfd = -1_i32;
    let args = CloneArgs {
        flags: CLONE_PIDFD,
        exit_signal: SIGCHLD,
        pidfd: core::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    // SAFETY: no shared memory is asked for, the pidfd's address is an i32, and the entry takes a HookOp.
    unsafe { raw::clone_into(&args, hook_entry, core::ptr::from_ref(op).cast()) }.at(Call::Clone)?;
    // SAFETY: clone3 succeeded, so the kernel has stored a new descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    wait_hook(&pidfd, op.timeout)
}

fn wait_hook(pidfd: &OwnedFd, timeout: u32) -> Outcome {
    let limit =
        Timespec { tv_sec: i64::from(timeout / 1000), tv_nsec: i64::from(timeout % 1000) * 1_000_000 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let limit = (timeout != 0).then_some(&limit);
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, limit)).at(Call::Wait)? > 0;
    if !ended {
        rustix::process::pidfd_send_signal(pidfd, Signal::KILL).at(Call::Wait)?;
    }
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    })
    .at(Call::Wait)?;
    if !ended {
        return Err(Failed { call: Call::HookTimeout, errno: Errno::TIMEDOUT });
    }
    let signal = status.as_ref().and_then(|status| status.terminating_signal()).unwrap_or(0);
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        // The code travels where an errno does; a signal as 256 and its number.
        code => {
            let errno = Errno::from_raw_os_error(code.unwrap_or(256 + signal).max(1));
            Err(Failed { call: Call::HookExit, errno })
        }
    }
}

/// # Safety
/// `argument` points to a `HookOp`.
unsafe extern "C" fn hook_entry(argument: *const u8) -> ! {
    // SAFETY: `run_hook` passes its operation, which lives in this copy of the stack.
    let op = unsafe { &*argument.cast::<HookOp<'_>>() };
    // A hook that cannot be started ends with 127, as a shell reports it.
    if raw::dup_onto(op.stdin, 0).is_ok() {
        execute(op.path, op.arguments, op.environment);
    }
    crate::spawn::exit(127)
}
