//! Containers from images: create, start, stop, … with Docker's meaning.
//!
//! `reference` arguments are an id, a name (with or without a leading slash) or a unique prefix of an id, in
//! this order, as Docker resolves them. Every verb runs to completion or rollback in a task of its own: a
//! caller that goes away does not leave half of it.

use crate::{
    Engine, Error, Result,
    request::{CreateContainer, Resources, RestartPolicy},
    state::ContainerView,
};
use std::time::Duration;
use tare_types::{ContainerId, Namespace};

/// The verbs of containers.
#[derive(Debug, Clone)]
pub struct Containers {
    engine: Engine,
}

/// What [`Containers::create`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: ContainerId,
    /// What was ignored or changed, as sentences.
    pub warnings: Vec<String>,
}

/// How [`Containers::stop`] and [`Containers::restart`] end a container.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds until SIGKILL, negative for ever; `None` is the container's own.
    pub timeout: Option<i64>,
    /// Signal by name or number; `None` is the container's own.
    pub signal: Option<String>,
}

/// How [`Containers::remove`] removes.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// What [`Containers::wait`] waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; true at once for one that does not.
    #[default]
    NotRunning,
    /// Its next exit, also when it does not run yet.
    NextExit,
    /// It is gone.
    Removed,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit status, 128 + signal for a signal.
    pub code: u32,
    /// Why the status is not the program's, else `None`.
    pub error: Option<String>,
}

/// A wait that is registered already: nothing that happens after [`Containers::wait`] returned is missed.
#[derive(Debug)]
pub struct ExitWaiter {
    pub(crate) receiver: tokio::sync::oneshot::Receiver<ExitStatus>,
}

impl ExitWaiter {
    /// Waits for the condition.
    ///
    /// # Errors
    /// `Canceled` when the engine shuts down first.
    pub async fn wait(self) -> Result<ExitStatus> {
        self.receiver.await.map_err(|_| {
            Error::new(tare_types::ErrorKind::Canceled, "wait for", "container", "", "the engine shuts down")
        })
    }
}

/// What [`Containers::update`] changes; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct UpdateContainer {
    /// Limits; fields that are zero or `None` stay as they are.
    pub resources: Option<Resources>,
    /// What follows an exit.
    pub restart: Option<RestartPolicy>,
}

/// Counts for `info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All containers of the namespace.
    pub containers: usize,
    /// Running, paused ones not included.
    pub running: usize,
    /// Paused.
    pub paused: usize,
    /// Neither.
    pub stopped: usize,
}

/// What [`Containers::prune`] removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Ids of the removed containers.
    pub removed: Vec<ContainerId>,
    /// Bytes that their writable layers took.
    pub reclaimed: u64,
}

impl Containers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Makes a container of a present image: snapshot, volumes and record, in one durable commit.
    ///
    /// # Errors
    /// `NotFound` with `what() == "image"` when the image is absent; `AlreadyExists` with
    /// `what() == "container name"` (detail: the id that has it); `InvalidArgument`.
    pub async fn create(&self, request: CreateContainer) -> Result<Created> {
        let _ = (&self.engine, request);
        Err(Error::unimplemented("create", "container"))
    }

    /// The id that a reference means.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a prefix of several ids.
    pub fn resolve(&self, _namespace: &Namespace, reference: &str) -> Result<ContainerId> {
        Err(Error::not_found("resolve", "container", reference))
    }

    /// Record and state of a container.
    ///
    /// # Errors
    /// As [`Containers::resolve`].
    pub async fn get(&self, _namespace: &Namespace, reference: &str) -> Result<ContainerView> {
        Err(Error::not_found("inspect", "container", reference))
    }

    /// All containers of the namespace that the engine drives, newest first; filters are the door's.
    pub async fn list(&self, _namespace: &Namespace) -> Vec<ContainerView> {
        Vec::new()
    }

    /// Starts it. `Ok(false)` when it runs already.
    ///
    /// # Errors
    /// The first failed step: network, port in use, missing program (detail says so, exit code 127 or 126 is
    /// kept as its state).
    pub async fn start(&self, _namespace: &Namespace, _reference: &str) -> Result<bool> {
        Err(Error::unimplemented("start", "container"))
    }

    /// Asks it to end, and kills it after the timeout. `Ok(false)` when it does not run.
    ///
    /// # Errors
    /// As [`Containers::resolve`]; `DeadlineExceeded` when it survives SIGKILL.
    pub async fn stop(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _options: StopOptions,
    ) -> Result<bool> {
        Err(Error::unimplemented("stop", "container"))
    }

    /// Sends a signal, by name or number.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run; `InvalidArgument` for an unknown signal.
    pub async fn kill(&self, _namespace: &Namespace, _reference: &str, _signal: &str) -> Result<()> {
        Err(Error::unimplemented("kill", "container"))
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// Those of both.
    pub async fn restart(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _options: StopOptions,
    ) -> Result<()> {
        Err(Error::unimplemented("restart", "container"))
    }

    /// Freezes it.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run or is paused.
    pub async fn pause(&self, _namespace: &Namespace, _reference: &str) -> Result<()> {
        Err(Error::unimplemented("pause", "container"))
    }

    /// Thaws it.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not paused.
    pub async fn unpause(&self, _namespace: &Namespace, _reference: &str) -> Result<()> {
        Err(Error::unimplemented("unpause", "container"))
    }

    /// Removes it with its snapshot, logs and, when asked, anonymous volumes.
    ///
    /// # Errors
    /// `FailedPrecondition` when it runs and `force` is false.
    pub async fn remove(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _options: RemoveOptions,
    ) -> Result<()> {
        Err(Error::unimplemented("remove", "container"))
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `AlreadyExists` with `what() == "container name"`; `InvalidArgument`.
    pub async fn rename(&self, _namespace: &Namespace, _reference: &str, _name: &str) -> Result<()> {
        Err(Error::unimplemented("rename", "container"))
    }

    /// Registers a wait; see [`ExitWaiter`].
    ///
    /// # Errors
    /// As [`Containers::resolve`].
    pub async fn wait(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _condition: WaitCondition,
    ) -> Result<ExitWaiter> {
        Err(Error::unimplemented("wait for", "container"))
    }

    /// Changes limits and restart policy, of a running container too.
    ///
    /// # Errors
    /// `InvalidArgument`, and what the kernel refuses.
    pub async fn update(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _change: UpdateContainer,
    ) -> Result<Vec<String>> {
        Err(Error::unimplemented("update", "container"))
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run.
    pub async fn resize(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _height: u16,
        _width: u16,
    ) -> Result<()> {
        Err(Error::unimplemented("resize", "container"))
    }

    /// Removes every container that does not run and satisfies `select`.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(
        &self,
        _namespace: &Namespace,
        _select: impl Fn(&ContainerView) -> bool + Send + Sync,
    ) -> Result<Pruned> {
        Err(Error::unimplemented("prune", "containers"))
    }

    /// How many there are.
    pub fn counts(&self, _namespace: &Namespace) -> Counts {
        Counts::default()
    }

    /// Seconds of the container's stop timeout as a duration, `None` for ever.
    pub(crate) fn _timeout(seconds: i64) -> Option<Duration> {
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}
