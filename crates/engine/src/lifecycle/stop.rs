//! Ending, freezing and thawing a driven container.

use crate::{
    Engine, Error, Result,
    containers::StopOptions,
    entry::Entry,
    events::Body,
    lifecycle::{exit, start},
    record::Desired,
    request::RestartPolicy,
    signal::{self, SIGKILL},
    state::Status,
    task::Task,
    tasks::ProcessExit,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tare_types::ErrorKind;

/// How long a process may take to die of SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(15);

/// Asks a container to end, kills it after its time, and waits until that is settled. `false` when it does not run.
pub(crate) async fn stop(engine: &Engine, entry: &Arc<Entry>, options: &StopOptions) -> Result<bool> {
    let record = entry.record();
    let fields = record.engine.as_ref().ok_or_else(|| foreign("stop", entry))?;
    let signal = match &options.signal {
        Some(text) if !text.is_empty() => signal::parse(text)?,
        _ => fields.stop_signal,
    };
    let timeout = options.timeout.unwrap_or(fields.stop_timeout);
    let Some(task) = to_stop(entry).await else {
        wanted_no_more(engine, entry).await?;
        return Ok(false);
    };
    mark_stopped(entry, &task);
    // The turn is free while the program takes its time: `kill` and `rm -f` must get through.
    send(&task, signal).await?;
    engine.publish_with(entry, action(entry, "kill"), &[("signal", signal.to_string())]);
    let ended = match u64::try_from(timeout) {
        Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), task.init.ended()).await.is_ok(),
        Err(_) => {
            task.init.ended().await;
            true
        }
    };
    if !ended {
        engine.publish_with(entry, action(entry, "kill"), &[("signal", SIGKILL.to_string())]);
        kill_and_wait(&task).await?;
    }
    let _turn = entry.turn.lock().await;
    exit::settle(engine, entry, &task).await;
    engine.publish(entry, action(entry, "stop"));
    Ok(true)
}

/// The task to stop. Without one it is seen to that none follows: a restart that waits is given up, one that is decided
/// or under way is waited for.
async fn to_stop(entry: &Arc<Entry>) -> Option<Arc<Task>> {
    if let Some(task) = entry.running_task() {
        return Some(task);
    }
    // An end that is being settled now is followed by no restart.
    entry.live().stopped = true;
    if exit::cancel_restart(entry) {
        return None;
    }
    let _turn = entry.turn.lock().await;
    if exit::cancel_restart(entry) {
        return None;
    }
    entry.running_task()
}

/// Sends SIGKILL and waits for the end, with a bound.
pub(crate) async fn kill_and_wait(task: &Arc<Task>) -> Result<ProcessExit> {
    send(task, SIGKILL).await?;
    tokio::time::timeout(KILL_DEADLINE, task.init.ended()).await.map_err(|_| {
        let detail = format!("it has not ended {KILL_DEADLINE:?} after SIGKILL");
        Error::new(ErrorKind::DeadlineExceeded, "kill", "container", task.key.id.as_str(), detail)
            .with_hint("a process may hang in the kernel; see its state in /proc/<pid>/stack")
    })
}

/// Sends a signal; one to a process that has ended is no error. A frozen container is thawed for what ends it.
async fn send(task: &Arc<Task>, signal: i32) -> Result<()> {
    let number = u32::try_from(signal).unwrap_or(0);
    let sent = match task.shim.kill(&task.key.id, None, number, false).await {
        Err(error) if error.kind() == ErrorKind::NotFound || !task.is_alive() => Ok(()),
        other => other,
    };
    if task.paused.swap(false, Ordering::AcqRel) && matches!(signal, SIGKILL | signal::SIGTERM) {
        task.shim.resume(&task.key.id).await?;
    }
    sent
}

