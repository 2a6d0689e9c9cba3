//! Start of a driven container: network, files, bundle, shim, ports, program; undone in reverse on failure.

use crate::{
    Engine, Error, Result,
    attach::AttachOptions,
    clock,
    containers::RemoveOptions,
    entry::Entry,
    events::Body,
    lifecycle::{
        connect, exit, files, health, links, names, remove,
        task::{self, NewTask},
    },
    network::EndpointState,
    record::{ContainerRecord, Desired, EngineFields, LastExit},
    request::{NamespaceMode, PortMapping, RestartPolicy},
    shim::{attach::Open, bundle::Facts, options, resolve},
    spec,
    state::Status,
    stores::blocking,
    task::Task,
};
use std::{os::fd::OwnedFd, sync::Arc};
use tare_types::{ErrorKind, Mount, SnapshotKey};

/// What a run needs from the layers below, made on a blocking thread.
struct Ground {
    endpoint: EndpointState,
    rootfs: Vec<Mount>,
    spec: Vec<u8>,
    /// What mounts of the spec lead to, until the container is made.
    held: Vec<OwnedFd>,
}

/// Starts a container for its user. `false` when it runs already. The caller holds the turn.
pub(crate) async fn start_by_user(engine: &Engine, entry: &Arc<Entry>) -> Result<bool> {
    if let Some(task) = entry.task() {
        if task.is_alive() {
            return if entry.live().state.status == Status::Paused {
                let detail = "cannot start a paused container, try unpause instead";
                let name = entry.key.id.as_str();
                Err(Error::new(ErrorKind::FailedPrecondition, "start", "container", name, detail))
            } else {
                Ok(false)
            };
        }
        exit::settle(engine, entry, &task).await;
    }
    exit::cancel_restart(entry);
    {
        let mut live = entry.live();
        if live.removed {
            return Err(Error::not_found("start", "container", entry.key.id.as_str()));
        }
        live.stopped = false;
        live.state.restart_count = 0;
        live.backoff = crate::restart::Backoff::default();
    }
    start(engine, entry).await?;
    let policy = entry.record().engine.as_ref().map_or(RestartPolicy::No, |engine| engine.restart);
    if policy != RestartPolicy::No {
        // After a reboot it must be known that this container was wanted.
        exit::record_desired(engine, entry, Desired::Running).await?;
    }
    Ok(true)
}

/// Starts a container after its exit, or with the daemon. The caller holds the turn.
pub(crate) async fn start_by_policy(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    if entry.running_task().is_some() {
        return Ok(());
    }
    entry.live().stopped = false;
    start(engine, entry).await
}

async fn start(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    let record = entry.record();
    let fields = record.engine.clone().ok_or_else(|| {
        let detail = "a client of containerd's API drives it";
        Error::new(ErrorKind::FailedPrecondition, "start", "container", entry.key.id.as_str(), detail)
    })?;
    let started = try_start(engine, entry, &record, &fields).await;
    if let Err(error) = &started {
        connect::release(engine, entry).await;
        note_failure(engine, entry, error).await;
        if fields.auto_remove {
            let options = RemoveOptions { force: true, volumes: true };
            if let Err(error) = remove::remove(engine, entry, options).await {
                tracing::error!(container = %entry.key, %error, "automatic removal failed");
            }
        }
    }
    started
}

