//! Runs the health checks of containers: one task per running container that has one.
//!
//! A probe is an exec as any other; what it says is put into the container's state. Its own failure never ends the
//! container. The task ends with the container, and with the daemon; the next daemon takes it up again.

use crate::{
    Engine, Error, clock,
    containers::Containers,
    entry::Entry,
    exec::ExecRequest,
    health::{Health, HealthCheck, HealthStatus, MAX_OUTPUT, Probe, go_duration},
    lifecycle::stop,
    signal::SIGKILL,
    state::Status,
    task::Task,
};
use std::{sync::Arc, time::Duration};
use tare_types::{ErrorKind, Timestamp};

/// How long the output of a probe that was killed is waited for.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// Begins to probe a container that has just been started or taken up.
pub(crate) fn watch(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>) {
    let check = entry.record().engine.as_ref().and_then(|fields| fields.health.clone());
    let Some(check) = check else { return };
    let began = {
        let mut live = entry.live();
        live.state.health.get_or_insert_default().begin();
        live.state.started_at.unwrap_or_else(clock::now)
    };
    let (weak, entry, task) = (engine.downgrade(), entry.clone(), task.clone());
    let stopping = engine.stopping().clone();
    engine.spawn(async move {
        let probing = async {
            loop {
                let status = entry.live().state.health.as_ref().map_or(HealthStatus::Starting, |h| h.status);
                tokio::time::sleep(check.wait(status, since(began, clock::now()))).await;
                // A frozen container answers nobody; that is not its fault.
                if entry.live().state.status != Status::Running {
                    continue;
                }
                let Some(engine) = weak.upgrade() else { return };
                let probe = probe(&engine, &entry, &task, &check).await;
                take(&engine, &entry, &check, began, probe);
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = task.init.ended() => {}
            () = probing => {}
        }
        // Docker: nobody knows any more that it is well.
        if let Some(health) = &mut entry.live().state.health {
            health.status = HealthStatus::Unhealthy;
        }
    });
}

fn since(began: Timestamp, now: Timestamp) -> Duration {
    Duration::from_nanos((now.unix_nanos() - began.unix_nanos()).max(0).unsigned_abs())
}

fn take(engine: &Engine, entry: &Entry, check: &HealthCheck, began: Timestamp, probe: Probe) {
    let running = since(began, probe.start);
    let (changed, status) = {
        let mut live = entry.live();
        let health: &mut Health = live.state.health.get_or_insert_default();
        (health.take(probe, check, running), health.status)
    };
    if changed {
        engine.publish(entry, stop::action(entry, &format!("health_status: {}", status.as_str())));
    }
}

/// Runs the program once.
async fn probe(engine: &Engine, entry: &Arc<Entry>, task: &Arc<Task>, check: &HealthCheck) -> Probe {
    let start = clock::now();
    let mut output = Vec::new();
    let (exit_code, output) = match run(engine, entry, task, check, &mut output).await {
        Ok(code) => (i64::from(code), text(&output)),
        Err(error) if error.kind() == ErrorKind::DeadlineExceeded && error.what() == "probe" => {
            let said = text(&output);
            let colon = if said.is_empty() { "" } else { ": " };
            let timeout = go_duration(check.timeout());
            (-1, format!("Health check exceeded timeout ({timeout}){colon}{said}"))
        }
        Err(error) => (-1, error.to_string()),
    };
    Probe { start, end: clock::now(), exit_code, output }
}

fn text(output: &[u8]) -> String {
    let kept = String::from_utf8_lossy(&output[..output.len().min(MAX_OUTPUT)]).into_owned();
    if output.len() > MAX_OUTPUT { kept + "..." } else { kept }
}

async fn run(
    engine: &Engine,
    entry: &Arc<Entry>,
    task: &Arc<Task>,
    check: &HealthCheck,
    output: &mut Vec<u8>,
) -> crate::Result<u32> {
    let containers: Containers = engine.containers();
    let request =
        ExecRequest { argv: check.argv.clone(), stdout: true, stderr: true, ..ExecRequest::default() };
    let id = containers.exec_create(&entry.key.namespace, entry.key.id.as_str(), request).await?;
    let running = async {
        let attachment = containers.exec_start(id.as_str(), false, None).await?;
        collect(attachment, output).await;
        Ok(containers.exec_inspect(id.as_str()).await?.exit_code)
    };
    let ended = tokio::time::timeout(check.timeout(), running).await;
    let ended = match ended {
        Ok(ended) => ended,
        Err(_) => {
            // It may end at this very moment.
            task.shim.kill(&entry.key.id, Some(&id), SIGKILL as u32, false).await.unwrap_or_default();
            if let Some(process) = task.exec(&id) {
                drop(tokio::time::timeout(AFTER_KILL, process.ended()).await);
            }
            Err(Error::new(ErrorKind::DeadlineExceeded, "run", "probe", id.as_str(), "it took too long"))
        }
    };
    containers.exec_forget(entry, task, &id);
    let failed = || Error::new(ErrorKind::Unknown, "run", "probe", id.as_str(), "its exit is not known");
    ended?.ok_or_else(failed)
}

/// Reads all output; a little more than what is kept of it is held.
async fn collect(attachment: Option<crate::attach::Attachment>, output: &mut Vec<u8>) {
    let Some(mut attachment) = attachment else { return };
    while let Some(Ok(chunk)) = attachment.output.next().await {
        let room = (MAX_OUTPUT + 1).saturating_sub(output.len());
        output.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
    }
}
