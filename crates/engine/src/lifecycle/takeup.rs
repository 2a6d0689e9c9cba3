//! Taking up one task after a start of the daemon: its shim is asked what became of it.
//!
//! A shim that lives and is slow keeps its container: whoever waits for it is the container's turn, not the start of the
//! daemon. A shim that does not know its container has not been asked to make it, or has let go of it: the start was not
//! done. Only a shim that is dead, or silent for a whole call's time, ends its container.

use crate::{
    Engine, Error, Result,
    entry::{Entry, Exec, ExecLive},
    exec::{self, ExecRequest},
    key::Key,
    lifecycle::{connect, exit, health, restore, task},
    shim::{
        Shim,
        bundle::{Bundle, Facts},
        client::Listed,
        diagnostics,
        holder::Holder,
        launch,
    },
    state::Status,
    task::Task,
    tasks::{ProcessExit, ProcessStatus, Stdio},
};
use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};
use tare_types::{ErrorKind, ExecId};
use tokio::sync::oneshot;

/// Told once when the start of the daemon waits no longer for this task: it is taken up, or may take a while.
type Told = oneshot::Sender<()>;

/// Takes up what a bundle stands for. `told` is dropped when that is done, or at the limit for reconnecting while the
/// work goes on; the container's turn is held until the end.
pub(crate) async fn take_up(engine: &Engine, key: &Key, told: Told) {
    let bundle = Bundle::of(&engine.config().state, key);
    let entry = engine.inner().roster.get(key);
    let Some(facts) = bundle.facts() else {
        task::discard(engine, key, &bundle).await;
        return;
    };
    let Some(entry) = entry else {
        // Its record is gone: the removal was committed, or the task never shown to anybody.
        tracing::info!(container = %key, "cleaning up a task without a record");
        end_shim(engine, key, &facts, &mut Some(told)).await;
        task::discard(engine, key, &bundle).await;
        return;
    };
    let _turn = entry.turn.lock().await;
    show_as_noted(&entry, &facts);
    let mut told = Some(told);
    match reconnect(engine, key, &facts, &mut told).await {
        Ok((shim, processes)) => adopt(engine, &entry, shim, bundle, &facts, processes).await,
        Err(error) => {
            tracing::warn!(container = %key, %error, "the shim does not answer; its container ends");
            let exited = task::discard(engine, key, &bundle).await;
            report_lost(engine, &entry, &facts, exited).await;
        }
    }
    if told.is_none() {
        // The policies were followed without it.
        drop(_turn);
        restore::follow_policies(engine, vec![entry]);
    }
}

/// Until its shim has answered, a container is what was noted of it last.
fn show_as_noted(entry: &Entry, facts: &Facts) {
    if facts.driven && facts.started_at.is_some() {
        let mut live = entry.live();
        live.state.status = Status::Running;
        live.state.started_at = facts.started_at;
        live.state.restart_count = facts.restart_count;
        live.stopped = facts.stopped;
        live.endpoint.clone_from(&facts.endpoint);
    }
}

/// What a container is whose last start was not done: what its record says.
fn show_as_recorded(entry: &Entry) {
    let recorded = Entry::new(entry.key.clone(), (*entry.record()).clone());
    let state = recorded.live().state.clone();
    let mut live = entry.live();
    live.state = state;
    live.stopped = false;
    live.endpoint = None;
}

/// Asks a shim that is nobody's to end, before its bundle is taken from it.
async fn end_shim(engine: &Engine, key: &Key, facts: &Facts, told: &mut Option<Told>) {
    if let Ok((shim, _)) = reconnect(engine, key, facts, told).await {
        // Whatever fails here is done by the shim's binary next.
        shim.kill(&key.id, None, crate::signal::SIGKILL as u32, true).await.unwrap_or_default();
        let deadline = engine.config().limits.shim_reconnect;
        if tokio::time::timeout(deadline, shim.wait(&key.id, None)).await.is_ok() {
            shim.delete(&key.id, None).await.map(drop).unwrap_or_default();
        }
        shim.shutdown(&key.id).await.unwrap_or_default();
    }
}