/// Sends a signal that a user chose.
pub(crate) async fn kill(engine: &Engine, entry: &Arc<Entry>, signal: i32) -> Result<()> {
    let task = entry.running_task().ok_or_else(|| not_running("kill", entry))?;
    let record = entry.record();
    let stop_signal = record.engine.as_ref().map(|engine| engine.stop_signal);
    if signal == SIGKILL || Some(signal) == stop_signal {
        // Docker: a container that was killed so by its user is not started again.
        mark_stopped(entry, &task);
    }
    send(&task, signal).await?;
    engine.publish_with(entry, action(entry, "kill"), &[("signal", signal.to_string())]);
    if signal == SIGKILL {
        // Docker answers when it is dead.
        tokio::time::timeout(KILL_DEADLINE, task.init.ended()).await.map(drop).unwrap_or_default();
    }
    Ok(())
}

fn mark_stopped(entry: &Entry, task: &Task) {
    entry.live().stopped = true;
    if let Some(mut facts) = task.bundle.facts() {
        facts.stopped = true;
        // Only a restart of the daemon within the next moments would miss it, and then restart the container.
        if let Err(error) = task.bundle.note(&facts) {
            tracing::warn!(container = %entry.key, %error, "the stop could not be noted");
        }
    }
}

async fn wanted_no_more(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    let policy = entry.record().engine.as_ref().map_or(RestartPolicy::No, |engine| engine.restart);
    if policy == RestartPolicy::No {
        return Ok(());
    }
    exit::record_desired(engine, entry, Desired::Stopped).await
}

/// Stops and starts it; the restart policy and `--rm` do not see the end between.
pub(crate) async fn restart(engine: &Engine, entry: &Arc<Entry>, options: &StopOptions) -> Result<()> {
    // The end between must not remove it.
    entry.live().keep = true;
    let stopped = stop(engine, entry, options).await;
    entry.live().keep = false;
    stopped?;
    {
        let _turn = entry.turn.lock().await;
        start::start_by_user(engine, entry).await?;
    }
    engine.publish(entry, action(entry, "restart"));
    Ok(())
}

/// Freezes it.
pub(crate) async fn pause(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    let _turn = entry.turn.lock().await;
    let task = entry.running_task().ok_or_else(|| not_running("pause", entry))?;
    if task.paused.load(Ordering::Acquire) {
        return Err(precondition("pause", entry, "is already paused"));
    }
    task.shim.pause(&task.key.id).await?;
    task.paused.store(true, Ordering::Release);
    {
        let mut live = entry.live();
        if live.state.status == Status::Running {
            live.state.status = Status::Paused;
        }
    }
    engine.publish(entry, Body::TaskPaused { id: entry.key.id.to_string() });
    Ok(())
}

/// Thaws it.
pub(crate) async fn unpause(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    let _turn = entry.turn.lock().await;
    let task = entry.running_task().ok_or_else(|| not_running("unpause", entry))?;
    if !task.paused.load(Ordering::Acquire) {
        return Err(precondition("unpause", entry, "is not paused"));
    }
    task.shim.resume(&task.key.id).await?;
    task.paused.store(false, Ordering::Release);
    {
        let mut live = entry.live();
        if live.state.status == Status::Paused {
            live.state.status = Status::Running;
        }
    }
    engine.publish(entry, Body::TaskResumed { id: entry.key.id.to_string() });
    Ok(())
}

/// An action of Docker's on a container.
pub(crate) fn action(entry: &Entry, action: &str) -> Body {
    Body::Action { kind: "container", action: action.to_owned(), id: entry.key.id.to_string() }
}

/// The error for a container that does not run.
pub(crate) fn not_running(operation: &'static str, entry: &Entry) -> Error {
    precondition(operation, entry, "is not running")
}

pub(crate) fn precondition(operation: &'static str, entry: &Entry, detail: &str) -> Error {
    Error::new(ErrorKind::FailedPrecondition, operation, "container", entry.key.id.as_str(), detail)
}

/// The error for a container whose life a client of containerd's door drives.
pub(crate) fn foreign(operation: &'static str, entry: &Entry) -> Error {
    precondition(operation, entry, "is driven by a client of containerd's API")
}
