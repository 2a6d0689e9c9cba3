//! When the shim dies that holds streams and ports for a foreign one: another takes its place.
//!
//! The container does not notice: its shim keeps both ends of the output's fifos, so that what is written waits there, and
//! the writer waits when they are full. The new holder reads on and appends to the log. What the dead one had read and not
//! written is lost: at most an unfinished line. Clients that were attached are cut off and may attach again; a stdin
//! without a terminal has ended, for a pipe has no other way to say that its writer is gone.

use crate::{
    Engine, Error, Result,
    entry::Entry,
    lifecycle::connect,
    shim::{Shim, holder::Holder, launch, options},
    task::Task,
};
use std::{sync::Arc, time::Duration};
use tare_types::ErrorKind;
use tokio::time::Instant;

/// The pause before a place is filled again that was lost soon after.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A holder that has lived for this long died of something else than the one before.
const PROVEN: Duration = Duration::from_secs(60);

/// Watches over the holder of a task, where it has one, until the task is deleted.
pub(crate) fn watch(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    if task.shim.holder.is_none() {
        return;
    }
    let (weak, entry, task) = (engine.downgrade(), entry.clone(), task.clone());
    let stop = engine.stopping().clone();
    engine.spawn(async move {
        let Some(holder) = &task.shim.holder else { return };
        let mut pause = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let lost = async {
                if let Some(current) = holder.current() {
                    current.closed().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = task.settled() => return,
                () = lost => {}
            }
            if begun.elapsed() > PROVEN {
                pause = Duration::ZERO;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = task.settled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
            let Some(engine) = weak.upgrade() else { return };
            if holder.is_ending() {
                return;
            }
            match fill(&engine, &entry, &task, holder).await {
                Ok(true) => tracing::warn!(
                    container = %entry.key,
                    "the shim that held the streams of a container has died; another one reads on"
                ),
                Ok(false) => tracing::debug!(container = %entry.key, "connected to the holder again"),
                Err(error) => tracing::error!(
                    container = %entry.key, %error,
                    "the shim that held the streams of a container has died, and no other takes its place yet"
                ),
            }
        }
    });
}

/// Finds the holder again, or has another one take its place (`true`).
async fn fill(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, holder: &Holder) -> Result<bool> {
    let (config, key) = (engine.config(), &task.key);
    let deadline = config.limits.shim_reconnect;
    let found = Shim::connect(key, &config.shim, true, &holder.address, launch::VERSION, deadline).await;
    if let Ok(shim) = found {
        holder.replace(Arc::new(shim.with_deadline(config.limits.shim_call)));
        return Ok(false);
    }
    launch::remove_socket(config, &holder.address);
    let shim = launch::launch(engine, key, &task.bundle, &holder.address).await?;
    // What one holder cannot have another one cannot either: this one keeps what it could get.
    if let Err(error) = hold_again(engine, entry, task, &shim).await {
        tracing::error!(container = %key, %error, "the new holder does not have all that the dead one had");
    }
    if holder.is_ending() {
        // The task was deleted meanwhile.
        shim.end_streams(&key.id).await;
        return Ok(true);
    }
    holder.replace(Arc::new(shim));
    Ok(true)
}

/// Has a new holder read the fifos that are there and bind the ports that were published.
async fn hold_again(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, shim: &Shim) -> Result<()> {
    let record = entry.record();
    let fields = record.engine.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "hold streams of", "container", entry.key.id.as_str(), "not driven")
    })?;
    let fifos = task.bundle.streams();
    let log = engine.container_directory(&entry.key);
    let mut wanted = vec![options::held(&record, &log, fields, &fifos)?];
    for (id, process) in task.all_execs() {
        let held = std::path::Path::new(&process.stdio.stdout).starts_with(&fifos);
        if let Some(exec) = entry.live().execs.get(&id).filter(|_| held && process.exit().is_none()) {
            wanted.push(options::held_exec(&entry.key.id, &id, &exec.request, &fifos));
        }
    }
    let mut held = Ok(());
    for mut request in wanted {
        request.adopt = true;
        held = shim.hold_streams(request).await.map(drop).and(held);
    }
    let endpoint = entry.live().endpoint.clone().unwrap_or_default();
    let Some(address) = endpoint.ip_address.filter(|_| !endpoint.ports.is_empty()) else { return held };
    let bindings = endpoint.ports.iter().map(|port| connect::binding(port, address)).collect();
    shim.bind_ports(&entry.key.id, bindings).await.map(drop).and(held)
}
