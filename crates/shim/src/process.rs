//! A process of a container: the first one or an exec. Its life is created → running → stopped.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tare_api::status::Status;
use tare_api::tare::shim::v1::TerminalSize;
use tare_types::{ErrorKind, Timestamp};
use tokio::sync::watch;

use crate::stdio::hub::Hub;
use crate::stdio::{Names, Streams};

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exited {
    /// The exit code, or 128 and the signal's number.
    pub(crate) status: u32,
    pub(crate) at: Timestamp,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits to be started (an exec: it is only described).
    Created,
    Running,
    Stopped(Exited),
}

/// A process the shim is, or will be, the parent of.
#[derive(Debug)]
pub(crate) struct Process {
    /// Empty for the container's first process.
    pub(crate) exec_id: String,
    pub(crate) names: Names,
    /// Set when the shim owns streams of it.
    pub(crate) hub: Option<Arc<Hub>>,
    phase: watch::Sender<Phase>,
    live: Mutex<Live>,
}

/// What exists while the process does.
#[derive(Debug, Default)]
struct Live {
    pid: i32,
    pidfd: Option<OwnedFd>,
    started_at: Option<Timestamp>,
    streams: Streams,
    terminal_size: Option<TerminalSize>,
    /// What an exec will execute.
    spec: Option<Box<tare_types::spec::Process>>,
    oom_killed: bool,
}

impl Process {
    /// A process that does not exist yet.
    pub(crate) fn new(
        exec_id: &str,
        names: Names,
        hub: Option<Arc<Hub>>,
        size: Option<TerminalSize>,
    ) -> Self {
        Self {
            exec_id: exec_id.to_owned(),
            names,
            hub,
            phase: watch::Sender::new(Phase::Created),
            live: Mutex::new(Live { terminal_size: size, ..Live::default() }),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what an exec will execute.
    pub(crate) fn set_spec(&self, spec: tare_types::spec::Process) {
        self.live().spec = Some(Box::new(spec));
    }

    /// What to execute; once.
    pub(crate) fn take_spec(&self) -> Option<Box<tare_types::spec::Process>> {
        self.live().spec.take()
    }

    /// The process exists: its pid, its descriptor and its copying.
    pub(crate) fn made(&self, pid: i32, pidfd: OwnedFd, streams: Streams) {
        let mut live = self.live();
        live.pid = pid;
        live.pidfd = Some(pidfd);
        live.streams = streams;
        if let (Some(size), Some(console)) = (live.terminal_size, live.streams.console()) {
            // A terminal without a size is a terminal still.
            set_size(console, size).unwrap_or_default();
        }
    }

    /// The program runs.
    pub(crate) fn started(&self, at: Timestamp) {
        self.live().started_at = Some(at);
        self.phase.send_if_modified(|phase| {
            let created = *phase == Phase::Created;
            if created {
                *phase = Phase::Running;
            }
            created
        });
    }

    /// The process has ended and was reaped.
    pub(crate) fn stopped(&self, exited: Exited, oom_killed: bool) {
        let mut live = self.live();
        live.oom_killed = oom_killed;
        live.streams.stop_input();
        live.pidfd = None;
        drop(live);
        self.phase.send_replace(Phase::Stopped(exited));
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.live().pid
    }

    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        self.live().started_at
    }

    pub(crate) fn oom_killed(&self) -> bool {
        self.live().oom_killed
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> Exited {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Stopped(exited) = *phase.borrow_and_update() {
                return exited;
            }
            // The sender is a field of `self`: it lives as long as this borrow.
            phase.changed().await.unwrap_or_default();
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `NotFound` when the process has ended or does not exist yet, as containerd's shims say it.
    pub(crate) fn kill(&self, signal: i32) -> Result<(), Status> {
        let live = self.live();
        let Some(pidfd) = &live.pidfd else {
            let stopped = matches!(self.phase(), Phase::Stopped(_));
            let text = if stopped { "process already finished" } else { "process is not started" };
            let kind = if stopped { ErrorKind::NotFound } else { ErrorKind::FailedPrecondition };
            return Err(Status::new(kind, format!("{text}: {}", kind.as_str())));
        };
        tare_sys::process::send_signal(pidfd.as_fd(), signal).map_err(|error| match error.errno() {
            tare_sys::Errno::SRCH => Status::new(ErrorKind::NotFound, "process already finished: not found"),
            tare_sys::Errno::INVAL => {
                Status::new(ErrorKind::InvalidArgument, format!("signal {signal} does not exist"))
            }
            _ => Status::new(ErrorKind::Internal, error.to_string()),
        })
    }

    /// Sets the size of the terminal; one that does not exist yet gets it when it is made.
    ///
    /// # Errors
    /// `FailedPrecondition` for a process without a terminal.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Status> {
        let mut live = self.live();
        // As Go's shim: a size means nothing to a process without a terminal.
        if !self.names.terminal {
            return Ok(());
        }
        live.terminal_size = Some(size);
        match live.streams.console() {
            Some(console) => set_size(console, size),
            None => Ok(()),
        }
    }

    /// Closes stdin for this process.
    pub(crate) fn close_stdin(&self) {
        if let Some(hub) = &self.hub {
            hub.close_stdin();
        }
        self.live().streams.close_stdin();
    }

    /// The copying, to be drained before the process is forgotten.
    pub(crate) fn take_streams(&self) -> Streams {
        std::mem::take(&mut self.live().streams)
    }
}

fn set_size(console: impl AsFd, size: TerminalSize) -> Result<(), Status> {
    let clamp = |value: u32| value.min(u32::from(u16::MAX)) as u16;
    let size = rustix::termios::Winsize {
        ws_row: clamp(size.height),
        ws_col: clamp(size.width),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(console, size)
        .map_err(|error| Status::new(ErrorKind::Internal, format!("resize terminal: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process::new("", Names::default(), None, None)
    }

    #[tokio::test]
    async fn waiters_before_and_after_the_end_get_the_same_answer() {
        let process = Arc::new(process());
        let waiter = tokio::spawn({
            let process = Arc::clone(&process);
            async move { process.wait().await }
        });
        process.started(Timestamp::new(1, 0));
        assert_eq!(process.phase(), Phase::Running);
        let exited = Exited { status: 137, at: Timestamp::new(2, 0) };
        process.stopped(exited, true);
        assert_eq!(waiter.await.unwrap(), exited);
        assert_eq!(process.wait().await, exited);
        process.started(Timestamp::new(3, 0));
        assert_eq!(process.phase(), Phase::Stopped(exited), "the end is final");
    }

    #[test]
    fn an_ended_process_is_not_found_and_an_unmade_one_is_not_started() {
        let process = process();
        assert_eq!(process.kill(9).unwrap_err().kind, ErrorKind::FailedPrecondition);
        process.stopped(Exited { status: 0, at: Timestamp::new(0, 0) }, false);
        assert_eq!(process.kill(9).unwrap_err().kind, ErrorKind::NotFound);
        process.resize(TerminalSize::default()).unwrap();
    }
}