/// Connects to the shim of a bundle and asks for its processes: for as long as any call of a shim may take, and at most
/// the limit for reconnecting while the start of the daemon waits.
async fn reconnect(
    engine: &Engine,
    key: &Key,
    facts: &Facts,
    told: &mut Option<Told>,
) -> Result<(Shim, Vec<Listed>)> {
    let deadline = engine.config().limits.shim_reconnect;
    if facts.address.as_os_str().is_empty() {
        let detail = "it was being started when the daemon ended";
        return Err(Error::new(ErrorKind::Unavailable, "reconnect to", "shim", key.to_string(), detail));
    }
    let bundle = Bundle::of(&engine.config().state, key);
    let diagnostics = (!facts.native).then(|| diagnostics::follow(key, &bundle)).transpose()?;
    let connecting = async {
        let shim = Shim::connect(
            key,
            &facts.binary,
            facts.native,
            &facts.address,
            facts.version,
            engine.config().limits.shim_call,
        )
        .await?;
        let holder = holder_of(engine, key, facts).await;
        let shim = shim.followed_by(diagnostics).with_holder(holder);
        let listed =
            if shim.native { shim.processes(&key.id).await } else { list_foreign(key, &shim, &bundle).await };
        match listed {
            // It lives and has no such container: not yet, or not any more.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((shim, Vec::new())),
            listed => Ok((shim, listed?)),
        }
    };
    tokio::pin!(connecting);
    if let Ok(connected) = tokio::time::timeout(deadline, &mut connecting).await {
        return connected;
    }
    tracing::warn!(container = %key, "the shim has not answered within {deadline:?}; going on without it");
    told.take();
    connecting.await
}

