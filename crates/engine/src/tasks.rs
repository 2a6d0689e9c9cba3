//! Tasks: the processes of containers, driven as containerd's Tasks service drives them.
//!
//! Works for every record: one that a client of containerd's door made, with fifos for stdio, and one of the
//! Docker door alike. `exec` is `None` for the first process.

use crate::{Any, Engine, Error, Result};
use std::collections::BTreeMap;
use tare_types::{ContainerId, ExecId, Mount, Namespace, Timestamp};

/// The verbs of tasks.
#[derive(Debug, Clone)]
pub struct Tasks {
    engine: Engine,
}

/// Where a process's streams go: fifo paths, `file://`, `binary://`, `tare:`, or empty for nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error; unused with a terminal.
    pub stderr: String,
    /// A terminal.
    pub terminal: bool,
}

/// A task to create.
#[derive(Debug, Clone, Default)]
pub struct CreateTask {
    /// Streams.
    pub stdio: Stdio,
    /// Mounts of the root file system; empty takes those of the record's snapshot.
    pub rootfs: Vec<Mount>,
    /// Options for the shim; `None` takes the record's.
    pub options: Option<Any>,
    /// Path of a shim binary that the client insists on, or empty.
    pub runtime_path: String,
}

/// An exec to register.
#[derive(Debug, Clone)]
pub struct ExecTask {
    /// Identifier within the task.
    pub exec: ExecId,
    /// Streams.
    pub stdio: Stdio,
    /// OCI process as JSON.
    pub spec: Any,
}

/// A process of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its container.
    pub container: ContainerId,
    /// `None` for the first process.
    pub exec: Option<ExecId>,
    /// On the host.
    pub pid: u32,
    /// What it does.
    pub status: ProcessStatus,
    /// Streams.
    pub stdio: Stdio,
    /// Exit status after the exit.
    pub exit_status: u32,
    /// When it ended.
    pub exited_at: Option<Timestamp>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessStatus {
    /// The shim does not know.
    Unknown,
    /// Blocked before its program.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Stopped,
    /// Frozen.
    Paused,
    /// Being frozen.
    Pausing,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessExit {
    /// On the host; 0 when it never started.
    pub pid: u32,
    /// Exit status, 128 + signal for a signal.
    pub status: u32,
    /// When; `None` when it never ran.
    pub exited_at: Option<Timestamp>,
}

/// A process within a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEntry {
    /// On the host.
    pub pid: u32,
    /// What the shim adds (the exec it belongs to).
    pub info: Option<Any>,
}

/// Metrics of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its container.
    pub container: ContainerId,
    /// When they were read.
    pub time: Timestamp,
    /// `io.containerd.cgroups.v1.Metrics` or v2.
    pub data: Any,
}

impl Tasks {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Starts a shim and creates the container in it, blocked before its program. Gives the process id.
    ///
    /// # Errors
    /// `NotFound` without a record; `AlreadyExists` with a task; what shim and runtime say.
    pub async fn create(&self, _ns: &Namespace, _id: &ContainerId, _request: CreateTask) -> Result<u32> {
        let _ = &self.engine;
        Err(Error::unimplemented("create", "task"))
    }

    /// Lets a process run its program. Gives its id.
    ///
    /// # Errors
    /// `NotFound`; a missing program.
    pub async fn start(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<u32> {
        Err(Error::unimplemented("start", "task"))
    }

    /// Registers an exec.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`.
    pub async fn exec(&self, _ns: &Namespace, _id: &ContainerId, _request: ExecTask) -> Result<()> {
        Err(Error::unimplemented("exec in", "task"))
    }

    /// Sends a signal to a process, or with `all` to every one of the container.
    ///
    /// # Errors
    /// `NotFound` also when the process has ended.
    pub async fn kill(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
        _signal: u32,
        _all: bool,
    ) -> Result<()> {
        Err(Error::unimplemented("kill", "task"))
    }

    /// Deletes a task that has ended, its bundle and its shim, or one exec of it.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it runs.
    pub async fn delete(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
    ) -> Result<ProcessExit> {
        Err(Error::unimplemented("delete", "task"))
    }

    /// Waits for the end of a process; at once when it has ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn wait(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
    ) -> Result<ProcessExit> {
        Err(Error::unimplemented("wait for", "task"))
    }

    /// State of a process.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<Process> {
        Err(Error::unimplemented("get", "task"))
    }

    /// First processes of all tasks of the namespace.
    ///
    /// # Errors
    /// None of its own; a shim that does not answer shows as unknown.
    pub async fn list(&self, _ns: &Namespace) -> Result<Vec<Process>> {
        Err(Error::unimplemented("list", "tasks"))
    }

    /// Processes within a container.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pids(&self, _ns: &Namespace, _id: &ContainerId) -> Result<Vec<ProcessEntry>> {
        Err(Error::unimplemented("list processes of", "task"))
    }

    /// Freezes a task.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition`.
    pub async fn pause(&self, _ns: &Namespace, _id: &ContainerId) -> Result<()> {
        Err(Error::unimplemented("pause", "task"))
    }

    /// Thaws a task.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition`.
    pub async fn resume(&self, _ns: &Namespace, _id: &ContainerId) -> Result<()> {
        Err(Error::unimplemented("resume", "task"))
    }

    /// Metrics of one task, as its shim gives them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn metrics(&self, _ns: &Namespace, _id: &ContainerId) -> Result<Metric> {
        Err(Error::unimplemented("read metrics of", "task"))
    }

    /// Sets the size of a terminal in characters.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resize_pty(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
        _width: u32,
        _height: u32,
    ) -> Result<()> {
        Err(Error::unimplemented("resize", "task"))
    }

    /// Closes the shim's end of a process's stdin.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn close_io(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<()> {
        Err(Error::unimplemented("close stdin of", "task"))
    }

    /// Changes limits: OCI `LinuxResources` as JSON.
    ///
    /// # Errors
    /// `NotFound`, and what the kernel refuses.
    pub async fn update(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _resources: Any,
        _annotations: BTreeMap<String, String>,
    ) -> Result<()> {
        Err(Error::unimplemented("update", "task"))
    }
}
