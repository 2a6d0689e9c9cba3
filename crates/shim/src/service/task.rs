//! containerd's Task service.

use prost::Message;
use std::sync::Arc;
use std::time::Instant;
use tare_api::Any;
use tare_api::containerd::events::{TaskPaused, TaskResumed};
use tare_api::containerd::runc::v1::ProcessDetails;
use tare_api::containerd::task::v2 as wire;
use tare_api::containerd::v1::types::{ProcessInfo, Status as WireStatus};
use tare_api::status::Status;
use tare_api::tare::shim::v1::TerminalSize;
use tare_api::ttrpc::Call;
use tare_types::ErrorKind;
use tare_types::spec::LinuxResources;

use super::{answer, stats};
use crate::container::Container;
use crate::diagnostics::wire_time;
use crate::lifecycle::runtime_error;
use crate::process::{Phase, Process};
use crate::shim::Shim;

/// All methods of the service; what is not done yet answers so by name.
pub(super) const METHODS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

/// Those that change nothing: they end with their caller. All others run to their end.
pub(super) const READING: [&str; 5] = ["State", "Pids", "Wait", "Stats", "Connect"];

/// Nothing, encoded.
const EMPTY: Vec<u8> = Vec::new();

/// Answers one call.
pub(super) async fn unary(shim: &Arc<Shim>, call: &Call) -> Result<Vec<u8>, Status> {
    match call.method.as_str() {
        "Create" => {
            let deadline = call.timeout.and_then(|limit| Instant::now().checked_add(limit));
            let pid = shim.create(&call.message()?, deadline).await?;
            return answer(&wire::CreateTaskResponse { pid });
        }
        // It is asked while the container is made.
        "Connect" => return connect(shim, &call.message()?),
        // The one field that all requests have.
        _ => shim.until_made(&call.message::<wire::PauseRequest>()?.id).await,
    }
    match call.method.as_str() {
        "Start" => {
            let request: wire::StartRequest = call.message()?;
            let pid = shim.start(&shim.container(&request.id)?, &request.exec_id).await?;
            answer(&wire::StartResponse { pid })
        }
        "Wait" => {
            let request: wire::WaitRequest = call.message()?;
            let process = shim.container(&request.id)?.process(&request.exec_id)?;
            let exited = process.wait().await;
            answer(&wire::WaitResponse { exit_status: exited.status, exited_at: Some(wire_time(exited.at)) })
        }
        "Delete" => {
            let request: wire::DeleteRequest = call.message()?;
            answer(&shim.delete(&request.id, &request.exec_id).await?)
        }
        "Exec" => shim.exec(&call.message()?).map(|()| EMPTY),
        "State" => state(shim, &call.message()?),
        "Kill" => {
            let request: wire::KillRequest = call.message()?;
            if request.all {
                shim.container(&request.id)?.free().await;
            }
            kill(shim, &request)
        }
        "Pids" | "Pause" | "Resume" | "Update" => {
            shim.container(&call.message::<wire::PauseRequest>()?.id)?.free().await;
            change(shim, call)
        }
        "ResizePty" => {
            let request: wire::ResizePtyRequest = call.message()?;
            let size = TerminalSize { width: request.width, height: request.height };
            shim.container(&request.id)?.process(&request.exec_id)?.resize(size).map(|()| EMPTY)
        }
        "CloseIO" => {
            let request: wire::CloseIoRequest = call.message()?;
            let process = shim.container(&request.id)?.process(&request.exec_id)?;
            if request.stdin {
                process.close_stdin();
            }
            Ok(EMPTY)
        }
        "Stats" => {
            let container = shim.container(&call.message::<wire::StatsRequest>()?.id)?;
            answer(&wire::StatsResponse { stats: Some(stats::metrics(&container)?) })
        }
        "Shutdown" => {
            // Other containers of the group go on: the last one's Shutdown counts.
            shim.end_if_empty();
            Ok(EMPTY)
        }
        other => Err(Status::unimplemented(&format!("task method {other}"))),
    }
}

/// The calls that need the runtime's object, when it is free.
fn change(shim: &Shim, call: &Call) -> Result<Vec<u8>, Status> {
    match call.method.as_str() {
        "Pids" => pids(shim, &call.message()?),
        "Pause" => pause(shim, &call.message::<wire::PauseRequest>()?.id, true),
        "Resume" => pause(shim, &call.message::<wire::ResumeRequest>()?.id, false),
        _ => update(shim, &call.message()?),
    }
}

