//! Further processes in running containers: create, start, inspect, resize.
//!
//! An exec created through the Docker door is identified by 64 hexadecimal digits, unique in the daemon.

use crate::{
    Any, Engine, Error, Result,
    any::PROCESS_TYPE_URL,
    attach::{AttachOptions, Attachment},
    containers::Containers,
    entry::{Entry, Exec},
    key::Key,
    lifecycle::{self, start, stop, takeup},
    naming,
    shim::{
        attach::{Open, pair},
        options,
    },
    spec,
    state::Status,
    task::Task,
    tasks::{ProcessExit, Stdio},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tare_types::{ContainerId, ErrorKind, ExecId, Namespace};
use tokio::sync::oneshot;

/// A process to start in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `NAME=value` added to the container's environment.
    pub env: Vec<String>,
    /// `user[:group]`; empty is the container's.
    pub user: String,
    /// Working directory; empty is the container's.
    pub cwd: String,
    /// A terminal.
    pub tty: bool,
    /// Attach stdin.
    pub stdin: bool,
    /// Attach standard output.
    pub stdout: bool,
    /// Attach standard error.
    pub stderr: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Keys that detach, kept for inspection.
    pub detach_keys: String,
    /// Initial size of the terminal: height (rows), width (columns).
    pub console_size: Option<(u16, u16)>,
}

/// State of an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecView {
    /// Identifier.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// As it was asked for.
    pub request: ExecRequest,
    /// Whether it runs.
    pub running: bool,
    /// Exit status; `None` before the exit.
    pub exit_code: Option<u32>,
    /// Process on the host, 0 before the start and after the exit.
    pub pid: u32,
}

impl Containers {
    /// Registers a process; [`Containers::exec_start`] starts it.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container does not run or is paused; `InvalidArgument` without a program.
    pub async fn exec_create(
        &self,
        namespace: &Namespace,
        reference: &str,
        request: ExecRequest,
    ) -> Result<ExecId> {
        let entry = self.engine.entry("create exec in", namespace, reference)?;
        if request.argv.is_empty() {
            let detail = "no exec command specified";
            return Err(Error::new(ErrorKind::InvalidArgument, "create", "exec", reference, detail));
        }
        let task = running(&entry)?;
        let id = ExecId::new(naming::random_id()?)?;
        let noted = serde_json::to_vec(&request).expect("invariant: a request is plain data");
        let exec = Arc::new(Exec::new(request));
        // On the state's directory: a daemon that comes back must know the execs that its clients ask for.
        task.bundle.replace(&takeup::exec_file(id.as_str()), &noted)?;
        let command = exec.request.argv.join(" ");
        entry.live().execs.insert(id.clone(), exec);
        self.engine.execs().insert(id.clone(), entry.key.clone());
        let more = [("execID", id.to_string())];
        self.engine.publish_with(&entry, stop::action(&entry, &format!("exec_create: {command}")), &more);
        Ok(id)
    }

    /// Starts it; with `detach` there is no attachment and its streams go nowhere.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when it was started; a missing program (the code 127 or 126 is kept).
    pub async fn exec_start(
        &self,
        exec: &str,
        detach: bool,
        console_size: Option<(u16, u16)>,
    ) -> Result<Option<Attachment>> {
        let (entry, id, exec) = self.find_exec("start", exec)?;
        let task = running(&entry)?;
        {
            let mut live = exec.live();
            if live.started {
                let detail = format!("exec {id} has already run");
                return Err(Error::new(ErrorKind::FailedPrecondition, "start", "exec", id.as_str(), detail));
            }
            live.started = true;
        }
        let engine = self.engine.clone();
        let starting = exec.clone();
        let started = self
            .engine
            .run("start exec", async move {
                start_exec(&engine, &entry, &task, &id, &starting, detach, console_size).await
            })
            .await;
        if let Err(error) = &started {
            let mut live = exec.live();
            // What never came to run is "cannot be invoked" where nothing says more (docker exec).
            live.exit = Some(match start::exit_code_of(error) {
                127 => 127,
                _ => 126,
            });
        }
        started
    }

