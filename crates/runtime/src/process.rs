//! A process in a container as its parent holds it, and the streams it gets.

use crate::{Error, Result};
use alloc::string::String;
use rustix::fd::{BorrowedFd, OwnedFd};
use tare_types::spec;

/// The standard streams of a new process.
#[derive(Debug, Clone, Copy)]
pub enum Io<'a> {
    /// The caller's own descriptors 0, 1 and 2.
    Inherit,
    /// These descriptors become 0, 1 and 2. The caller keeps and closes its own.
    Streams {
        /// Becomes 0.
        stdin: BorrowedFd<'a>,
        /// Becomes 1.
        stdout: BorrowedFd<'a>,
        /// Becomes 2.
        stderr: BorrowedFd<'a>,
    },
    /// A new terminal of the container's devpts; its master is handed back in [`Process::console`].
    /// Right only with `process.terminal`.
    Console,
    /// A new terminal whose master is sent to this connected Unix socket (SCM_RIGHTS, with the
    /// terminal's path as the message, as runc does). Right only with `process.terminal`.
    ConsoleSocket(BorrowedFd<'a>),
}

/// A process that the caller is the parent of.
#[derive(Debug)]
pub struct Process {
    /// Process id as the caller's pid namespace sees it.
    pub pid: i32,
    /// Becomes readable when the process ends; close-on-exec. Valid for waitid(P_PIDFD).
    pub pidfd: OwnedFd,
    /// Master of the terminal, for [`Io::Console`].
    pub console: Option<OwnedFd>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this code, 0 to 255.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code a shell reports: the exit code, or 128 and the signal's number.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// What to execute beside a container's first process.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The process, complete: nothing is taken over from the container's first one.
    pub process: &'a spec::Process,
    /// Its streams.
    pub io: Io<'a>,
    /// How many of the caller's descriptors from 3 on the process keeps (`--preserve-fds`).
    pub keep_fds: u32,
    /// A cgroup below the container's to put it in; `None` for the container's own.
    pub cgroup: Option<String>,
    /// Whether a paused container is accepted; the process then waits for `resume`.
    pub ignore_paused: bool,
}

impl Process {
    /// Waits until the process has ended and reaps it.
    ///
    /// # Errors
    /// `Internal` when the kernel refuses the wait: the caller is not the parent, or somebody else
    /// reaped the process.
    pub fn wait(&self) -> Result<Exit> {
        Err(Error::unimplemented("wait"))
    }
}