async fn try_start(
    engine: &Engine,
    entry: &Arc<Entry>,
    record: &Arc<ContainerRecord>,
    fields: &EngineFields,
) -> Result<()> {
    let wanted = connect::wanted_ports(fields)?;
    let chosen = resolve::choose(engine.config(), &record.runtime.name, record.runtime.options.clone())?;
    let stdio = options::stdio(fields);
    let facts = Facts {
        driven: true,
        restart_count: entry.live().state.restart_count,
        stdio: (&stdio).into(),
        ..Facts::default()
    };
    let making = {
        let (engine, entry, record) = (engine.clone(), entry.clone(), record.clone());
        blocking("prepare run of container", move || prepare_ground(&engine, &entry, &record))
    };
    let (ground, prepared) = if chosen.native {
        // The shim comes up while the network is made.
        let (ground, prepared) =
            tokio::join!(making, task::prepare_native(engine, &entry.key, facts.clone(), None));
        (ground, Some(prepared?))
    } else {
        (making.await, None)
    };
    let ground = match (ground, &prepared) {
        (Err(error), Some(prepared)) => {
            task::abandon(engine, &entry.key, &prepared.shim, &prepared.bundle).await;
            return Err(error);
        }
        (ground, _) => ground?,
    };
    let (mut endpoint, held) = (ground.endpoint, ground.held);
    let pending = std::mem::take(&mut entry.live().pending);
    let simple = pending.is_empty();
    let mut new = NewTask {
        spec: ground.spec,
        runtime: record.runtime.name.clone(),
        options: record.runtime.options.clone(),
        rootfs: ground.rootfs,
        stdio,
        facts,
    };
    let mut prepared = match prepared {
        Some(prepared) => prepared,
        None => task::prepare(engine, &entry.key, &new).await?,
    };
    let completed =
        complete(engine, entry, fields, &mut prepared, &mut new, &mut endpoint, simple, &wanted).await;
    if let Err(error) = completed {
        task::abandon(engine, &entry.key, &prepared.shim, &prepared.bundle).await;
        return Err(error);
    }
    let started_in_create = simple && prepared.shim.native;
    let started_at = prepared.facts.started_at;
    let task = task::create(engine, &entry.key, prepared, new).await?;
    drop(held);
    {
        let mut live = entry.live();
        live.state.error.clear();
        live.state.oom_killed = false;
        live.state.pid = task.init.pid();
        live.state.started_at = started_at;
        live.state.finished_at = None;
        live.endpoint = Some(endpoint.clone());
    }
    if names::matter(engine, &endpoint) {
        let engine = engine.clone();
        let told = blocking("write names of neighbours", move || {
            names::refresh(&engine, &endpoint);
            Ok(())
        });
        if let Err(error) = told.await {
            tracing::warn!(container = %entry.key, %error, "its neighbours were not told of its name");
        }
    }
    let begun = begin(engine, &task, pending, started_in_create).await;
    if let Err(error) = begun {
        undo_created(engine, entry, &task).await;
        return Err(error);
    }
    {
        let mut live = entry.live();
        live.state.status = Status::Running;
        live.state.exit_code = 0;
        live.state.pid = task.init.pid();
    }
    connect::tell_connected(engine, entry);
    let (id, pid) = (entry.key.id.to_string(), task.init.pid());
    let bundle = task.bundle.path().display().to_string();
    engine.publish(entry, Body::TaskCreated { id: id.clone(), bundle, pid });
    engine.publish(entry, Body::TaskStarted { id, pid });
    // Watched only now: an exit must not be told before the start.
    task::show(engine, entry, &task);
    health::watch(engine, entry, &task);
    Ok(())
}

/// What lies between a shim and the container in it: spec, options, ports, and the note of them.
#[expect(clippy::too_many_arguments, reason = "one step of `try_start`, cut off for its length")]
async fn complete(
    engine: &Engine,
    entry: &Arc<Entry>,
    fields: &EngineFields,
    prepared: &mut task::Prepared,
    new: &mut NewTask,
    endpoint: &mut EndpointState,
    simple: bool,
    wanted: &[PortMapping],
) -> Result<()> {
    if fields.security.ipc == NamespaceMode::Shareable {
        prepared.bundle.mount_shared_memory(fields.shm_size)?;
    }
    if prepared.shim.native {
        prepared.bundle.write_spec(&new.spec)?;
        let log = engine.container_directory(&entry.key);
        new.options = Some(options::create(&entry.record(), &log, fields, simple)?);
    } else {
        let log = engine.container_directory(&entry.key);
        let request = options::held(&entry.record(), &log, fields, &prepared.bundle.streams())?;
        new.stdio = prepared.shim.hold_streams(request).await?;
        prepared.facts.stdio = (&new.stdio).into();
    }
    if !wanted.is_empty() {
        connect::publish(engine, entry, &prepared.shim, endpoint, wanted).await?;
    }
    prepared.facts.endpoint = Some(endpoint.clone());
    prepared.facts.started_at = Some(clock::now());
    prepared.bundle.note(&prepared.facts)
}