    /// Its state; known until its container ends and is started again or removed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn exec_inspect(&self, exec: &str) -> Result<ExecView> {
        let (entry, id, exec) = self.find_exec("inspect", exec)?;
        let live = *exec.live();
        Ok(ExecView {
            id,
            container: entry.key.id.clone(),
            request: exec.request.clone(),
            running: live.started && live.exit.is_none(),
            exit_code: live.exit,
            pid: live.pid,
        })
    }

    /// Execs of a container that are known and have not ended: for its `inspect`.
    pub fn execs(&self, namespace: &Namespace, container: &ContainerId) -> Vec<ExecId> {
        let Some(entry) = self.engine.inner().roster.get(&Key::new(namespace, container)) else {
            return Vec::new();
        };
        let live = entry.live();
        live.execs.iter().filter(|(_, exec)| exec.live().exit.is_none()).map(|(id, _)| id.clone()).collect()
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when it does not run.
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<()> {
        let (entry, id, exec) = self.find_exec("resize", exec)?;
        let task = running(&entry)?;
        let live = *exec.live();
        if !live.started || live.exit.is_some() {
            let detail = "it does not run";
            return Err(Error::new(ErrorKind::FailedPrecondition, "resize", "exec", id.as_str(), detail));
        }
        task.shim.resize(&entry.key.id, Some(&id), width.into(), height.into()).await
    }

    /// Forgets an exec of the engine's own: nobody else knows its id.
    pub(crate) fn exec_forget(&self, entry: &Entry, task: &Task, id: &ExecId) {
        entry.live().execs.remove(id);
        self.engine.execs().remove(id);
        for name in [takeup::exec_file(id.as_str()), takeup::exec_exit_file(id.as_str())] {
            // The exit may not be noted yet, and then never is.
            std::fs::remove_file(task.bundle.path().join(name)).unwrap_or_default();
        }
    }

    fn find_exec(&self, operation: &'static str, exec: &str) -> Result<(Arc<Entry>, ExecId, Arc<Exec>)> {
        let missing = || Error::not_found(operation, "exec", exec);
        let id = ExecId::new(exec).map_err(|_| missing())?;
        let key = self.engine.execs().get(&id).cloned().ok_or_else(missing)?;
        let entry = self.engine.inner().roster.get(&key).ok_or_else(missing)?;
        let found = entry.live().execs.get(&id).cloned().ok_or_else(missing)?;
        Ok((entry, id, found))
    }
}

/// The task of a container in which something can be executed.
fn running(entry: &Arc<Entry>) -> Result<Arc<Task>> {
    let task = entry.running_task().ok_or_else(|| stop::not_running("exec in", entry))?;
    if entry.live().state.status == Status::Paused {
        return Err(stop::precondition("exec in", entry, "is paused, unpause the container before exec"));
    }
    Ok(task)
}

