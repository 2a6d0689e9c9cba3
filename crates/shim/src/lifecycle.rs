//! The steps of a task's life: create, start, exec, delete. Each either happens or leaves nothing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tare_api::containerd::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskIo, TaskStart,
};
use tare_api::containerd::task::v2 as task;
use tare_api::status::Status;
use tare_api::tare::shim::v1::{CreateOptions, LogTrouble, RuntimeOptions};
use tare_runtime::Runtime;
use tare_types::ErrorKind;
use tare_types::spec::Spec;

use crate::container::Container;
use crate::diagnostics::{now, wire_time};
use crate::log::Log;
use crate::process::{Exited, Phase, Process};
use crate::settings::{self, RuntimeRoot};
use crate::shim::Shim;
use crate::stdio::{Names, Owner, Stdio, hub_of};
use crate::{oom, rootfs};

/// Output of an ended process is copied for this long before Delete gives it up, as in containerd.
const DRAIN: Duration = Duration::from_secs(2);

/// The runtime's error with the words that clients look for in front.
pub(crate) fn runtime_error(operation: &str, error: &tare_runtime::Error) -> Status {
    Status::new(error.kind(), format!("{operation}: {error}"))
}

impl Shim {
    /// Makes a container and its first process; with `start` in its options it runs when this returns. Nobody sees it
    /// before that. One that was made too late for its caller, who counts it as failed, is taken back.
    ///
    /// # Errors
    /// `AlreadyExists` for the id; the failing step. Nothing is left then.
    pub(crate) async fn create(
        self: &Arc<Self>,
        request: &task::CreateTaskRequest,
        deadline: Option<Instant>,
    ) -> Result<u32, Status> {
        tare_types::ContainerId::new(&request.id)
            .map_err(|error| Status::new(ErrorKind::InvalidArgument, error.to_string()))?;
        if !request.checkpoint.is_empty() {
            return Err(Status::unimplemented("restore from a checkpoint"));
        }
        let options = settings::create_options(request.options.as_ref())?;
        if let Some(path) = settings::shim_cgroup(request.options.as_ref()) {
            tare_sys::cgroup::enter(&path).map_err(|error| {
                Status::new(ErrorKind::InvalidArgument, format!("put the shim into cgroup {path}: {error}"))
            })?;
        }
        let reservation = self.reserve(&request.id)?;
        let bundle = PathBuf::from(&request.bundle);
        // Each guard undoes its step unless all steps were done.
        let ports = PortsGuard::bind(self, &request.id, &options)?;
        rootfs::mount_all(&bundle, &request.rootfs)?;
        let mounts = MountGuard { bundle: (!request.rootfs.is_empty()).then_some(bundle.as_path()) };
        let container = self.make(request, &options, &bundle, deadline).await?;
        let pid = container.init.pid();
        mounts.keep();
        ports.keep();
        self.events.publish(&TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(TaskIo {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            }),
            checkpoint: String::new(),
            pid: pid.max(0) as u32,
        });
        let mut started = if options.start { self.start(&container, "").await } else { Ok(0) };
        if started.is_ok() && deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let message = format!("container {:?}: made too late for its caller", request.id);
            started = Err(Status::new(ErrorKind::DeadlineExceeded, message));
        }
        if let Err(status) = started {
            // The start's error is the one to report; a container that ended by itself is forgotten too.
            self.discard(&container).await;
            return Err(status);
        }
        reservation.fill(container);
        Ok(pid.max(0) as u32)
    }

    /// The steps that need the mounted rootfs.
    async fn make(
        self: &Arc<Self>,
        request: &task::CreateTaskRequest,
        options: &CreateOptions,
        bundle: &Path,
        deadline: Option<Instant>,
    ) -> Result<Arc<Container>, Status> {
        let mut spec = load_spec(bundle)?;
        settings::limit_hooks(&mut spec, deadline);
        if let Some(process) = &mut spec.process {
            // The request decides: a terminal without anybody to hold its master would hang.
            process.terminal = request.terminal;
        }
        let runtime = options.runtime.clone().unwrap_or_default();
        let mut root =
            RuntimeRoot { systemd_cgroup: runtime.systemd_cgroup, ..settings::default_root(&self.args) };
        if !runtime.root.is_empty() {
            root.root = format!("{}/{}", runtime.root.trim_end_matches('/'), self.args.namespace);
        }
        settings::save_runtime_root(bundle, &root, &self.args)?;
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let mut log = options.log.as_ref().map(Log::open).transpose()?.flatten();
        if let Some(log) = &mut log {
            let (shim, container_id) = (Arc::downgrade(self), request.id.clone());
            log.tell(move |message| {
                if let Some(shim) = shim.upgrade() {
                    shim.events.publish(&LogTrouble { container_id: container_id.clone(), message });
                }
            });
        }
        let hub = hub_of(&names, log, options.stdin_open, options.stdin_once)?;
        let init = Process::new("", names, hub, options.terminal_size);
        let owner = Owner { namespace: &self.args.namespace, id: &request.id };
        let stdio = Stdio::open(&init.names, owner, init.hub.clone()).await?;
        let place = tare_runtime::RuntimeOptions {
            root: root.root,
            systemd_cgroup: root.systemd_cgroup,
            user_systemd: Vec::new(),
            rootless: None,
        };
        // Kept until the child is registered. Hooks and systemd may take their time.
        let (_aside, made, spec, stdio) = if spec.hooks.is_some() || place.systemd_cgroup {
            let (id, bundle) = (request.id.clone(), request.bundle.clone());
            let work = move || {
                let made = make_container(place, &id, &bundle, &spec, &stdio, &runtime);
                (made, spec, stdio)
            };
            let ((made, spec, stdio), aside) = self.aside(work).await?;
            (Some(aside), made, spec, stdio)
        } else {
            let made = make_container(place, &request.id, &request.bundle, &spec, &stdio, &runtime);
            (None, made, spec, stdio)
        };
        let (made, process) = made.map_err(|error| runtime_error("OCI runtime create failed", &error))?;
        let mounted = !request.rootfs.is_empty();
        let container = Arc::new(Container::new(made, bundle.to_owned(), mounted, Arc::new(init), &spec));
        self.made(&container, &container.init, process, stdio)?;
        Ok(container)
    }

    /// Registers a process the runtime has made, and starts its copying.
    fn made(
        &self,
        container: &Arc<Container>,
        process: &Arc<Process>,
        made: tare_runtime::Process,
        stdio: Stdio,
    ) -> Result<(), Status> {
        // First of all: its exit must find it.
        self.adopt(made.pid, container, process);
        let console: Option<OwnedFd> = made.console;
        let streams = stdio.run(console);
        match streams {
            Ok(streams) => {
                process.made(made.pid, made.pidfd, streams);
                Ok(())
            }
            Err(status) => {
                process.made(made.pid, made.pidfd, crate::stdio::Streams::default());
                // It must not run on without its streams; it is reaped as any other.
                process.kill(9).unwrap_or_default();
                if process.exec_id.is_empty() {
                    container.runtime().delete(true).unwrap_or_default();
                }
                Err(status)
            }
        }
    }

    /// Starts a process: the container's first one, or an exec.
    ///
    /// # Errors
    /// `FailedPrecondition` when it was started before; the runtime's error, the process has ended then.
    pub(crate) async fn start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exec_id: &str,
    ) -> Result<u32, Status> {
        let process = container.process(exec_id)?;
        let _turn = container.turn.lock().await;
        if process.phase() != Phase::Created {
            let message = format!("process {exec_id:?} of container {:?} was started before", container.id);
            return Err(Status::new(ErrorKind::FailedPrecondition, message));
        }
        if exec_id.is_empty() {
            let started = if container.hooked {
                let work = Arc::clone(container);
                self.aside(move || work.runtime().start()).await?.0
            } else {
                container.runtime().start()
            };
            started.map_err(|error| runtime_error("OCI runtime start failed", &error))?;
        } else if let Err(status) = self.start_exec(container, &process).await {
            // The exec stays, as one that has ended: Wait and Delete must find it.
            process.stopped(Exited { status: exec_failure(&status), at: now() }, false);
            return Err(status);
        }
        process.started(now());
        let pid = process.pid().max(0) as u32;
        if exec_id.is_empty() {
            self.events.publish(&TaskStart { container_id: container.id.clone(), pid });
            container.set_oom_watch(oom::watch(self, container));
        } else {
            self.events.publish(&TaskExecStarted {
                container_id: container.id.clone(),
                exec_id: exec_id.to_owned(),
                pid,
            });
        }
        Ok(pid)
    }

    async fn start_exec(&self, container: &Arc<Container>, process: &Arc<Process>) -> Result<(), Status> {
        if container.init.phase() != Phase::Running {
            let message = format!("container {:?} is not running", container.id);
            return Err(Status::new(ErrorKind::FailedPrecondition, message));
        }
        let spec = process.take_spec();
        let spec =
            spec.ok_or_else(|| Status::new(ErrorKind::FailedPrecondition, "the exec was started before"))?;
        let owner = Owner { namespace: &self.args.namespace, id: &container.id };
        let stdio = Stdio::open(&process.names, owner, process.hub.clone()).await?;
        let options = tare_runtime::ExecOptions {
            process: &spec,
            io: stdio.io(),
            keep_fds: 0,
            cgroup: Vec::new(),
            ignore_paused: false,
        };
        let made = container.runtime().exec(&options);
        let made = made.map_err(|error| runtime_error("OCI runtime exec failed", &error))?;
        self.made(container, process, made, stdio)
    }

    /// Describes an exec; `start` makes it.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`; `FailedPrecondition` when the container does not run.
    pub(crate) fn exec(&self, request: &task::ExecProcessRequest) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        tare_types::ExecId::new(&request.exec_id)
            .map_err(|error| Status::new(ErrorKind::InvalidArgument, error.to_string()))?;
        let (options, mut spec) = settings::exec_options(request.spec.as_ref())?;
        spec.terminal = request.terminal;
        if matches!(container.init.phase(), Phase::Stopped(_)) {
            let message = format!("container {:?} is not running", container.id);
            return Err(Status::new(ErrorKind::FailedPrecondition, message));
        }
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let hub = hub_of(&names, None, options.stdin_open, options.stdin_once)?;
        let process = Process::new(&request.exec_id, names, hub, options.terminal_size);
        process.set_spec(spec);
        container.add_exec(Arc::new(process))?;
        self.events
            .publish(&TaskExecAdded { container_id: container.id.clone(), exec_id: request.exec_id.clone() });
        Ok(())
    }

    /// Forgets a process that has ended; for the first one, removes the container.
    ///
    /// # Errors
    /// `FailedPrecondition` for a process that runs.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        id: &str,
        exec_id: &str,
    ) -> Result<task::DeleteResponse, Status> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        let _turn = container.turn.lock().await;
        let exited = match process.phase() {
            Phase::Stopped(exited) => exited,
            // An exec that never ran has nothing to end.
            Phase::Created if !exec_id.is_empty() => Exited { status: 0, at: now() },
            // As runc: what was created and never started may be deleted; its process waits for nothing.
            Phase::Created => self.end(&container, &process).await?,
            Phase::Running => return Err(running(&container, exec_id)),
        };
        process.take_streams().drain(DRAIN).await;
        let pid = process.pid().max(0) as u32;
        let exited_at = Some(wire_time(exited.at));
        if exec_id.is_empty() {
            self.remove_container(&container).await?;
            self.events.publish(&TaskDelete {
                container_id: container.id.clone(),
                pid,
                exit_status: exited.status,
                exited_at,
                id: String::new(),
            });
        } else {
            container.remove_exec(exec_id);
        }
        Ok(task::DeleteResponse { pid, exit_status: exited.status, exited_at })
    }

    /// Removes a container whose first process has ended. Going on after a failure is possible: call again.
    async fn remove_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Status> {
        let deleted = if container.hooked {
            let work = Arc::clone(container);
            self.aside(move || work.runtime().delete(true)).await?.0
        } else {
            container.runtime().delete(true)
        };
        match deleted {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(runtime_error("OCI runtime delete failed", &error));
            }
            _ => {}
        }
        if container.mounted {
            rootfs::unmount(&container.bundle).map_err(|error| Status::new(ErrorKind::Internal, error))?;
        }
        container.set_oom_watch(None);
        self.ports.release(&container.id);
        self.remove(&container.id);
        Ok(())
    }

    /// Kills a process and waits for its end.
    async fn end(&self, container: &Container, process: &Process) -> Result<Exited, Status> {
        // It may have ended already.
        process.kill(9).unwrap_or_default();
        tokio::time::timeout(DRAIN, process.wait()).await.map_err(|_| {
            let message =
                format!("container {:?}: its first process did not end within {DRAIN:?}", container.id);
            Status::new(ErrorKind::DeadlineExceeded, message)
        })
    }

    /// Ends and removes a container that could not be started.
    async fn discard(self: &Arc<Self>, container: &Arc<Container>) {
        if let Err(status) = self.end(container, &container.init).await {
            self.diagnostics.warn(status);
        }
        container.init.take_streams().drain(Duration::ZERO).await;
        if let Err(status) = self.remove_container(container).await {
            self.diagnostics.error(format!("undo create of {}: {status}", container.id));
        }
    }
}

