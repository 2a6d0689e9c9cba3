//! Making and deleting tasks: bundle, shim, container in the shim; and watching over them.

use crate::{
    Any, Engine, Error, Result,
    entry::Entry,
    events::Body,
    key::Key,
    lifecycle::{exit, holder},
    shim::{
        Shim, bootstrap,
        bundle::{Bundle, Facts},
        client::CreateCall,
        holder::Holder,
        launch,
        resolve::{self, Chosen},
    },
    task::Task,
    tasks::{ProcessExit, Stdio},
};
use std::sync::{Arc, atomic::Ordering};
use tare_types::{ErrorKind, ExecId, Mount};

/// What a task is made of.
#[derive(Debug, Default)]
pub(crate) struct NewTask {
    pub(crate) spec: Vec<u8>,
    pub(crate) runtime: String,
    pub(crate) options: Option<Any>,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: Stdio,
    /// What the bundle remembers beside the shim.
    pub(crate) facts: Facts,
}

/// A shim that was started for a bundle, with no container yet.
pub(crate) struct Prepared {
    pub(crate) bundle: Bundle,
    pub(crate) shim: Arc<Shim>,
    pub(crate) facts: Facts,
}

/// Annotations that put containers into one shim; the shim's own `start` knows how.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Makes the bundle and starts the shim. On failure nothing is left.
pub(crate) async fn prepare(engine: &Engine, key: &Key, new: &NewTask) -> Result<Prepared> {
    let chosen = resolve::choose(engine.config(), &new.runtime, new.options.clone())?;
    let text = String::from_utf8_lossy(&new.spec);
    let grouped = GROUPS.iter().any(|name| text.contains(name));
    let mut facts = new.facts.clone();
    facts.stdio = (&new.stdio).into();
    if chosen.native && !grouped {
        return prepare_native(engine, key, facts, Some(new.spec.clone())).await;
    }
    let bundle = Bundle::of(&engine.config().state, key);
    facts.binary.clone_from(&chosen.binary);
    facts.native = chosen.native;
    make_bundle(engine, key, &bundle, Some(&new.spec), &facts).await?;
    let streams = match new.facts.driven && !chosen.native {
        true => Some(start_streams(engine, key, &bundle, &mut facts).await),
        false => None,
    };
    let started = match streams.transpose() {
        Ok(streams) => {
            let started = bootstrap::start(engine.config(), key, &bundle, &chosen).await;
            let holder = streams.map(|shim| Holder::new(&facts.streams, Some(shim)));
            started.map(|shim| shim.with_holder(holder))
        }
        Err(error) => Err(error),
    };
    let started = match started {
        Ok(shim) => {
            facts.address.clone_from(&shim.address);
            facts.version = shim.version;
            bundle.note(&facts).map(|()| Arc::new(shim))
        }
        Err(error) => Err(error),
    };
    finish_prepare(engine, key, bundle, facts, started, &chosen).await
}

/// Starts Tare's shim that holds the streams and ports of a container behind a foreign one.
async fn start_streams(engine: &Engine, key: &Key, bundle: &Bundle, facts: &mut Facts) -> Result<Shim> {
    // Known before the shim is: a daemon that comes back ends it by this.
    facts.streams = launch::socket_path(engine.config())?;
    bundle.note(facts)?;
    launch::launch(engine, key, bundle, &facts.streams).await
}

/// Ends the shim that held the streams of a foreign one that is gone.
async fn end_streams(engine: &Engine, key: &Key, facts: &Facts) {
    if facts.streams.as_os_str().is_empty() {
        return;
    }
    let (config, limits) = (engine.config(), &engine.config().limits);
    let deadline = limits.shim_reconnect;
    match Shim::connect(key, &config.shim, true, &facts.streams, launch::VERSION, deadline).await {
        Ok(shim) => shim.end_streams(&key.id).await,
        Err(error) => tracing::debug!(container = %key, %error, "nobody holds the streams any more"),
    }
    launch::remove_socket(config, &facts.streams);
}

/// As [`prepare`], with Tare's own shim on the short way. Without a spec the caller writes it before the container is
/// created.
pub(crate) async fn prepare_native(
    engine: &Engine,
    key: &Key,
    mut facts: Facts,
    spec: Option<Vec<u8>>,
) -> Result<Prepared> {
    let config = engine.config();
    let bundle = Bundle::of(&config.state, key);
    facts.binary.clone_from(&config.shim);
    facts.native = true;
    facts.version = launch::VERSION;
    // Known before the shim is: a daemon that comes back finds it by this.
    facts.address = launch::socket_path(config)?;
    make_bundle(engine, key, &bundle, spec.as_deref(), &facts).await?;
    let started = launch::launch(engine, key, &bundle, &facts.address).await.map(Arc::new);
    let chosen = Chosen { binary: config.shim.clone(), native: true, options: None };
    finish_prepare(engine, key, bundle, facts, started, &chosen).await
}