async fn start_exec(
    engine: &Engine,
    entry: &Arc<Entry>,
    task: &Arc<Task>,
    id: &ExecId,
    exec: &Arc<Exec>,
    detach: bool,
    console_size: Option<(u16, u16)>,
) -> Result<Option<Attachment>> {
    let request =
        ExecRequest { console_size: console_size.or(exec.request.console_size), ..exec.request.clone() };
    let process = spec::exec_process(engine, entry, task, &request)?;
    let attachable = !detach && (request.stdin || request.stdout || request.stderr);
    let (stdio, spec) = if task.shim.native {
        (options::owned(request.tty), options::exec(&request, process))
    } else {
        let process = Any::new(PROCESS_TYPE_URL, process);
        match attachable {
            true => {
                let fifos = task.bundle.streams();
                let wanted = options::held_exec(&entry.key.id, id, &request, &fifos);
                (task.shim.hold_streams(wanted).await?, process)
            }
            false => (Stdio { terminal: request.tty, ..Stdio::default() }, process),
        }
    };
    let process = task.add_exec(id, stdio.clone()).ok_or_else(|| {
        Error::new(ErrorKind::AlreadyExists, "start", "exec", id.as_str(), "its id is taken")
    })?;
    // Before it starts, as dockerd tells it: its end may be told before the answer to the start is here.
    let more = [("execID", id.to_string())];
    let command = request.argv.join(" ");
    engine.publish_with(entry, stop::action(entry, &format!("exec_start: {command}")), &more);
    let key = &entry.key;
    let begun = async {
        task.shim.exec(&key.id, id, stdio, spec).await?;
        if !attachable {
            return Ok((task.shim.start(&key.id, Some(id)).await?, None));
        }
        let wanted = AttachOptions {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            logs: false,
            stream: true,
        };
        let (attachment, ends) = pair(wanted, request.tty, request.stdin);
        let deadline = engine.config().limits.shim_call;
        let open = Open::new(&task.shim, &key.id, Some(id), wanted, true, deadline).await?;
        Ok((open.pid, Some((attachment, open, ends))))
    };
    let (pid, attached) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            withdraw(key, task, id).await;
            return Err(error);
        }
    };
    process.set_pid(pid);
    process.set_started();
    {
        let mut live = exec.live();
        if live.exit.is_none() {
            live.pid = pid;
        }
    }
    let attachment = attached.map(|(attachment, open, ends)| {
        let (sender, exited) = oneshot::channel();
        let exec = exec.clone();
        let told = move |exit: ProcessExit| {
            {
                let mut live = exec.live();
                live.exit = Some(exit.status);
                live.pid = 0;
            }
            // Nobody waits any more when the engine shuts down.
            sender.send(exit).unwrap_or_default();
        };
        engine.spawn(open.carry(ends, told));
        follow(engine, entry, task, id, Some(exited));
        attachment
    });
    if attachment.is_none() {
        follow(engine, entry, task, id, None);
    }
    Ok(attachment)
}

/// Learns the end of an exec, from its attach stream when that tells it, and has the shim forget it.
pub(crate) fn follow(
    engine: &Engine,
    entry: &Arc<Entry>,
    task: &Arc<Task>,
    id: &ExecId,
    told: Option<oneshot::Receiver<ProcessExit>>,
) {
    let (engine, entry, task, id) = (engine.clone(), entry.clone(), task.clone(), id.clone());
    let stop = engine.stopping().clone();
    engine.clone().spawn(async move {
        let told = match told {
            Some(told) => tokio::select! {
                () = stop.cancelled() => return,
                told = told => told.ok(),
            },
            None => None,
        };
        let ended = match told {
            Some(exit) => Ok(exit),
            None => tokio::select! {
                () = stop.cancelled() => return,
                ended = task.shim.wait(&entry.key.id, Some(&id)) => ended,
            },
        };
        if let Ok(exit) = ended {
            lifecycle::exit::process_ended(&engine, &entry, &task, Some(&id), exit).await;
            // The shim forgets it; this daemon keeps the code, also in the bundle for its successor.
            if entry.live().execs.contains_key(&id) {
                note_exit(&task, &id, exit);
            }
            task.remove_exec(&id);
            if let Err(error) = task.shim.delete(&entry.key.id, Some(&id)).await {
                tracing::debug!(exec = %id, %error, "the shim keeps an exec that ended");
            }
            release_streams(&task, &id).await;
        }
    });
}

/// Has the shim forget an exec that was not let go.
pub(crate) async fn withdraw(key: &Key, task: &Task, id: &ExecId) {
    task.remove_exec(id);
    // It may not even be registered there.
    task.shim.delete(&key.id, Some(id)).await.map(drop).unwrap_or_default();
    release_streams(task, id).await;
}

/// Forgets the fifos of an exec behind a foreign shim.
async fn release_streams(task: &Task, id: &ExecId) {
    if task.shim.holder.is_some()
        && let Err(error) = task.shim.release_streams(&task.key.id, Some(id)).await
    {
        tracing::debug!(exec = %id, %error, "the streams of an exec that ended are kept");
    }
}

/// Keeps the exit code of an exec beside its request, until the container's task is deleted.
fn note_exit(task: &Task, id: &ExecId, exit: ProcessExit) {
    let name = takeup::exec_exit_file(id.as_str());
    if let Err(error) = task.bundle.replace(&name, exit.status.to_string().as_bytes()) {
        tracing::debug!(exec = %id, %error, "the exit of an exec could not be noted");
    }
}