fn make_container(
    place: tare_runtime::RuntimeOptions,
    id: &str,
    bundle: &str,
    spec: &Spec,
    stdio: &Stdio,
    options: &RuntimeOptions,
) -> tare_runtime::Result<(tare_runtime::Container, tare_runtime::Process)> {
    Runtime::new(place).create(&tare_runtime::CreateOptions {
        id,
        bundle,
        spec,
        io: stdio.io(),
        gate: tare_runtime::Gate::Pipe,
        keep_fds: 0,
        no_pivot: options.no_pivot_root,
        no_new_keyring: options.no_new_keyring,
        notify: false,
        no_cgroups: false,
    })
}

/// What an exec that could not be started exits with: a shell's codes, as docker and containerd report them.
fn exec_failure(status: &Status) -> u32 {
    match status.kind {
        ErrorKind::NotFound => 127,
        ErrorKind::PermissionDenied => 126,
        _ => 255,
    }
}

fn running(container: &Container, exec_id: &str) -> Status {
    let what = if exec_id.is_empty() { "container" } else { "process" };
    let id = if exec_id.is_empty() { &container.id } else { exec_id };
    Status::new(ErrorKind::FailedPrecondition, format!("{what} {id:?} has not ended: failed precondition"))
}

fn load_spec(bundle: &Path) -> Result<Spec, Status> {
    let path = bundle.join("config.json");
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(ErrorKind::InvalidArgument, format!("read {}: {error}", path.display()))
    };
    let text = std::fs::read(&path).map_err(|error| failed(&error))?;
    tare_types::spec::parse(&text).map_err(|error| failed(&error))
}

/// Takes the mounts away again unless they are kept.
struct MountGuard<'a> {
    bundle: Option<&'a Path>,
}

impl MountGuard<'_> {
    fn keep(mut self) {
        self.bundle = None;
    }
}

impl Drop for MountGuard<'_> {
    fn drop(&mut self) {
        if let Some(bundle) = self.bundle {
            // The error that brought us here is the one to report.
            rootfs::unmount(bundle).unwrap_or_default();
        }
    }
}

/// Releases ports again unless they are kept.
struct PortsGuard<'a> {
    shim: &'a Shim,
    id: Option<&'a str>,
}

impl<'a> PortsGuard<'a> {
    fn bind(shim: &'a Shim, id: &'a str, options: &CreateOptions) -> Result<Self, Status> {
        if options.ports.is_empty() {
            return Ok(Self { shim, id: None });
        }
        shim.ports.bind(id, &options.ports)?;
        Ok(Self { shim, id: Some(id) })
    }

    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for PortsGuard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shim.ports.release(id);
        }
    }
}
