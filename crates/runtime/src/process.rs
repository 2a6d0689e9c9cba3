//! A process in a container as its parent holds it, and the streams it gets.

use crate::{
    During, Error, Result,
    child::{self, Outcome, Pipe},
};
use alloc::{string::String, vec::Vec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
    /// Cgroups below the container's to put it in, each `path` or (version 1) `controller[,controller]:path`; empty
    /// for the container's own.
    pub cgroup: Vec<String>,
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
        let status = tare_sys::process::reap(self.pidfd.as_fd()).during("wait for the process")?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code as u8),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        })
    }
}

/// The parent's side of a process's streams.
#[derive(Debug)]
pub(crate) enum Streams<'a> {
    Inherit,
    Given([BorrowedFd<'a>; 3], [Option<OwnedFd>; 3]),
    Socket(BorrowedFd<'a>),
    Pair { ours: OwnedFd, theirs: OwnedFd },
}

impl<'a> Streams<'a> {
    /// Checks that streams and terminal fit, and opens what is needed.
    pub(crate) fn prepare(io: Io<'a>, terminal: bool) -> Result<Self> {
        match io {
            Io::Inherit | Io::Streams { .. } if terminal => {
                Err(Error::invalid("process.terminal", "a terminal needs a console or a console socket"))
            }
            Io::Console | Io::ConsoleSocket(_) if !terminal => {
                Err(Error::invalid("process.terminal", "a console is given and no terminal is wanted"))
            }
            Io::Inherit => Ok(Self::Inherit),
            Io::ConsoleSocket(socket) => Ok(Self::Socket(socket)),
            Io::Console => {
                let (ours, theirs) = tare_sys::socket::pair().during("open the console")?;
                Ok(Self::Pair { ours, theirs })
            }
            Io::Streams { stdin, stdout, stderr } => {
                let given = [stdin, stdout, stderr];
                // One that is 0, 1 or 2 itself would be overwritten by the one before it.
                Ok(Self::Given(given, [raise(stdin)?, raise(stdout)?, raise(stderr)?]))
            }
        }
    }

    pub(crate) fn given(&self) -> Option<[BorrowedFd<'_>; 3]> {
        let Self::Given(given, raised) = self else { return None };
        let of = |index: usize| raised[index].as_ref().map_or(given[index], AsFd::as_fd);
        Some([of(0), of(1), of(2)])
    }

    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Socket(socket) => Some(*socket),
            Self::Pair { theirs, .. } => Some(theirs.as_fd()),
            _ => None,
        }
    }

    /// Takes the terminal's master, which the child has sent by now.
    pub(crate) fn receive(self) -> Result<Option<OwnedFd>> {
        let Self::Pair { ours, theirs } = self else { return Ok(None) };
        drop(theirs);
        tare_sys::socket::receive_fd(&ours).map(Some).during("open the console")
    }
}

fn raise(fd: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if fd.as_raw_fd() > 2 {
        return Ok(None);
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map(Some).map_err(|errno| {
        Error::system("set up the standard streams", tare_sys::Error::new("fcntl", "", errno))
    })
}

/// Pipes of a start that is not left to another process.
#[derive(Debug)]
pub(crate) struct GatePipes {
    /// A byte here lets the first process go. Both ends, so that the byte of a start that comes too late meets no
    /// closed pipe, which would be a signal.
    pub(crate) gate: Pipe,
    /// Its reports.
    pub(crate) reports: OwnedFd,
}

impl GatePipes {
    /// Lets the first process go and waits until it has executed its program or ended.
    pub(crate) fn open(self, limit: u64) -> Result<Outcome> {
        child::release(&self.gate.write)?;
        let outcome = child::outcome(self.reports.as_fd(), limit, "the program to start");
        tare_sys::file::close_all([self.reports, self.gate.read, self.gate.write].into());
        outcome
    }
}
