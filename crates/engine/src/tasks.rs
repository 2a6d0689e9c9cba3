//! Tasks: the processes of containers, driven as containerd's Tasks service drives them.
//!
//! Works for every record: one that a client of containerd's door made, with fifos for stdio, and one of the
//! Docker door alike. `exec` is `None` for the first process.

use crate::{
    Any, Engine, Error, Result, clock,
    entry::Entry,
    events::Body,
    key::Key,
    lifecycle::{self, takeup, task::NewTask},
    shim::{bundle::Facts, resolve},
    stores::blocking,
    task::Task,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};
use tare_types::{ContainerId, ErrorKind, ExecId, Mount, Namespace, SnapshotKey, Timestamp};

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
    pub async fn create(&self, ns: &Namespace, id: &ContainerId, request: CreateTask) -> Result<u32> {
        let (engine, entry) = (self.engine.clone(), self.entry("create", ns, id)?);
        self.engine.run("create task", async move { create(&engine, &entry, request).await }).await
    }

    /// Lets a process run its program. Gives its id.
    ///
    /// # Errors
    /// `NotFound`; a missing program.
    pub async fn start(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<u32> {
        let (entry, task) = self.task("start", ns, id)?;
        let (engine, exec) = (self.engine.clone(), exec.cloned());
        self.engine.run("start task", async move { start(&engine, &entry, &task, exec.as_ref()).await }).await
    }

    /// Registers an exec.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`.
    pub async fn exec(&self, ns: &Namespace, id: &ContainerId, request: ExecTask) -> Result<()> {
        let (entry, task) = self.task("exec in", ns, id)?;
        let ExecTask { exec, stdio, spec } = request;
        if task.add_exec(&exec, stdio.clone()).is_none() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "create",
                "exec",
                exec.as_str(),
                "its id is taken",
            ));
        }
        let begun = async {
            if !task.shim.native {
                // It lists no execs: a daemon that comes back has to ask for them by name.
                task.bundle.replace(&takeup::exec_mark(exec.as_str()), b"")?;
            }
            task.shim.exec(id, &exec, stdio, spec).await
        };
        if let Err(error) = begun.await {
            forget(&task, &exec);
            return Err(error);
        }
        let body = Body::TaskExecAdded { id: id.to_string(), exec_id: exec.to_string() };
        self.engine.publish(&entry, body);
        Ok(())
    }

    /// Sends a signal to a process, or with `all` to every one of the container.
    ///
    /// # Errors
    /// `NotFound` also when the process has ended.
    pub async fn kill(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        exec: Option<&ExecId>,
        signal: u32,
        all: bool,
    ) -> Result<()> {
        let (_, task) = self.task("kill", ns, id)?;
        task.shim.kill(id, exec, signal, all).await
    }

    /// Deletes a task that has ended, its bundle and its shim, or one exec of it.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it runs.
    pub async fn delete(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        exec: Option<&ExecId>,
    ) -> Result<ProcessExit> {
        let (entry, task) = self.task("delete", ns, id)?;
        if let Some(exec) = exec {
            let known = task.exec(exec).and_then(|process| process.exit());
            let exit = task.shim.delete(id, Some(exec)).await?;
            forget(&task, exec);
            return Ok(known.map_or(exit, |known| ProcessExit { pid: exit.pid, ..known }));
        }
        let engine = self.engine.clone();
        let work = async move {
            let _turn = entry.turn.lock().await;
            let task = entry.task().ok_or_else(|| lifecycle::task::no_task("delete", &entry.key))?;
            if task.is_alive() && task.init.started() {
                // The shim decides for one that it knows better than the daemon.
                let state = task.shim.state(&entry.key.id, None).await?;
                if matches!(
                    state.status,
                    ProcessStatus::Running | ProcessStatus::Paused | ProcessStatus::Pausing
                ) {
                    let detail = format!("task must be stopped before deletion: {}", word(state.status));
                    return Err(Error::new(
                        ErrorKind::FailedPrecondition,
                        "delete",
                        "task",
                        entry.key.id.as_str(),
                        detail,
                    ));
                }
            }
            if entry.is_driven()
                && let Some(exit) = task.init.exit()
            {
                lifecycle::exit::settle(&engine, &entry, &task).await;
                return Ok(exit);
            }
            lifecycle::task::delete(&engine, &entry, &task).await
        };
        self.engine.run("delete task", work).await
    }

    /// Waits for the end of a process; at once when it has ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn wait(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<ProcessExit> {
        let (_, task) = self.task("wait for", ns, id)?;
        match exec {
            None => Ok(task.init.ended().await),
            Some(exec) => {
                let missing = || Error::not_found("wait for", "exec", exec.as_str());
                Ok(task.exec(exec).ok_or_else(missing)?.ended().await)
            }
        }
    }

    /// State of a process.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<Process> {
        let (_, task) = self.task("get", ns, id)?;
        let known = match exec {
            None => task.init.exit(),
            Some(exec) => task.exec(exec).and_then(|process| process.exit()),
        };
        let mut process = task.shim.state(id, exec).await?;
        if let Some(exit) = known {
            process.status = ProcessStatus::Stopped;
            process.exit_status = exit.status;
            process.exited_at = exit.exited_at;
        }
        Ok(process)
    }

    /// First processes of all tasks of the namespace.
    ///
    /// # Errors
    /// None of its own; a shim that does not answer shows as unknown.
    pub async fn list(&self, ns: &Namespace) -> Result<Vec<Process>> {
        let entries = self.engine.inner().roster.list(ns);
        let tasks = entries.iter().filter_map(|entry| entry.task());
        let asked = tasks.map(|task| async move {
            let id = task.key.id.clone();
            let process = task.shim.state(&id, None).await;
            process.unwrap_or_else(|_| Process {
                container: id,
                exec: None,
                pid: task.init.pid(),
                status: ProcessStatus::Unknown,
                stdio: task.init.stdio.clone(),
                exit_status: 0,
                exited_at: None,
            })
        });
        Ok(futures_util::future::join_all(asked).await)
    }

    /// Processes within a container.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pids(&self, ns: &Namespace, id: &ContainerId) -> Result<Vec<ProcessEntry>> {
        self.task("list processes of", ns, id)?.1.shim.pids(id).await
    }

    /// Freezes a task.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition`.
    pub async fn pause(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let (entry, task) = self.task("pause", ns, id)?;
        if entry.is_driven() {
            return lifecycle::stop::pause(&self.engine, &entry).await;
        }
        task.shim.pause(id).await?;
        task.paused.store(true, Ordering::Release);
        self.engine.publish(&entry, Body::TaskPaused { id: id.to_string() });
        Ok(())
    }

    /// Thaws a task.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition`.
    pub async fn resume(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let (entry, task) = self.task("resume", ns, id)?;
        if entry.is_driven() {
            return lifecycle::stop::unpause(&self.engine, &entry).await;
        }
        task.shim.resume(id).await?;
        task.paused.store(false, Ordering::Release);
        self.engine.publish(&entry, Body::TaskResumed { id: id.to_string() });
        Ok(())
    }

    /// Metrics of one task, as its shim gives them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn metrics(&self, ns: &Namespace, id: &ContainerId) -> Result<Metric> {
        self.task("read metrics of", ns, id)?.1.shim.stats(id, clock::now()).await
    }

    /// Sets the size of a terminal in characters.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn resize_pty(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        exec: Option<&ExecId>,
        width: u32,
        height: u32,
    ) -> Result<()> {
        self.task("resize", ns, id)?.1.shim.resize(id, exec, width, height).await
    }

    /// Closes the shim's end of a process's stdin.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn close_io(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<()> {
        self.task("close stdin of", ns, id)?.1.shim.close_io(id, exec).await
    }

    /// Changes limits: OCI `LinuxResources` as JSON.
    ///
    /// # Errors
    /// `NotFound`, and what the kernel refuses.
    pub async fn update(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        resources: Any,
        annotations: BTreeMap<String, String>,
    ) -> Result<()> {
        self.task("update", ns, id)?.1.shim.update(id, resources, annotations).await
    }

    fn entry(&self, operation: &'static str, ns: &Namespace, id: &ContainerId) -> Result<Arc<Entry>> {
        let found = self.engine.inner().roster.get(&Key::new(ns, id));
        found.ok_or_else(|| Error::not_found(operation, "container", id.as_str()))
    }

    fn task(
        &self,
        operation: &'static str,
        ns: &Namespace,
        id: &ContainerId,
    ) -> Result<(Arc<Entry>, Arc<Task>)> {
        let entry = self.entry(operation, ns, id)?;
        let task = entry.task().ok_or_else(|| lifecycle::task::no_task(operation, &entry.key))?;
        Ok((entry, task))
    }
}

