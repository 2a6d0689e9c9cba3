//! A container in memory: its record, what it is right now, and whose turn it is to change it.

use crate::{
    ContainerRecord,
    attach::AttachOptions,
    containers::{ExitStatus, WaitCondition},
    exec::ExecRequest,
    key::Key,
    network::EndpointState,
    restart::Backoff,
    shim::attach::Ends,
    state::{ContainerState, ContainerView, Status},
    task::Task,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tare_types::ExecId;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A container.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// Held by the verb that changes the container; never while waiting for its program to end by itself.
    pub(crate) turn: tokio::sync::Mutex<()>,
    record: Mutex<Arc<ContainerRecord>>,
    live: Mutex<Live>,
}

/// What is true right now. Locked for moments only, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) state: ContainerState,
    pub(crate) task: Option<Arc<Task>>,
    pub(crate) endpoint: Option<EndpointState>,
    pub(crate) waiters: Vec<(WaitCondition, oneshot::Sender<ExitStatus>)>,
    /// Clients that attached before the start.
    pub(crate) pending: Vec<(AttachOptions, Ends)>,
    /// Execs of the Docker door.
    pub(crate) execs: BTreeMap<ExecId, Arc<Exec>>,
    pub(crate) backoff: Backoff,
    /// A user asked for the end of this run.
    pub(crate) stopped: bool,
    /// The end of this run does not remove it: its user restarts it.
    pub(crate) keep: bool,
    /// A restart that waits for its time.
    pub(crate) restart: Option<CancellationToken>,
    /// The record is gone.
    pub(crate) removed: bool,
}

/// An exec of the Docker door.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) request: ExecRequest,
    pub(crate) live: Mutex<ExecLive>,
}

/// State of an [`Exec`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExecLive {
    pub(crate) started: bool,
    pub(crate) pid: u32,
    pub(crate) exit: Option<u32>,
}

impl Exec {
    pub(crate) fn new(request: ExecRequest) -> Self {
        Self { request, live: Mutex::default() }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, ExecLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn new(key: Key, record: ContainerRecord) -> Self {
        let mut state = ContainerState::default();
        if let Some(exit) = record.engine.as_ref().and_then(|engine| engine.last_exit.as_ref()) {
            state.exit_code = exit.code;
            state.oom_killed = exit.oom_killed;
            state.error.clone_from(&exit.error);
            if exit.error.is_empty() {
                state.status = Status::Exited;
                state.started_at = Some(exit.started_at);
                state.finished_at = Some(exit.finished_at);
            }
        }
        Self {
            key,
            turn: tokio::sync::Mutex::new(()),
            record: Mutex::new(Arc::new(record)),
            live: Mutex::new(Live { state, ..Live::default() }),
        }
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a record that is stored.
    pub(crate) fn set_record(&self, record: Arc<ContainerRecord>) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
    }

    /// What is true right now.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task, if there is one.
    pub(crate) fn task(&self) -> Option<Arc<Task>> {
        self.live().task.clone()
    }

    /// The task whose first process exists, if there is one.
    pub(crate) fn running_task(&self) -> Option<Arc<Task>> {
        self.task().filter(|task| task.is_alive())
    }

    /// Record and state.
    pub(crate) fn view(&self) -> ContainerView {
        let record = self.record();
        let live = self.live();
        ContainerView { record, state: live.state.clone(), endpoint: live.endpoint.clone() }
    }

    /// Whether the engine drives its life.
    pub(crate) fn is_driven(&self) -> bool {
        self.record().engine.is_some()
    }
}

impl Live {
    /// Answers the waits that this exit satisfies.
    pub(crate) fn tell_exit(&mut self, status: &ExitStatus) {
        self.tell(status, |condition| condition != WaitCondition::Removed);
    }

    /// Answers all waits: the container is gone.
    pub(crate) fn tell_removed(&mut self, status: &ExitStatus) {
        self.tell(status, |_| true);
    }

    fn tell(&mut self, status: &ExitStatus, satisfied: impl Fn(WaitCondition) -> bool) {
        for (condition, sender) in std::mem::take(&mut self.waiters) {
            if satisfied(condition) {
                // A client that left needs no answer.
                sender.send(status.clone()).unwrap_or_default();
            } else if !sender.is_closed() {
                self.waiters.push((condition, sender));
            }
        }
    }

    /// The last exit as waits report it.
    pub(crate) fn last_exit(&self) -> ExitStatus {
        let error = Some(self.state.error.clone()).filter(|error| !error.is_empty());
        ExitStatus { code: self.state.exit_code, error }
    }
}
