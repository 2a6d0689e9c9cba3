//! One shim, spoken to over ttrpc. Every call that does not wait for a container has a deadline.

use super::{
    convert,
    diagnostics::Diagnostics,
    holder::{Holder, Own},
};
use crate::{
    Any, Error, Result,
    key::Key,
    tasks::{Metric, Process, ProcessEntry, ProcessExit, Stdio},
};
use prost::Message;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tare_api::{
    containerd::task::v2 as task,
    status::Status,
    tare::shim::v1 as private,
    ttrpc::{CallOptions, Client},
};
use tare_types::{ContainerId, ErrorKind, ExecId, Mount};

/// Metadata key of the namespace (containerd's).
const NAMESPACE: &str = "containerd-namespace-ttrpc";
/// Tare's private service of its shim.
const PRIVATE: &str = "tare.shim.v1.Shim";

/// A connection to a shim.
#[derive(Debug)]
pub(crate) struct Shim {
    /// The container, or the group whose shim it is.
    pub(crate) key: Key,
    /// Its binary.
    pub(crate) binary: PathBuf,
    /// Whether it is Tare's, with the private service.
    pub(crate) native: bool,
    /// Its socket.
    pub(crate) address: PathBuf,
    /// Version of its Task service: 2 or 3.
    pub(crate) version: u32,
    /// What it says beside its answers, where it is a foreign one.
    _diagnostics: Option<Diagnostics>,
    /// Tare's shim beside a foreign one: it holds streams and ports.
    pub(crate) holder: Option<Box<Holder>>,
    client: Client,
    service: &'static str,
    deadline: Duration,
}

/// What [`Shim::create`] is told beside the bundle.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreateCall {
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: Stdio,
    pub(crate) options: Option<Any>,
}

/// A process as Tare's shim lists it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) exec: String,
    pub(crate) process: Process,
    pub(crate) oom_killed: bool,
}