fn state(shim: &Shim, request: &wire::StateRequest) -> Result<Vec<u8>, Status> {
    let container = shim.container(&request.id)?;
    let process = container.process(&request.exec_id)?;
    let mut response = wire::StateResponse {
        id: container.id.clone(),
        bundle: container.bundle.to_string_lossy().into_owned(),
        pid: process.pid().max(0) as u32,
        status: status(&container, &process) as i32,
        stdin: process.names.stdin.clone(),
        stdout: process.names.stdout.clone(),
        stderr: process.names.stderr.clone(),
        terminal: process.names.terminal,
        exec_id: process.exec_id.clone(),
        ..Default::default()
    };
    if let Phase::Stopped(exited) = process.phase() {
        response.exit_status = exited.status;
        response.exited_at = Some(wire_time(exited.at));
    }
    answer(&response)
}

/// Where a process is, in containerd's words.
pub(super) fn status(container: &Container, process: &Process) -> WireStatus {
    match process.phase() {
        Phase::Created => WireStatus::Created,
        Phase::Stopped(_) => WireStatus::Stopped,
        Phase::Running if container.is_paused() => WireStatus::Paused,
        Phase::Running => WireStatus::Running,
    }
}

fn kill(shim: &Shim, request: &wire::KillRequest) -> Result<Vec<u8>, Status> {
    let container = shim.container(&request.id)?;
    let signal = i32::try_from(request.signal).ok().filter(|signal| (0..=64).contains(signal));
    let invalid =
        || Status::new(ErrorKind::InvalidArgument, format!("signal {} does not exist", request.signal));
    let signal = signal.ok_or_else(invalid)?;
    if request.all && request.exec_id.is_empty() {
        container
            .runtime()
            .kill_all(signal)
            .map_err(|error| runtime_error("OCI runtime kill failed", &error))?;
    } else {
        container.process(&request.exec_id)?.kill(signal)?;
    }
    Ok(EMPTY)
}

fn pids(shim: &Shim, request: &wire::PidsRequest) -> Result<Vec<u8>, Status> {
    let container = shim.container(&request.id)?;
    let pids =
        container.runtime().processes().map_err(|error| runtime_error("OCI runtime ps failed", &error))?;
    let known = container.processes();
    let info = |pid: i32| {
        let exec = known.iter().find(|process| process.pid() == pid && !process.exec_id.is_empty())?;
        let details = ProcessDetails { exec_id: exec.exec_id.clone() };
        Some(Any { type_url: "containerd.runc.v1.ProcessDetails".to_owned(), value: details.encode_to_vec() })
    };
    let processes =
        pids.into_iter().map(|pid| ProcessInfo { pid: pid.max(0) as u32, info: info(pid) }).collect();
    answer(&wire::PidsResponse { processes })
}

fn pause(shim: &Shim, id: &str, pause: bool) -> Result<Vec<u8>, Status> {
    let container = shim.container(id)?;
    if container.init.phase() != Phase::Running {
        let message = format!("container {id:?} is not running: failed precondition");
        return Err(Status::new(ErrorKind::FailedPrecondition, message));
    }
    let container_id = container.id.clone();
    if pause {
        container.runtime().pause().map_err(|error| runtime_error("OCI runtime pause failed", &error))?;
        container.set_paused(true);
        shim.events.publish(&TaskPaused { container_id });
    } else {
        container.runtime().resume().map_err(|error| runtime_error("OCI runtime resume failed", &error))?;
        container.set_paused(false);
        shim.events.publish(&TaskResumed { container_id });
    }
    Ok(EMPTY)
}

fn update(shim: &Shim, request: &wire::UpdateTaskRequest) -> Result<Vec<u8>, Status> {
    let container = shim.container(&request.id)?;
    let missing = || Status::new(ErrorKind::InvalidArgument, "update: resources are missing");
    let any = request.resources.as_ref().ok_or_else(missing)?;
    let resources: LinuxResources = tare_types::spec::parse(&any.value).map_err(|error| {
        Status::new(ErrorKind::InvalidArgument, format!("update: resources {}: {error}", any.type_url))
    })?;
    let updated = container.runtime().update(&resources);
    updated.map_err(|error| runtime_error("OCI runtime update failed", &error))?;
    Ok(EMPTY)
}

fn connect(shim: &Shim, request: &wire::ConnectRequest) -> Result<Vec<u8>, Status> {
    // containerd asks before the container exists, too: then there is no task yet.
    let task_pid = shim.container(&request.id).map_or(0, |container| container.init.pid());
    answer(&wire::ConnectResponse {
        shim_pid: std::process::id(),
        task_pid: task_pid.max(0) as u32,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
