//! Removal of a driven container: record and snapshot in one durable commit, then what they named.

use crate::{
    ContainerRecord, Engine, Error, Result,
    containers::RemoveOptions,
    entry::Entry,
    events::Body,
    lifecycle::{connect, exit, stop, task},
    state::Status,
    stores::blocking,
    task::Task,
};
use std::{path::Path, sync::Arc};
use tare_types::{ErrorKind, SnapshotKey};

/// Removes a container for its user. The caller holds the turn.
pub(crate) async fn remove(engine: &Engine, entry: &Arc<Entry>, options: RemoveOptions) -> Result<()> {
    if entry.live().removed {
        return Err(Error::not_found("remove", "container", entry.key.id.as_str()));
    }
    if !entry.is_driven() {
        return Err(stop::foreign("remove", entry));
    }
    if let Some(task) = entry.running_task() {
        if !options.force {
            let word = entry.live().state.status.as_str();
            return Err(stop::precondition("remove", entry, &format!("container is {word}"))
                .with_hint("stop the container before removing or force remove"));
        }
        entry.live().stopped = true;
        let signal = [("signal", crate::signal::SIGKILL.to_string())];
        engine.publish_with(entry, stop::action(entry, "kill"), &signal);
        stop::kill_and_wait(&task).await?;
    }
    if entry.live().restart.is_some() && !options.force {
        return Err(stop::precondition("remove", entry, "container is restarting")
            .with_hint("stop the container before removing or force remove"));
    }
    exit::cancel_restart(entry);
    let task = entry.task();
    remove_settled(engine, entry, options.volumes, task.as_ref()).await
}

/// Removes a container whose program has ended, with its task if it still has one. The caller holds the turn.
///
/// The answer waits for the commit and for the release in the network's journal. The shim lets go of the container behind
/// it (unmounting waits for the kernel): the daemon that dies before finds a bundle without a record and cleans it up.
pub(crate) async fn remove_settled(
    engine: &Engine,
    entry: &Arc<Entry>,
    volumes: bool,
    task: Option<&Arc<Task>>,
) -> Result<()> {
    entry.live().state.status = Status::Removing;
    // Ports are free again when the shim has let go of them: who asks for them next must not find them taken.
    let at_once = entry.live().endpoint.as_ref().is_some_and(|endpoint| !endpoint.ports.is_empty());
    let deleting = async {
        if at_once {
            delete_task(engine, entry, task).await;
        }
    };
    let (committed, (), ()) =
        tokio::join!(commit_removal(engine, entry), deleting, connect::release(engine, entry));
    let removed = match committed {
        Ok(removed) => removed,
        Err(error) => {
            entry.live().state.status = Status::Dead;
            return Err(error);
        }
    };
    let record = entry.record();
    engine.inner().roster.remove(&entry.key);
    let execs = std::mem::take(&mut entry.live().execs);
    for id in execs.keys() {
        engine.execs().remove(id);
    }
    if volumes {
        // Before the answer: a client that lists volumes next must not see them.
        remove_anonymous(engine, &record).await;
    }
    engine.publish(entry, Body::ContainerDeleted { id: entry.key.id.to_string() });
    {
        let mut live = entry.live();
        live.removed = true;
        // What is left of it is this function's: nobody else settles its end any more.
        live.task = None;
        live.pending.clear();
        let status = live.last_exit();
        live.tell_removed(&status);
    }
    // The record is gone; what it named is litter from here on, removed after the answer or at the next start.
    let (directory, key) = (engine.container_directory(&entry.key), entry.key.clone());
    let later = if at_once { None } else { task.cloned() };
    let (engine, entry) = (engine.clone(), entry.clone());
    engine.clone().spawn(async move {
        delete_task(&engine, &entry, later.as_ref()).await;
        let cleaned = blocking("remove files of container", move || {
            removed.map_or(Ok(()), tare_store::snapshot::Removed::discard)?;
            remove_directory(&directory)
        })
        .await;
        if let Err(error) = cleaned {
            tracing::warn!(container = %key, %error, "files stay until the daemon starts again");
        }
    });
    Ok(())
}

/// Removes the volumes that were made for a container alone. One that another container has taken up stays.
async fn remove_anonymous(engine: &Engine, record: &ContainerRecord) {
    let mounts = record.engine.iter().flat_map(|fields| &fields.mounts);
    for mount in mounts.filter(|mount| mount.anonymous) {
        match engine.volumes().remove(&mount.name, false).await {
            Err(error) if error.kind() != ErrorKind::FailedPrecondition => {
                tracing::warn!(volume = mount.name, %error, "an anonymous volume stays");
            }
            _ => {}
        }
    }
}

/// Deletes the task of a container that goes, if it has one.
async fn delete_task(engine: &Engine, entry: &Entry, task: Option<&Arc<Task>>) {
    if let Some(task) = task
        && let Err(error) = task::delete(engine, entry, task).await
    {
        tracing::error!(container = %entry.key, %error, "the task could not be deleted");
    }
}

/// Removes the rows of container and snapshot in one durable commit.
async fn commit_removal(
    engine: &Engine,
    entry: &Arc<Entry>,
) -> Result<Option<tare_store::snapshot::Removed>> {
    let (stores, record) = (engine.stores().clone(), entry.record());
    blocking("remove record of container", move || {
        let snapshot = match record.snapshot_key.as_str() {
            "" => None,
            key => Some((stores.snapshotter(&record.snapshotter)?.clone(), SnapshotKey::new(key)?)),
        };
        let removed = stores.metadata.update(|tx| {
            tx.remove_container(&record.namespace, &record.id)?;
            match &snapshot {
                None => Ok(None),
                Some((snapshotter, key)) => match snapshotter.remove_in(tx, &record.namespace, key) {
                    // Removed by hand through another door.
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    other => other.map(Some),
                },
            }
        })?;
        Ok(removed)
    })
    .await
}

/// Removes a container's directory of files.
pub(crate) fn remove_directory(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Internal, "remove", "directory", directory.display().to_string(), "")
                .with_source(error))
        }
        _ => Ok(()),
    }
}