impl Shim {
    /// Connects to a shim's socket.
    pub(crate) async fn connect(
        key: &Key,
        binary: &Path,
        native: bool,
        address: &Path,
        version: u32,
        deadline: Duration,
    ) -> Result<Self> {
        let connected = tokio::time::timeout(deadline, Client::connect(address)).await;
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(status)) => return Err(failed("connect to", key, status)),
            Err(_) => {
                let detail = format!("{} does not answer within {deadline:?}", address.display());
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    "connect to",
                    "shim",
                    key.to_string(),
                    detail,
                ));
            }
        };
        Ok(Self::of(client, key, binary, native, address, version, deadline))
    }

    /// A shim behind a connection that exists.
    pub(crate) fn of(
        client: Client,
        key: &Key,
        binary: &Path,
        native: bool,
        address: &Path,
        version: u32,
        deadline: Duration,
    ) -> Self {
        let service = if version >= 3 { "containerd.task.v3.Task" } else { "containerd.task.v2.Task" };
        Self {
            key: key.clone(),
            binary: binary.to_path_buf(),
            native,
            address: address.to_path_buf(),
            version,
            _diagnostics: None,
            holder: None,
            client,
            service,
            deadline,
        }
    }

    /// With the task that reads what the shim says; it ends with the connection.
    pub(crate) fn followed_by(self, diagnostics: Option<Diagnostics>) -> Self {
        Self { _diagnostics: diagnostics, ..self }
    }

    /// With Tare's shim that holds its streams.
    pub(crate) fn with_holder(self, holder: Option<Holder>) -> Self {
        Self { holder: holder.map(Box::new), ..self }
    }

    /// With another limit for each call.
    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn closed(&self) {
        self.client.closed().await;
    }

    /// The one of Tare's that serves streams and ports: itself, or the one beside a foreign shim.
    fn own(&self, operation: &'static str) -> Result<Own<'_>> {
        let Some(holder) = &self.holder else { return Ok(Own::Itself(self)) };
        holder.current().map(Own::Beside).ok_or_else(|| {
            let detail = "the shim that held its streams has died, and no other has taken its place yet";
            Error::new(ErrorKind::Unavailable, operation, "container", self.key.id.as_str(), detail)
        })
    }

    fn options(&self, timeout: Option<Duration>) -> CallOptions {
        CallOptions {
            timeout,
            metadata: vec![(NAMESPACE.to_owned(), self.key.namespace.as_str().to_owned())],
        }
    }

    async fn call<Q: Message, A: Message + Default>(
        &self,
        operation: &'static str,
        method: &str,
        request: &Q,
    ) -> Result<A> {
        let options = self.options(Some(self.deadline));
        let answer = self.client.call(self.service, method, request, &options).await;
        answer.map_err(|status| failed(operation, &self.key, status))
    }

    async fn private<Q: Message, A: Message + Default>(
        &self,
        operation: &'static str,
        method: &str,
        request: &Q,
    ) -> Result<A> {
        if !self.native {
            let name = self.binary.display().to_string();
            let detail = format!("this shim has no {PRIVATE}/{method}");
            return Err(Error::new(ErrorKind::Unimplemented, operation, "shim", name, detail));
        }
        let options = self.options(Some(self.deadline));
        let answer = self.client.call(PRIVATE, method, request, &options).await;
        answer.map_err(|status| failed(operation, &self.key, status))
    }

    /// Creates the container, blocked before its program. Gives the process id.
    pub(crate) async fn create(&self, id: &ContainerId, call: CreateCall) -> Result<u32> {
        let request = task::CreateTaskRequest {
            id: id.to_string(),
            bundle: call.bundle.to_string_lossy().into_owned(),
            rootfs: call.rootfs.into_iter().map(convert::mount).collect(),
            terminal: call.stdio.terminal,
            stdin: call.stdio.stdin,
            stdout: call.stdio.stdout,
            stderr: call.stdio.stderr,
            options: call.options.map(convert::any_to_wire),
            ..Default::default()
        };
        Ok(self.call::<_, task::CreateTaskResponse>("create", "Create", &request).await?.pid)
    }

    /// Lets a process run its program. Gives its id.
    pub(crate) async fn start(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<u32> {
        let request = task::StartRequest { id: id.to_string(), exec_id: text(exec) };
        Ok(self.call::<_, task::StartResponse>("start", "Start", &request).await?.pid)
    }

    /// Registers an exec.
    pub(crate) async fn exec(&self, id: &ContainerId, exec: &ExecId, stdio: Stdio, spec: Any) -> Result<()> {
        let request = task::ExecProcessRequest {
            id: id.to_string(),
            exec_id: exec.to_string(),
            terminal: stdio.terminal,
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            spec: Some(convert::any_to_wire(spec)),
        };
        self.call("exec in", "Exec", &request).await
    }

    /// Sends a signal.
    pub(crate) async fn kill(
        &self,
        id: &ContainerId,
        exec: Option<&ExecId>,
        signal: u32,
        all: bool,
    ) -> Result<()> {
        let request = task::KillRequest { id: id.to_string(), exec_id: text(exec), signal, all };
        self.call("kill", "Kill", &request).await
    }

    /// Deletes an ended process and, without `exec`, its container.
    pub(crate) async fn delete(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<ProcessExit> {
        let request = task::DeleteRequest { id: id.to_string(), exec_id: text(exec) };
        let answer: task::DeleteResponse = self.call("delete", "Delete", &request).await?;
        Ok(convert::exit(answer.pid, answer.exit_status, answer.exited_at))
    }

    /// Waits for the end of a process, as long as it takes.
    pub(crate) async fn wait(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<ProcessExit> {
        let request = task::WaitRequest { id: id.to_string(), exec_id: text(exec) };
        let answer = self.client.call(self.service, "Wait", &request, &self.options(None)).await;
        let answer: task::WaitResponse = answer.map_err(|status| failed("wait for", &self.key, status))?;
        Ok(convert::exit(0, answer.exit_status, answer.exited_at))
    }

    /// State of a process.
    pub(crate) async fn state(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<Process> {
        let request = task::StateRequest { id: id.to_string(), exec_id: text(exec) };
        let answer: task::StateResponse = self.call("get state of", "State", &request).await?;
        Ok(convert::process(id, exec, answer))
    }

    /// Processes within a container.
    pub(crate) async fn pids(&self, id: &ContainerId) -> Result<Vec<ProcessEntry>> {
        let request = task::PidsRequest { id: id.to_string() };
        let answer: task::PidsResponse = self.call("list processes of", "Pids", &request).await?;
        let entry = |process: tare_api::containerd::v1::types::ProcessInfo| ProcessEntry {
            pid: process.pid,
            info: process.info.map(convert::any_from_wire),
        };
        Ok(answer.processes.into_iter().map(entry).collect())
    }

    /// Freezes a container.
    pub(crate) async fn pause(&self, id: &ContainerId) -> Result<()> {
        self.call("pause", "Pause", &task::PauseRequest { id: id.to_string() }).await
    }

    /// Thaws a container.
    pub(crate) async fn resume(&self, id: &ContainerId) -> Result<()> {
        self.call("resume", "Resume", &task::ResumeRequest { id: id.to_string() }).await
    }

    /// Metrics of a container.
    pub(crate) async fn stats(&self, id: &ContainerId, time: tare_types::Timestamp) -> Result<Metric> {
        let request = task::StatsRequest { id: id.to_string() };
        let answer: task::StatsResponse = self.call("read metrics of", "Stats", &request).await?;
        let data = answer.stats.map(convert::any_from_wire).unwrap_or_default();
        Ok(Metric { container: id.clone(), time, data })
    }

    /// Sets the size of a terminal.
    pub(crate) async fn resize(
        &self,
        id: &ContainerId,
        exec: Option<&ExecId>,
        width: u32,
        height: u32,
    ) -> Result<()> {
        let request = task::ResizePtyRequest { id: id.to_string(), exec_id: text(exec), width, height };
        self.call("resize", "ResizePty", &request).await
    }

    /// Closes the shim's end of stdin.
    pub(crate) async fn close_io(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<()> {
        let request = task::CloseIoRequest { id: id.to_string(), exec_id: text(exec), stdin: true };
        self.call("close stdin of", "CloseIO", &request).await
    }

    /// Changes limits.
    pub(crate) async fn update(
        &self,
        id: &ContainerId,
        resources: Any,
        annotations: std::collections::BTreeMap<String, String>,
    ) -> Result<()> {
        let request = task::UpdateTaskRequest {
            id: id.to_string(),
            resources: Some(convert::any_to_wire(resources)),
            annotations: annotations.into_iter().collect(),
        };
        self.call("update", "Update", &request).await
    }

    /// Asks the shim to end when it has no container left.
    pub(crate) async fn shutdown(&self, id: &ContainerId) -> Result<()> {
        if let Some(holder) = &self.holder {
            holder.set_ending();
            if let Some(beside) = holder.current() {
                // Its log is complete when this returns.
                beside.end_streams(id).await;
            }
        }
        self.ask_to_end(id).await
    }

    /// Ends a shim that holds streams for a foreign one.
    pub(crate) async fn end_streams(&self, id: &ContainerId) {
        let ended = match self.release_streams(id, None).await {
            Ok(()) => self.ask_to_end(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(container = %id, %error, "the shim that holds the streams does not end");
        }
    }

    async fn ask_to_end(&self, id: &ContainerId) -> Result<()> {
        let request = task::ShutdownRequest { id: id.to_string(), now: false };
        match self.call("shut down", "Shutdown", &request).await {
            // The shim may be gone before its answer is read.
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
            other => other,
        }
    }

    /// All processes that Tare's shim knows.
    pub(crate) async fn processes(&self, id: &ContainerId) -> Result<Vec<Listed>> {
        let request = private::ProcessesRequest { id: id.to_string() };
        let answer: private::ProcessesResponse =
            self.private("list processes of", "Processes", &request).await?;
        answer.processes.into_iter().map(|process| convert::listed(process, &self.key)).collect()
    }

    /// Binds ports of the host for a container and gives what was bound.
    pub(crate) async fn bind_ports(
        &self,
        id: &ContainerId,
        bindings: Vec<private::PortBinding>,
    ) -> Result<Vec<private::BoundPort>> {
        let request = private::BindPortsRequest { id: id.to_string(), bindings };
        let bound: private::BindPortsResponse =
            self.own("bind ports of")?.private("bind ports of", "BindPorts", &request).await?;
        Ok(bound.ports)
    }

    /// Has the shim beside a foreign one make and read the streams of a process.
    pub(crate) async fn hold_streams(&self, request: private::HoldStreamsRequest) -> Result<Stdio> {
        let terminal = request.terminal;
        let first = request.exec_id.is_empty();
        let held: private::HoldStreamsResponse =
            self.own("hold streams of")?.private("hold streams of", "HoldStreams", &request).await?;
        if let Some(holder) = self.holder.as_ref().filter(|_| first && terminal && !held.stdin.is_empty()) {
            holder.keep_stdin(&held.stdin);
        }
        Ok(Stdio { stdin: held.stdin, stdout: held.stdout, stderr: held.stderr, terminal })
    }

    /// Forgets the streams of an exec, or of a container with all its execs, when all of them has been read.
    pub(crate) async fn release_streams(&self, id: &ContainerId, exec: Option<&ExecId>) -> Result<()> {
        let request = private::ReleaseStreamsRequest { id: id.to_string(), exec_id: text(exec) };
        self.own("release streams of")?.private("release streams of", "ReleaseStreams", &request).await
    }

    /// Opens an attach stream on a connection of its own.
    pub(crate) async fn open_attach(&self) -> Result<tare_api::ttrpc::Stream> {
        let own = self.own("attach to")?;
        if !own.native {
            let detail = "nothing holds its streams: it was started by a client of containerd's API";
            let name = self.key.id.as_str();
            return Err(Error::new(ErrorKind::FailedPrecondition, "attach to", "container", name, detail));
        }
        let connected = tokio::time::timeout(self.deadline, Client::connect(&own.address)).await;
        let client = connected
            .unwrap_or_else(|_| Err(Status::new(ErrorKind::DeadlineExceeded, "the shim does not answer")))
            .map_err(|status| failed("attach to", &self.key, status))?;
        let stream = client.open(PRIVATE, "Attach", &self.options(None)).await;
        stream.map_err(|status| failed("attach to", &self.key, status))
    }
}

fn text(exec: Option<&ExecId>) -> String {
    exec.map(ToString::to_string).unwrap_or_default()
}

/// What a shim's status means for a task.
pub(crate) fn failed(operation: &'static str, key: &Key, status: Status) -> Error {
    Error::new(status.kind, operation, "task", key.id.as_str(), status.message)
}