/// Attaches those who wait and lets the program go, with the last of them where there is one.
async fn begin(
    engine: &Engine,
    task: &Arc<Task>,
    pending: Vec<(AttachOptions, crate::shim::attach::Ends)>,
    mut started: bool,
) -> Result<()> {
    let deadline = engine.config().limits.shim_call;
    let mut pid = 0;
    let mut left = pending.len();
    for (options, ends) in pending {
        left -= 1;
        let start = left == 0 && !started;
        let open = Open::new(&task.shim, &task.key.id, None, options, start, deadline).await?;
        if start {
            pid = open.pid;
            started = true;
        }
        engine.spawn(open.carry(ends, drop));
    }
    if !started {
        pid = task.shim.start(&task.key.id, None).await?;
    }
    if pid != 0 {
        task.init.set_pid(pid);
    }
    task.init.set_started();
    Ok(())
}

/// Removes a container in its shim whose program could not be let go.
async fn undo_created(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    // It may have ended by itself: what follows says so.
    task.shim.kill(&task.key.id, None, crate::signal::SIGKILL as u32, true).await.unwrap_or_default();
    let waiting = task.shim.wait(&task.key.id, None);
    if let Ok(Ok(ended)) = tokio::time::timeout(engine.config().limits.shim_call, waiting).await {
        task.init.end(ended);
    }
    if let Err(error) = task::delete(engine, entry, task).await {
        tracing::error!(container = %entry.key, %error, "a container that did not start stays");
    }
}

/// Network, files, mounts and spec of a run.
fn prepare_ground(engine: &Engine, entry: &Arc<Entry>, record: &ContainerRecord) -> Result<Ground> {
    let fields = record.engine.as_ref().expect("invariant: only driven containers are started here");
    links::check(engine, record, fields)?;
    let endpoint = connect::attach(engine, entry, fields)?;
    let directory = engine.container_directory(&entry.key);
    files::make_directory(&directory)?;
    files::write(&directory, fields, &endpoint, &names::neighbours(engine, entry, &endpoint))?;
    let snapshotter = engine.stores().snapshotter(&record.snapshotter)?;
    let snapshot = SnapshotKey::new(record.snapshot_key.as_str())?;
    let rootfs = snapshotter.mounts(&record.namespace, &snapshot)?;
    let (spec, held) = spec::for_run(engine, record, &endpoint)?;
    Ok(Ground { endpoint, rootfs, spec, held })
}

/// Keeps why a container did not start, as its state and in its record.
async fn note_failure(engine: &Engine, entry: &Arc<Entry>, error: &Error) {
    let code = exit_code_of(error);
    let text = error.to_string();
    {
        let mut live = entry.live();
        live.pending.clear();
        live.state.pid = 0;
        live.state.exit_code = code;
        live.state.error.clone_from(&text);
        if live.state.status != Status::Exited {
            live.state.status = Status::Created;
        }
    }
    let mut record = (*entry.record()).clone();
    let Some(fields) = &mut record.engine else { return };
    if fields.auto_remove {
        return;
    }
    let now = clock::now();
    let previous = fields.last_exit.take();
    let started_at = previous.map_or(now, |previous| previous.started_at);
    fields.last_exit = Some(LastExit { code, oom_killed: false, started_at, finished_at: now, error: text });
    let record = Arc::new(record);
    match engine.stores().save(record.clone()).await {
        Ok(()) => entry.set_record(record),
        Err(error) => tracing::warn!(container = %entry.key, %error, "a failed start could not be recorded"),
    }
}

/// Exit code of a container that did not start, by Docker's rule: 127 for a missing program, 126 for one that cannot
/// be executed, 128 otherwise.
pub(crate) fn exit_code_of(error: &Error) -> u32 {
    let text = error.to_string().to_lowercase();
    let says = |part: &str| text.contains(part);
    if says("executable file not found") || says("no such file or directory") {
        127
    } else if says("permission denied")
        || says("is a directory")
        || says("not a directory")
        || says("exec format")
    {
        126
    } else {
        128
    }
}