/// Forgets an exec, and that it was noted.
fn forget(task: &Task, exec: &ExecId) {
    task.remove_exec(exec);
    if !task.shim.native {
        // A note without an exec says nothing.
        std::fs::remove_file(task.bundle.path().join(takeup::exec_mark(exec.as_str()))).unwrap_or_default();
    }
}

/// containerd's word for a status.
fn word(status: ProcessStatus) -> &'static str {
    match status {
        ProcessStatus::Unknown => "unknown",
        ProcessStatus::Created => "created",
        ProcessStatus::Running => "running",
        ProcessStatus::Stopped => "stopped",
        ProcessStatus::Paused => "paused",
        ProcessStatus::Pausing => "pausing",
    }
}

async fn create(engine: &Engine, entry: &Arc<Entry>, request: CreateTask) -> Result<u32> {
    let _turn = entry.turn.lock().await;
    let key = &entry.key;
    if entry.task().is_some() {
        let detail = "task already exists";
        return Err(Error::new(ErrorKind::AlreadyExists, "create", "task", key.id.as_str(), detail));
    }
    let record = entry.record();
    let rootfs = if request.rootfs.is_empty() && !record.snapshot_key.is_empty() {
        let stores = engine.stores().clone();
        let record = record.clone();
        blocking("find mounts of task", move || {
            let key = SnapshotKey::new(record.snapshot_key.as_str())?;
            Ok(stores.snapshotter(&record.snapshotter)?.mounts(&record.namespace, &key)?)
        })
        .await?
    } else {
        request.rootfs
    };
    let runtime = match request.runtime_path.as_str() {
        "" => record.runtime.name.clone(),
        path => path.to_owned(),
    };
    let options = request.options.or_else(|| record.runtime.options.clone());
    let new = NewTask {
        spec: record.spec.value.clone(),
        runtime,
        options: options.map(resolve::modern).transpose()?,
        rootfs,
        stdio: request.stdio,
        facts: Facts { started_at: Some(clock::now()), ..Facts::default() },
    };
    let prepared = lifecycle::task::prepare(engine, key, &new).await?;
    let task = lifecycle::task::create(engine, key, prepared, new).await?;
    let pid = task.init.pid();
    let bundle = task.bundle.path().display().to_string();
    engine.publish(entry, Body::TaskCreated { id: key.id.to_string(), bundle, pid });
    lifecycle::task::show(engine, entry, &task);
    Ok(pid)
}

async fn start(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, exec: Option<&ExecId>) -> Result<u32> {
    let id = &entry.key.id;
    let pid = task.shim.start(id, exec).await?;
    match exec {
        None => {
            task.init.set_pid(pid);
            task.init.set_started();
            engine.publish(entry, Body::TaskStarted { id: id.to_string(), pid });
        }
        Some(exec) => {
            if let Some(process) = task.exec(exec) {
                process.set_pid(pid);
                process.set_started();
            }
            let body = Body::TaskExecStarted { id: id.to_string(), exec_id: exec.to_string(), pid };
            engine.publish(entry, body);
            lifecycle::task::watch(engine, entry, task, Some(exec.clone()));
        }
    }
    Ok(pid)
}
