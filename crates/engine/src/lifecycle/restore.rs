//! Start of the daemon: records are loaded, living shims taken up, dead ones cleaned up, half-done work undone.
//!
//! All bundles are looked at at the same time and each within a bound, so that a dead or hanging shim delays nothing
//! but itself.

use crate::{
    Engine, Error, Result,
    containers::RemoveOptions,
    entry::{Entry, Exec, ExecLive},
    exec::ExecRequest,
    key::Key,
    lifecycle::{connect, exit, remove, start, task},
    record::Desired,
    restart,
    shim::{
        Shim,
        bundle::{Bundle, Facts, TASKS},
        client::Listed,
        diagnostics, diary, launch,
    },
    state::Status,
    stores::blocking,
    task::Task,
    tasks::{ProcessExit, ProcessStatus, Stdio},
};
use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};
use tare_types::{ContainerId, ErrorKind, ExecId, Namespace};

/// Takes up what runs and undoes what a crash left half done.
pub(crate) async fn restore(engine: &Engine) -> Result<()> {
    load(engine).await?;
    let bundles = find_bundles(&engine.config().state);
    let mut working = tokio::task::JoinSet::new();
    for key in bundles {
        let engine = engine.clone();
        working.spawn(async move { take_up(&engine, &key).await });
    }
    // A panic in one of them is told by its own line; the others count.
    while working.join_next().await.is_some() {}
    let live = engine.inner().roster.all();
    let addresses: Vec<_> =
        live.iter().filter_map(|entry| entry.task()).map(|task| task.shim.address.clone()).collect();
    launch::sweep_sockets(engine.config(), &addresses);
    reconcile_networks(engine, &live).await;
    sweep(engine, &live).await;
    follow_policies(engine, live);
    Ok(())
}

async fn load(engine: &Engine) -> Result<()> {
    let stores = engine.stores().clone();
    let records = blocking("load records of containers", move || stores.load_containers()).await?;
    for record in records {
        let key = Key::new(&record.namespace, &record.id);
        if let Some(fields) = &record.engine {
            engine.inner().roster.reserve(&record.namespace, &fields.name, &record.id)?;
        }
        engine.inner().roster.insert(Arc::new(Entry::new(key, record)));
    }
    Ok(())
}

/// Bundles below the state directory. A directory that is no bundle of ours is left alone.
pub(crate) fn find_bundles(state: &Path) -> Vec<Key> {
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let tasks = state.join(TASKS);
    let mut keys = Vec::new();
    for namespace in names(&tasks) {
        let Ok(checked) = Namespace::new(namespace.as_str()) else { continue };
        for id in names(&tasks.join(&namespace)) {
            if let Ok(id) = ContainerId::new(id) {
                keys.push(Key::new(&checked, &id));
            }
        }
    }
    keys
}

async fn take_up(engine: &Engine, key: &Key) {
    let bundle = Bundle::of(&engine.config().state, key);
    let entry = engine.inner().roster.get(key);
    let Some(facts) = bundle.facts() else {
        task::discard(engine, key, &bundle).await;
        return;
    };
    let Some(entry) = entry else {
        // Its record is gone: the removal was committed, or the task never shown to anybody.
        tracing::info!(container = %key, "cleaning up a task without a record");
        end_shim(engine, key, &facts).await;
        task::discard(engine, key, &bundle).await;
        return;
    };
    let _turn = entry.turn.lock().await;
    if !facts.native
        && let Err(error) = diary::open(engine, key, &bundle)
    {
        tracing::warn!(container = %key, %error, "the log of a shim is not read");
    }
    match reconnect(engine, key, &facts).await {
        Ok((shim, processes)) => adopt(engine, &entry, shim, bundle, &facts, processes).await,
        Err(error) => {
            tracing::warn!(container = %key, %error, "the shim does not answer; its container ends");
            let exited = task::discard(engine, key, &bundle).await;
            report_lost(engine, &entry, &facts, exited).await;
        }
    }
}

/// Asks a shim that is nobody's to end, before its bundle is taken from it.
async fn end_shim(engine: &Engine, key: &Key, facts: &Facts) {
    if let Ok((shim, _)) = reconnect(engine, key, facts).await {
        // Whatever fails here is done by the shim's binary next.
        shim.kill(&key.id, None, crate::signal::SIGKILL as u32, true).await.unwrap_or_default();
        let deadline = engine.config().limits.shim_reconnect;
        if tokio::time::timeout(deadline, shim.wait(&key.id, None)).await.is_ok() {
            shim.delete(&key.id, None).await.map(drop).unwrap_or_default();
        }
        shim.shutdown(&key.id).await.unwrap_or_default();
    }
}

