//! Ends of processes: taken up once from whichever way reports them first, then settled in the container's turn.

use crate::{
    Engine, Error, clock,
    entry::Entry,
    events::Body,
    lifecycle::{connect, remove, start, task},
    record::{Desired, LastExit},
    request::RestartPolicy,
    restart,
    shim::{listener::Report, resolve::Chosen},
    state::Status,
    stores,
    task::Task,
    tasks::ProcessExit,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tare_types::{ContainerId, ExecId, Namespace, Timestamp};
use tokio_util::sync::CancellationToken;

impl Engine {
    /// Takes a report of a shim.
    pub(crate) async fn take_report(&self, namespace: &Namespace, time: Option<Timestamp>, report: Report) {
        match report {
            Report::Exit { id, exec, exit } => {
                let Some((entry, task)) = self.find_task(namespace, &id) else { return };
                let exec = if exec.is_empty() || exec == id { None } else { ExecId::new(exec).ok() };
                // Shims send again what nobody heard: it may be the end of a run before this one.
                let stale = exec.is_none() && exit.pid != 0 && exit.pid != task.init.pid();
                if !stale {
                    process_ended(self, &entry, &task, exec.as_ref(), exit).await;
                }
            }
            Report::Oom { id } => {
                let Some((entry, task)) = self.find_task(namespace, &id) else { return };
                if !task.oom.swap(true, Ordering::AcqRel) {
                    self.publish(&entry, Body::TaskOom { id });
                }
            }
            Report::LogTrouble { id, message } => {
                tracing::warn!(container = %format!("{namespace}/{id}"), "{message}");
            }
            Report::Other(Body::Foreign { topic, .. }) if topic.is_empty() => {}
            Report::Other(body) => {
                self.events().publish(namespace, time.unwrap_or_else(clock::now), body, Arc::default());
            }
        }
    }

    fn find_task(&self, namespace: &Namespace, id: &str) -> Option<(Arc<Entry>, Arc<Task>)> {
        let id = ContainerId::new(id).ok()?;
        let entry = self.inner().roster.get(&crate::key::Key::new(namespace, &id))?;
        let task = entry.task()?;
        Some((entry, task))
    }
}

/// Records the end of a process, tells everybody, and has it settled.
pub(crate) async fn process_ended(
    engine: &Engine,
    entry: &Arc<Entry>,
    task: &Arc<Task>,
    exec: Option<&ExecId>,
    exit: ProcessExit,
) {
    let exit = ProcessExit { exited_at: exit.exited_at.or_else(|| Some(clock::now())), ..exit };
    let Some(exec) = exec else {
        return init_ended(engine, entry, task, exit).await;
    };
    let Some(process) = task.exec(exec) else { return };
    if process.end(exit) {
        if let Some(exec) = entry.live().execs.get(exec) {
            let mut live = exec.live();
            live.exit = Some(exit.status);
            live.pid = 0;
        }
        publish_exit(engine, entry, task, exec.as_str(), process.exit().unwrap_or(exit));
    }
}

fn publish_exit(engine: &Engine, entry: &Entry, task: &Task, exec: &str, exit: ProcessExit) {
    let exited_at = exit.exited_at.unwrap_or_default();
    let id = task.key.id.to_string();
    let mut more = vec![("exitCode", exit.status.to_string())];
    if exec == id {
        if let Some(started) = entry.live().state.started_at {
            more.push(("execDuration", (exited_at.seconds - started.seconds).max(0).to_string()));
        }
    } else {
        more.push(("execID", exec.to_owned()));
    }
    let body =
        Body::TaskExited { id, exec_id: exec.to_owned(), pid: exit.pid, status: exit.status, exited_at };
    engine.publish_with(entry, body, &more);
}

async fn init_ended(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, exit: ProcessExit) {
    if exit.status == 137 && task.shim.native && !task::oom_killed(task) {
        // SIGKILL may be the kernel's for memory; the shim knows, and its event may come later than this.
        if let Ok(listed) = task.shim.processes(&task.key.id).await
            && listed.iter().any(|process| process.exec.is_empty() && process.oom_killed)
            && !task.oom.swap(true, Ordering::AcqRel)
        {
            engine.publish(entry, Body::TaskOom { id: task.key.id.to_string() });
        }
    }
    if !task.init.end(exit) {
        return;
    }
    let exit = task.init.exit().unwrap_or(exit);
    let driven = entry.is_driven();
    if driven {
        let mut live = entry.live();
        live.state.status = Status::Exited;
        live.state.pid = 0;
        live.state.exit_code = exit.status;
        live.state.oom_killed = task::oom_killed(task);
        live.state.finished_at = exit.exited_at;
    }
    publish_exit(engine, entry, task, task.key.id.as_str(), exit);
    if driven {
        {
            let mut live = entry.live();
            let status = live.last_exit();
            live.tell_exit(&status);
        }
        let (engine, entry, task) = (engine.clone(), entry.clone(), task.clone());
        engine.clone().spawn(async move {
            let _turn = entry.turn.lock().await;
            settle(&engine, &entry, &task).await;
        });
    }
}

/// The shim is gone without a word: its containers are killed and cleaned up by its binary.
pub(crate) async fn shim_lost(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, error: Error) {
    if engine.stopping().is_cancelled() || task.init.exit().is_some() {
        return;
    }
    tracing::warn!(container = %task.key, %error, "the shim is lost");
    if let Some(holder) = &task.shim.holder {
        holder.set_ending();
    }
    let chosen = Chosen { binary: task.shim.binary.clone(), native: task.shim.native, options: None };
    let cleaned = task::clean_up(engine, &task.key, &task.bundle, &chosen).await;
    task.set_settled();
    // A container cannot outlive its shim: SIGKILL ended it, whatever the binary could still find out.
    let exited_at = cleaned.and_then(|exit| exit.exited_at);
    let exit = ProcessExit { pid: task.init.pid(), status: 137, exited_at };
    for (id, _) in task.all_execs() {
        process_ended(engine, entry, task, Some(&id), exit).await;
    }
    process_ended(engine, entry, task, None, exit).await;
}

/// Settles the end of a driven container's run: exit record, shim and network let go, then removal or restart.
/// The caller holds the turn; a run that is settled already is no error.
pub(crate) async fn settle(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    if entry.live().removed || !entry.task().is_some_and(|current| Arc::ptr_eq(&current, task)) {
        // Written now, the record of a removed container would come back.
        return;
    }
    settle_end(engine, entry, Some(task)).await;
}

/// Settles the end of a run whose shim is gone and cleaned up after. The caller holds the turn.
pub(crate) async fn settle_lost(engine: &Engine, entry: &Arc<Entry>, exited_at: Timestamp) {
    let id = entry.key.id.to_string();
    let status = entry.live().state.exit_code;
    let body = Body::TaskExited { id: id.clone(), exec_id: id, pid: 0, status, exited_at };
    engine.publish_with(entry, body, &[("exitCode", status.to_string())]);
    settle_end(engine, entry, None).await;
}

async fn settle_end(engine: &Engine, entry: &Arc<Entry>, task: Option<&Arc<Task>>) {
    let record = entry.record();
    let Some(fields) = &record.engine else { return };
    let (code, count, stopped, keep) = {
        let live = entry.live();
        (live.state.exit_code, live.state.restart_count, live.stopped, live.keep)
    };
    let again = restart::follows_exit(fields.restart, code, count, stopped);
    if fields.auto_remove && !again && !keep {
        if let Err(error) = remove::remove_settled(engine, entry, true, task).await {
            tracing::error!(container = %entry.key, %error, "automatic removal failed");
        }
        return;
    }
    // The shim keeps the exit until it is recorded: a daemon that dies between finds it there.
    if let Err(error) = record_exit(engine, entry, stopped).await {
        tracing::error!(container = %entry.key, %error, "the exit could not be recorded");
    }
    if let Some(task) = task
        && let Err(error) = task::delete(engine, entry, task).await
    {
        tracing::error!(container = %entry.key, %error, "the task could not be deleted");
    }
    connect::release(engine, entry).await;
    if again {
        restart_later(engine, entry);
    }
}

/// Makes the last exit durable: what a user expects to see after a reboot.
async fn record_exit(engine: &Engine, entry: &Arc<Entry>, stopped: bool) -> crate::Result<()> {
    let state = entry.live().state.clone();
    let mut record = (*entry.record()).clone();
    let Some(fields) = &mut record.engine else { return Ok(()) };
    fields.last_exit = Some(LastExit {
        code: state.exit_code,
        oom_killed: state.oom_killed,
        started_at: state.started_at.unwrap_or_default(),
        finished_at: state.finished_at.unwrap_or_default(),
        error: state.error,
    });
    fields.desired = if stopped { Desired::Stopped } else { Desired::Running };
    let record = Arc::new(record);
    engine.stores().save(record.clone()).await?;
    entry.set_record(record);
    Ok(())
}

/// Starts the container again after its wait, unless somebody changes it before.
pub(crate) fn restart_later(engine: &Engine, entry: &Arc<Entry>) {
    let token = CancellationToken::new();
    let wait = {
        let mut live = entry.live();
        let run = match (live.state.started_at, live.state.finished_at) {
            (Some(begin), Some(end)) => {
                Duration::from_nanos((end.unix_nanos() - begin.unix_nanos()).max(0).unsigned_abs())
            }
            _ => Duration::ZERO,
        };
        live.state.status = Status::Restarting;
        live.restart = Some(token.clone());
        live.backoff.after(run)
    };
    let (engine, entry) = (engine.clone(), entry.clone());
    engine.clone().spawn(async move {
        tokio::select! {
            () = token.cancelled() => return,
            () = engine.stopping().cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let _turn = entry.turn.lock().await;
        {
            let mut live = entry.live();
            if token.is_cancelled() || live.removed {
                return;
            }
            live.restart = None;
            live.state.restart_count += 1;
        }
        if let Err(error) = start::start_by_policy(&engine, &entry).await {
            tracing::warn!(container = %entry.key, %error, "restart by policy failed");
            let policy = entry.record().engine.as_ref().map_or(RestartPolicy::No, |engine| engine.restart);
            let (code, count) = {
                let live = entry.live();
                (live.state.exit_code, live.state.restart_count)
            };
            if restart::follows_exit(policy, code, count, false) {
                restart_later(&engine, &entry);
            }
        }
    });
}

/// Gives up a restart that waits. `true` when there was one.
pub(crate) fn cancel_restart(entry: &Entry) -> bool {
    let mut live = entry.live();
    match live.restart.take() {
        Some(token) => {
            token.cancel();
            live.state.status = Status::Exited;
            let status = live.last_exit();
            live.tell_exit(&status);
            true
        }
        None => false,
    }
}

/// Writes the record that says what the user wants, if that changed. Durable.
pub(crate) async fn record_desired(
    engine: &Engine,
    entry: &Arc<Entry>,
    desired: Desired,
) -> crate::Result<()> {
    let mut record = (*entry.record()).clone();
    let Some(fields) = &mut record.engine else { return Ok(()) };
    if fields.desired == desired {
        return Ok(());
    }
    fields.desired = desired;
    let record = Arc::new(record);
    stores::Stores::save(engine.stores(), record.clone()).await?;
    entry.set_record(record);
    Ok(())
}
