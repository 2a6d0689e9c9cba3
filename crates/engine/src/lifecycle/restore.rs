//! Start of the daemon: records are loaded, living shims taken up, dead ones cleaned up, half-done work undone.
//!
//! All bundles are looked at at the same time and each within a bound ([`super::takeup`]), so that a dead or hanging shim
//! delays nothing but itself.

use crate::{
    Engine, Error, Result,
    containers::RemoveOptions,
    entry::Entry,
    key::Key,
    lifecycle::{connect, remove, start, takeup},
    record::Desired,
    restart,
    shim::{
        bundle::{Bundle, TASKS},
        launch,
    },
    stores::blocking,
};
use std::{fs, path::Path, sync::Arc};
use tare_types::{ContainerId, Namespace};
use tokio::sync::oneshot;

/// Takes up what runs and undoes what a crash left half done.
pub(crate) async fn restore(engine: &Engine) -> Result<()> {
    load(engine).await?;
    let bundles = find_bundles(&engine.config().state);
    let mut working = Vec::new();
    for key in bundles {
        let (told, done) = oneshot::channel();
        working.push(done);
        let (engine, work) = (engine.clone(), engine.clone());
        engine.spawn(async move { takeup::take_up(&work, &key, told).await });
    }
    for done in working {
        // Dropped, never sent: the end of the wait is all that is told.
        done.await.unwrap_or_default();
    }
    let live = engine.inner().roster.all();
    let state = &engine.config().state;
    let noted = find_bundles(state).into_iter().filter_map(|key| Bundle::of(state, &key).facts());
    let addresses: Vec<_> = noted.flat_map(|facts| [facts.address, facts.streams]).collect();
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

/// Makes the kernel's networks agree with the containers that live.
async fn reconcile_networks(engine: &Engine, entries: &[Arc<Entry>]) {
    let live: Vec<_> = entries
        .iter()
        .filter(|entry| entry.running_task().is_some() || being_taken_up(entry))
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

/// Whether its shim has not answered yet. Nobody else holds a turn before the doors are open.
fn being_taken_up(entry: &Entry) -> bool {
    entry.turn.try_lock().is_err()
}

/// Starts what the restart policies want to run.
pub(crate) fn follow_policies(engine: &Engine, entries: Vec<Arc<Entry>>) {
    for entry in entries {
        if being_taken_up(&entry) {
            // Followed when its shim has answered.
            continue;
        }
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