/// Connects to the shim of a bundle and asks for its processes.
async fn reconnect(engine: &Engine, key: &Key, facts: &Facts) -> Result<(Shim, Vec<Listed>)> {
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
        let shim = shim.followed_by(diagnostics);
        let listed = if shim.native {
            shim.processes(&key.id).await
        } else {
            shim.state(&key.id, None).await.map(|process| {
                let id = key.id.to_string();
                vec![Listed { id, exec: String::new(), process, oom_killed: false }]
            })
        };
        match listed {
            // It lives and has no such container: not yet, or not any more.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((shim, Vec::new())),
            listed => Ok((shim, listed?)),
        }
    };
    tokio::time::timeout(deadline, connecting).await.unwrap_or_else(|_| {
        let detail = format!("it does not answer within {deadline:?}");
        Err(Error::new(ErrorKind::DeadlineExceeded, "reconnect to", "shim", key.to_string(), detail))
    })
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
    adopt_execs(engine, entry, &task, &processes);
    adopt_ended_execs(engine, entry, &task);
    task::show(engine, entry, &task);
    if let Some(exited) = exited {
        // Ended while no daemon was there to hear it.
        exit::process_ended(engine, entry, &task, None, exited).await;
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
    let names = fs::read_dir(task.bundle.path()).into_iter().flatten().flatten();
    for name in names.filter_map(|file| file.file_name().into_string().ok()) {
        let id = name.strip_prefix("exec-").and_then(|rest| rest.strip_suffix(".json"));
        let Some(id) = id.and_then(|id| ExecId::new(id).ok()) else { continue };
        if entry.live().execs.contains_key(&id) {
            continue;
        }
        let read = |name: String| fs::read(task.bundle.path().join(name)).ok();
        let request = read(name.clone()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
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
fn adopt_execs(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, processes: &[Listed]) {
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
        if let Some(request) = request {
            let exec = Arc::new(Exec::new(request));
            let (pid, code) = (listed.process.pid, exited.map(|exit| exit.status));
            *exec.live() = ExecLive { started, pid: if code.is_some() { 0 } else { pid }, exit: code };
            entry.live().execs.insert(id.clone(), exec);
            engine.execs().insert(id.clone(), entry.key.clone());
        }
        match exited {
            Some(exited) => {
                process.end(exited);
            }
            None if started => task::watch(engine, entry, task, Some(id)),
            None => {}
        }
    }
}

/// Name of the file in a bundle in which an exec of the Docker door is noted.
pub(crate) fn exec_file(id: &str) -> String {
    format!("exec-{id}.json")
}

/// Name of the file in a bundle in which the exit code of such an exec is noted.
pub(crate) fn exec_exit_file(id: &str) -> String {
    format!("exec-{id}.exit")
}

/// A task whose shim is gone: its container was killed with it, at the latest now.
async fn report_lost(engine: &Engine, entry: &Arc<Entry>, facts: &Facts, exited: Option<ProcessExit>) {
    if !facts.driven || facts.started_at.is_none() {
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

/// Makes the kernel's networks agree with the containers that live.
async fn reconcile_networks(engine: &Engine, entries: &[Arc<Entry>]) {
    let live: Vec<_> = entries
        .iter()
        .filter(|entry| entry.running_task().is_some())
        .map(|entry| connect::key(entry))
        .collect();
    let networks = engine.inner().networks.clone();
    let reconciled = blocking("reconcile networks", move || {
        networks
            .reconcile(&live)
            .map(drop)
            .map_err(|error| Error::new(error.kind(), "reconcile", "networks", "", "").with_source(error))
    })
    .await;
    if let Err(error) = reconciled {
        tracing::error!(%error, "networks may not be as the records say");
    }
}

/// Removes directories of containers that have no record: a crash between the commit of a removal and its end.
async fn sweep(engine: &Engine, entries: &[Arc<Entry>]) {
    let root = engine.config().root.join("containers");
    let known: std::collections::BTreeSet<Key> = entries.iter().map(|entry| entry.key.clone()).collect();
    let swept = blocking("sweep directories of containers", move || {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
        for namespace in list(&root) {
            for directory in list(&namespace.path()) {
                let key =
                    namespace.file_name().into_string().ok().zip(directory.file_name().into_string().ok());
                let key = key.and_then(|(namespace, id)| {
                    Some(Key::new(&Namespace::new(namespace).ok()?, &ContainerId::new(id).ok()?))
                });
                if key.is_some_and(|key| !known.contains(&key)) {
                    remove::remove_directory(&directory.path())?;
                }
            }
        }
        Ok(())
    })
    .await;
    if let Err(error) = swept {
        tracing::warn!(%error, "litter of a crash stays");
    }
}

/// Starts what the restart policies want to run.
fn follow_policies(engine: &Engine, entries: Vec<Arc<Entry>>) {
    for entry in entries {
        let record = entry.record();
        let Some(fields) = &record.engine else { continue };
        if entry.task().is_some() || entry.live().restart.is_some() {
            continue;
        }
        if fields.auto_remove {
            // Its run is over, whatever became of the daemon that was to remove it.
            let engine = engine.clone();
            engine.clone().spawn(async move {
                let _turn = entry.turn.lock().await;
                let options = RemoveOptions { force: false, volumes: true };
                if entry.task().is_none()
                    && let Err(error) = remove::remove(&engine, &entry, options).await
                {
                    tracing::warn!(container = %entry.key, %error, "automatic removal failed");
                }
            });
            continue;
        }
        let wanted = {
            let live = entry.live();
            let desired = if live.stopped { Desired::Stopped } else { fields.desired };
            restart::follows_boot(fields.restart, desired, live.state.exit_code, live.state.restart_count)
        };
        if wanted {
            let engine = engine.clone();
            engine.clone().spawn(async move {
                let _turn = entry.turn.lock().await;
                if entry.task().is_some() || entry.live().removed {
                    return;
                }
                if let Err(error) = start::start_by_policy(&engine, &entry).await {
                    tracing::warn!(container = %entry.key, %error, "start by policy failed");
                }
            });
        }
    }
}