/// Processes of a foreign shim, which lists none: it is asked for those that were noted in the bundle.
async fn list_foreign(key: &Key, shim: &Shim, bundle: &Bundle) -> Result<Vec<Listed>> {
    let listed = |exec: &str, process| Listed {
        id: key.id.to_string(),
        exec: exec.to_owned(),
        process,
        oom_killed: false,
    };
    let mut processes = vec![listed("", shim.state(&key.id, None).await?)];
    for id in noted_execs(bundle) {
        match shim.state(&key.id, Some(&id)).await {
            Ok(process) => processes.push(listed(id.as_str(), process)),
            // Not begun yet, or ended and forgotten.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(processes)
}

/// Connects to the shim of Tare's that holds the streams and ports behind a foreign one.
///
/// One that has died is replaced when the task is shown.
async fn holder_of(engine: &Engine, key: &Key, facts: &Facts) -> Option<Holder> {
    if facts.streams.as_os_str().is_empty() {
        return None;
    }
    let config = engine.config();
    let (version, deadline) = (launch::VERSION, config.limits.shim_call);
    let held = Shim::connect(key, &config.shim, true, &facts.streams, version, deadline).await;
    let warn = |error: &Error| {
        tracing::warn!(container = %key, %error, "nobody holds the streams of a container");
    };
    let holder = Holder::new(&facts.streams, held.inspect_err(warn).ok());
    let stdio = Stdio::from(&facts.stdio);
    if stdio.terminal && !stdio.stdin.is_empty() {
        holder.keep_stdin(&stdio.stdin);
    }
    Some(holder)
}

/// Takes a living shim up.
async fn adopt(
    engine: &Engine,
    entry: &Arc<Entry>,
    shim: Shim,
    bundle: Bundle,
    facts: &Facts,
    processes: Vec<Listed>,
) {
    let key = entry.key.clone();
    let Some(init) = processes.iter().find(|listed| listed.exec.is_empty() || listed.exec == listed.id)
    else {
        // A shim without its container: the daemon died before Create, or after Delete, which comes after the record.
        task::abandon(engine, &key, &shim, &bundle).await;
        show_as_recorded(entry);
        connect::release(engine, entry).await;
        return;
    };
    let (status, exited) = (init.process.status, exit_of(init));
    let task = Arc::new(Task::new(key, Arc::new(shim), bundle, Stdio::from(&facts.stdio)));
    task.init.set_pid(init.process.pid);
    task.oom.store(init.oom_killed, Ordering::Release);
    task.paused.store(matches!(status, ProcessStatus::Paused | ProcessStatus::Pausing), Ordering::Release);
    if status != ProcessStatus::Created {
        task.init.set_started();
    }
    if facts.driven {
        if status == ProcessStatus::Created {
            // Created and never let go: nobody was told that it runs.
            return undo(engine, entry, &task).await;
        }
        let mut live = entry.live();
        live.state.status =
            if task.paused.load(Ordering::Acquire) { Status::Paused } else { Status::Running };
        live.state.pid = init.process.pid;
        live.state.started_at = facts.started_at;
        live.state.finished_at = None;
        live.state.error.clear();
        live.state.exit_code = 0;
        live.state.restart_count = facts.restart_count;
        live.stopped = facts.stopped;
        live.endpoint.clone_from(&facts.endpoint);
    }
    adopt_execs(engine, entry, &task, &processes).await;
    adopt_ended_execs(engine, entry, &task);
    task::show(engine, entry, &task);
    if let Some(exited) = exited {
        // Ended while no daemon was there to hear it.
        exit::process_ended(engine, entry, &task, None, exited).await;
    } else if facts.driven {
        health::watch(engine, entry, &task);
    }
}

async fn undo(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    task.shim.kill(&task.key.id, None, crate::signal::SIGKILL as u32, true).await.unwrap_or_default();
    let waiting = task.shim.wait(&task.key.id, None);
    if let Ok(Ok(ended)) = tokio::time::timeout(engine.config().limits.shim_reconnect, waiting).await {
        task.init.end(ended);
    }
    if let Err(error) = task::delete(engine, entry, task).await {
        tracing::error!(container = %entry.key, %error, "a container that was not started stays");
    }
    show_as_recorded(entry);
    connect::release(engine, entry).await;
}

fn exit_of(listed: &Listed) -> Option<ProcessExit> {
    (listed.process.status == ProcessStatus::Stopped).then_some(ProcessExit {
        pid: listed.process.pid,
        status: listed.process.exit_status,
        exited_at: listed.process.exited_at,
    })
}

/// Takes up the execs of the Docker door that ended before and were noted with their exit codes.
fn adopt_ended_execs(engine: &Engine, entry: &Arc<Entry>, task: &Task) {
    for id in noted_execs(&task.bundle) {
        if entry.live().execs.contains_key(&id) {
            continue;
        }
        let read = |name: String| fs::read(task.bundle.path().join(name)).ok();
        let request = read(exec_file(id.as_str())).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(request) = request else { continue };
        let code = read(exec_exit_file(id.as_str()))
            .and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        let exec = Arc::new(Exec::new(request));
        *exec.live() = ExecLive { started: code.is_some(), pid: 0, exit: code };
        entry.live().execs.insert(id.clone(), exec);
        engine.execs().insert(id, entry.key.clone());
    }
}

/// Takes up the execs that a shim lists; those of the Docker door by what was noted of them.
async fn adopt_execs(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, processes: &[Listed]) {
    for listed in processes.iter().filter(|listed| !listed.exec.is_empty() && listed.exec != listed.id) {
        let Some(id) = listed.process.exec.clone() else { continue };
        let Some(process) = task.add_exec(&id, listed.process.stdio.clone()) else { continue };
        process.set_pid(listed.process.pid);
        let started = listed.process.status != ProcessStatus::Created;
        if started {
            process.set_started();
        }
        let exited = exit_of(listed);
        let noted = fs::read(task.bundle.path().join(exec_file(id.as_str())));
        let request: Option<ExecRequest> = noted.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let driven = request.is_some();
        if let Some(request) = request {
            let exec = Arc::new(Exec::new(request));
            let (pid, code) = (listed.process.pid, exited.map(|exit| exit.status));
            *exec.live() = ExecLive { started, pid: if code.is_some() { 0 } else { pid }, exit: code };
            entry.live().execs.insert(id.clone(), exec);
            engine.execs().insert(id.clone(), entry.key.clone());
        }
        if let Some(exited) = exited {
            process.end(exited);
        }
        match started {
            // Nobody else has the shim forget it, and the streams of it.
            true if driven => exec::follow(engine, entry, task, &id, None),
            true if exited.is_none() => task::watch(engine, entry, task, Some(id)),
            // The daemon died before it was let go: its client may start it again.
            false if driven => exec::withdraw(&entry.key, task, &id).await,
            _ => {}
        }
    }
}

/// Execs of which a bundle has a note: those of the Docker door, and behind a foreign shim all.
fn noted_execs(bundle: &Bundle) -> Vec<ExecId> {
    let names = fs::read_dir(bundle.path()).into_iter().flatten().flatten();
    let id = |name: &str| {
        let rest = name.strip_prefix("exec-")?;
        let id = rest.strip_suffix(".json").or_else(|| rest.strip_suffix(".task"))?;
        ExecId::new(id).ok()
    };
    names.filter_map(|file| id(file.file_name().to_str()?)).collect()
}

/// Name of the file in a bundle in which an exec of the Docker door is noted.
pub(crate) fn exec_file(id: &str) -> String {
    format!("exec-{id}.json")
}

/// Name of the empty file in a bundle that says that containerd's door has an exec behind a foreign shim.
pub(crate) fn exec_mark(id: &str) -> String {
    format!("exec-{id}.task")
}

/// Name of the file in a bundle in which the exit code of such an exec is noted.
pub(crate) fn exec_exit_file(id: &str) -> String {
    format!("exec-{id}.exit")
}

/// A task whose shim is gone: its container was killed with it, at the latest now. One that the shim had not made yet
/// was not started.
async fn report_lost(engine: &Engine, entry: &Arc<Entry>, facts: &Facts, exited: Option<ProcessExit>) {
    let never_made = facts.native && exited.is_some_and(|exit| exit.pid == 0);
    if !facts.driven || facts.started_at.is_none() || never_made {
        show_as_recorded(entry);
        connect::release(engine, entry).await;
        return;
    }
    let exited_at = exited.and_then(|exit| exit.exited_at).unwrap_or_else(crate::clock::now);
    {
        let mut live = entry.live();
        live.state.status = Status::Exited;
        live.state.pid = 0;
        live.state.exit_code = 137;
        live.state.started_at = facts.started_at;
        live.state.finished_at = Some(exited_at);
        live.state.restart_count = facts.restart_count;
        live.stopped = facts.stopped;
    }
    exit::settle_lost(engine, entry, exited_at).await;
}