async fn make_bundle(
    engine: &Engine,
    key: &Key,
    bundle: &Bundle,
    spec: Option<&[u8]>,
    facts: &Facts,
) -> Result<()> {
    match bundle.create(spec, facts) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // The turn is ours and there is no task: what lies there is a dead one's.
            discard(engine, key, bundle).await;
            bundle.create(spec, facts)
        }
        other => other,
    }
}

async fn finish_prepare(
    engine: &Engine,
    key: &Key,
    bundle: Bundle,
    facts: Facts,
    started: Result<Arc<Shim>>,
    chosen: &Chosen,
) -> Result<Prepared> {
    match started {
        Ok(shim) => Ok(Prepared { bundle, shim, facts }),
        Err(error) => {
            clean_up(engine, key, &bundle, chosen).await;
            Err(error)
        }
    }
}

/// Creates the container in its shim. On failure nothing is left. The task is not shown yet.
pub(crate) async fn create(
    engine: &Engine,
    key: &Key,
    prepared: Prepared,
    new: NewTask,
) -> Result<Arc<Task>> {
    let Prepared { bundle, shim, .. } = prepared;
    let call = CreateCall {
        bundle: bundle.path().to_path_buf(),
        rootfs: new.rootfs,
        stdio: new.stdio.clone(),
        options: new.options,
    };
    match shim.create(&key.id, call).await {
        Ok(pid) => {
            let task = Task::new(key.clone(), shim, bundle, new.stdio);
            task.init.set_pid(pid);
            Ok(Arc::new(task))
        }
        Err(error) => {
            match error.kind() {
                // Nobody knows how far the shim has come.
                ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => {
                    give_up(engine, key, &shim, &bundle).await;
                }
                _ => abandon(engine, key, &shim, &bundle).await,
            }
            Err(error)
        }
    }
}

/// Ends a shim of which nobody knows whether it has a container, and whatever it has.
async fn give_up(engine: &Engine, key: &Key, shim: &Shim, bundle: &Bundle) {
    // A shim that lives ends its container itself; whatever fails here is done by its binary next.
    if shim.kill(&key.id, None, crate::signal::SIGKILL as u32, true).await.is_ok() {
        let deadline = engine.config().limits.shim_call;
        tokio::time::timeout(deadline, shim.wait(&key.id, None)).await.map(drop).unwrap_or_default();
        shim.delete(&key.id, None).await.map(drop).unwrap_or_default();
    }
    shim.shutdown(&key.id).await.unwrap_or_default();
    let chosen = Chosen { binary: shim.binary.clone(), native: shim.native, options: None };
    clean_up(engine, key, bundle, &chosen).await;
}

/// Ends a shim that has no container, and its bundle.
pub(crate) async fn abandon(engine: &Engine, key: &Key, shim: &Shim, bundle: &Bundle) {
    if let Err(error) = shim.shutdown(&key.id).await {
        tracing::warn!(container = %key, %error, "the shim does not end; cleaning up after it");
        let chosen = Chosen { binary: shim.binary.clone(), native: shim.native, options: None };
        clean_up(engine, key, bundle, &chosen).await;
        return;
    }
    if let Err(error) = bundle.remove() {
        tracing::warn!(container = %key, %error, "the bundle stays until the daemon starts again");
    }
}

/// Cleans up with the shim's binary and removes the bundle. What fails is said and tried again at the next start.
pub(crate) async fn clean_up(
    engine: &Engine,
    key: &Key,
    bundle: &Bundle,
    chosen: &Chosen,
) -> Option<ProcessExit> {
    if let Some(facts) = bundle.facts() {
        // A shim that ended by itself has removed it.
        launch::remove_socket(engine.config(), &facts.address);
        end_streams(engine, key, &facts).await;
    }
    let exit = match bootstrap::delete(engine.config(), key, bundle, &chosen.binary).await {
        Ok(exit) => Some(exit),
        Err(error) => {
            tracing::warn!(container = %key, %error, "clean-up by the shim's binary failed");
            None
        }
    };
    if let Err(error) = bundle.remove() {
        tracing::warn!(container = %key, %error, "the bundle stays until the daemon starts again");
    }
    exit
}

/// Removes a bundle of which no task is known: its shim is dead or of a task that never came to be.
pub(crate) async fn discard(engine: &Engine, key: &Key, bundle: &Bundle) -> Option<ProcessExit> {
    let Some(facts) = bundle.facts() else {
        if let Err(error) = bundle.remove() {
            tracing::warn!(container = %key, %error, "a bundle without facts stays");
        }
        return None;
    };
    let chosen = Chosen { binary: facts.binary, native: facts.native, options: None };
    clean_up(engine, key, bundle, &chosen).await
}

