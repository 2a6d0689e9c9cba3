//! A task as the daemon holds it: its shim, its processes and how they ended.

use crate::{
    key::Key,
    shim::{Shim, bundle::Bundle},
    tasks::{ProcessExit, Stdio},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use tare_types::ExecId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A task: a shim's container with its first process and its execs.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: Key,
    pub(crate) shim: Arc<Shim>,
    pub(crate) bundle: Bundle,
    /// The first process.
    pub(crate) init: ProcessState,
    /// Killed for memory at least once.
    pub(crate) oom: AtomicBool,
    /// Frozen.
    pub(crate) paused: AtomicBool,
    execs: Mutex<BTreeMap<ExecId, Arc<ProcessState>>>,
    /// Cancelled when the shim has let go of everything: its log is complete then.
    settled: CancellationToken,
}

/// One process.
#[derive(Debug)]
pub(crate) struct ProcessState {
    pub(crate) stdio: Stdio,
    pid: AtomicU32,
    started: AtomicBool,
    exit: watch::Sender<Option<ProcessExit>>,
}

impl ProcessState {
    pub(crate) fn new(stdio: Stdio) -> Self {
        Self {
            stdio,
            pid: AtomicU32::new(0),
            started: AtomicBool::new(false),
            exit: watch::Sender::new(None),
        }
    }

    /// Its id on the host, 0 when not known.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Release);
    }

    /// Whether it was let go.
    pub(crate) fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<ProcessExit> {
        *self.exit.borrow()
    }

    /// Records the end. `false` when it was known: several ways report one exit.
    pub(crate) fn end(&self, exit: ProcessExit) -> bool {
        let pid = self.pid();
        self.exit.send_if_modified(|known| {
            let new = known.is_none();
            if new {
                *known = Some(ProcessExit { pid: if exit.pid == 0 { pid } else { exit.pid }, ..exit });
            }
            new
        })
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> ProcessExit {
        let mut exit = self.exit.subscribe();
        loop {
            if let Some(exit) = *exit.borrow_and_update() {
                return exit;
            }
            if exit.changed().await.is_err() {
                // The sender lives in `self`, which is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Task {
    pub(crate) fn new(key: Key, shim: Arc<Shim>, bundle: Bundle, stdio: Stdio) -> Self {
        Self {
            key,
            shim,
            bundle,
            init: ProcessState::new(stdio),
            oom: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            execs: Mutex::default(),
            settled: CancellationToken::new(),
        }
    }

    /// Says that the shim has let go of everything.
    pub(crate) fn set_settled(&self) {
        self.settled.cancel();
    }

    /// Whether the shim has let go of everything.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.is_cancelled()
    }

    /// Resolves when the shim has let go of everything.
    pub(crate) async fn settled(&self) {
        self.settled.cancelled().await;
    }

    fn execs(&self) -> MutexGuard<'_, BTreeMap<ExecId, Arc<ProcessState>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an exec; `None` when its id is taken.
    pub(crate) fn add_exec(&self, id: &ExecId, stdio: Stdio) -> Option<Arc<ProcessState>> {
        let mut execs = self.execs();
        if execs.contains_key(id) {
            return None;
        }
        let process = Arc::new(ProcessState::new(stdio));
        execs.insert(id.clone(), process.clone());
        Some(process)
    }

    /// One exec.
    pub(crate) fn exec(&self, id: &ExecId) -> Option<Arc<ProcessState>> {
        self.execs().get(id).cloned()
    }

    /// Forgets an exec.
    pub(crate) fn remove_exec(&self, id: &ExecId) {
        self.execs().remove(id);
    }

    /// All execs.
    pub(crate) fn all_execs(&self) -> Vec<(ExecId, Arc<ProcessState>)> {
        self.execs().iter().map(|(id, process)| (id.clone(), process.clone())).collect()
    }

    /// Whether its first process exists.
    pub(crate) fn is_alive(&self) -> bool {
        self.init.exit().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_report_of_an_exit_counts() {
        let process = Arc::new(ProcessState::new(Stdio::default()));
        process.set_pid(7);
        let waiting = tokio::spawn({
            let process = process.clone();
            async move { process.ended().await }
        });
        assert!(process.end(ProcessExit { pid: 0, status: 3, exited_at: None }));
        assert!(!process.end(ProcessExit { pid: 0, status: 4, exited_at: None }));
        let exit = waiting.await.unwrap();
        assert_eq!((exit.pid, exit.status), (7, 3));
    }
}