/// Shows a task and watches over it until it is deleted.
pub(crate) fn show(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    entry.live().task = Some(task.clone());
    watch(engine, entry, task, None);
    holder::watch(engine, entry, task);
}

/// Waits for the end of a process in a task of its own, and reports it; the end of the shim counts as the end of all.
pub(crate) fn watch(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, exec: Option<ExecId>) {
    let (weak, entry, task) = (engine.downgrade(), entry.clone(), task.clone());
    let stop = engine.stopping().clone();
    engine.spawn(async move {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = task.shim.wait(&task.key.id, exec.as_ref()) => ended,
            () = known(&task, exec.as_ref()) => return,
        };
        let Some(engine) = weak.upgrade() else { return };
        match ended {
            Ok(exit) => exit::process_ended(&engine, &entry, &task, exec.as_ref(), exit).await,
            // An exec that was deleted is waited for by nobody.
            Err(error) if exec.is_some() && error.kind() == ErrorKind::NotFound => {}
            Err(error) => exit::shim_lost(&engine, &entry, &task, error).await,
        }
    });
}

/// Resolves when the end of a process is known by another way.
async fn known(task: &Task, exec: Option<&ExecId>) {
    match exec {
        None => {
            task.init.ended().await;
        }
        Some(id) => match task.exec(id) {
            Some(process) => {
                process.ended().await;
            }
            None => std::future::pending().await,
        },
    }
}

/// Deletes an ended task: container, shim, bundle. The caller holds the turn.
pub(crate) async fn delete(engine: &Engine, entry: &Entry, task: &Arc<Task>) -> Result<ProcessExit> {
    let key = &task.key;
    let known = task.init.exit();
    let exit = if task.is_settled() {
        // Its shim died, and what it held was cleaned up then.
        known.ok_or_else(|| no_task("delete", key))?
    } else {
        let_go(engine, task, known).await?
    };
    {
        let mut live = entry.live();
        if live.task.as_ref().is_some_and(|current| Arc::ptr_eq(current, task)) {
            live.task = None;
        }
    }
    task.set_settled();
    let body = Body::TaskDeleted {
        id: key.id.to_string(),
        exec_id: key.id.to_string(),
        pid: exit.pid,
        status: exit.status,
        exited_at: exit.exited_at.unwrap_or_default(),
    };
    engine.publish(entry, body);
    Ok(exit)
}

/// Has the shim delete the container and end; by its binary when it cannot.
async fn let_go(engine: &Engine, task: &Arc<Task>, known: Option<ProcessExit>) -> Result<ProcessExit> {
    let key = &task.key;
    let mut deleted = task.shim.delete(&key.id, None).await;
    if known.is_some() && deleted.as_ref().is_err_and(|error| error.kind() == ErrorKind::FailedPrecondition) {
        // Its end was told and it is there: nothing of it may stay.
        tracing::warn!(container = %key, "a container outlived the report of its end; killing it");
        task.shim.kill(&key.id, None, crate::signal::SIGKILL as u32, true).await?;
        let deadline = engine.config().limits.shim_call;
        if let Ok(ended) = tokio::time::timeout(deadline, task.shim.wait(&key.id, None)).await {
            ended?;
        }
        deleted = task.shim.delete(&key.id, None).await;
    }
    match deleted {
        Ok(exit) => {
            abandon(engine, key, &task.shim, &task.bundle).await;
            Ok(known.map_or(exit, |known| ProcessExit { pid: exit.pid.max(known.pid), ..known }))
        }
        Err(error) if error.kind() == ErrorKind::FailedPrecondition => Err(error),
        Err(error) => {
            // Gone, hung or confused: its binary cleans up.
            tracing::warn!(container = %key, %error, "delete through the shim failed; cleaning up by its binary");
            if let Some(holder) = &task.shim.holder {
                holder.set_ending();
            }
            let chosen = Chosen { binary: task.shim.binary.clone(), native: task.shim.native, options: None };
            let cleaned = clean_up(engine, key, &task.bundle, &chosen).await;
            known.or(cleaned).ok_or(error)
        }
    }
}

/// Whether the task was killed for memory.
pub(crate) fn oom_killed(task: &Task) -> bool {
    task.oom.load(Ordering::Acquire)
}

/// The error of a task that is not there.
pub(crate) fn no_task(operation: &'static str, key: &Key) -> Error {
    Error::not_found(operation, "task", key.id.as_str())
}
