//! The unary methods of the private service `tare.shim.v1.Shim`.

use std::sync::Arc;
use tare_api::status::Status;
use tare_api::tare::shim::v1 as wire;
use tare_api::ttrpc::Call;
use tare_types::ErrorKind;

use super::{answer, task};
use crate::container::Container;
use crate::diagnostics::wire_time;
use crate::process::{Phase, Process};
use crate::shim::Shim;

/// Answers one call.
pub(super) async fn unary(shim: &Arc<Shim>, call: &Call) -> Result<Vec<u8>, Status> {
    match call.method.as_str() {
        "Processes" => {
            let request: wire::ProcessesRequest = call.message()?;
            shim.until_made(&request.id).await;
            processes(shim, &request)
        }
        "BindPorts" => {
            let request: wire::BindPortsRequest = call.message()?;
            answer(&wire::BindPortsResponse { ports: shim.ports.bind(&request.id, &request.bindings)? })
        }
        "ReleasePorts" => {
            shim.ports.release(&call.message::<wire::ReleasePortsRequest>()?.id);
            answer(&())
        }
        "HoldStreams" => {
            let request: wire::HoldStreamsRequest = call.message()?;
            let (weak, container_id) = (Arc::downgrade(shim), request.id.clone());
            let told = move |message| {
                if let Some(shim) = weak.upgrade() {
                    let container_id = container_id.clone();
                    shim.events.publish(&wire::LogTrouble { container_id, message });
                }
            };
            answer(&shim.held.hold(&request, told)?)
        }
        "ReleaseStreams" => {
            let request: wire::ReleaseStreamsRequest = call.message()?;
            shim.held.release(&request.id, &request.exec_id).await;
            answer(&())
        }
        "ReopenLog" => {
            let id = call.message::<wire::ReopenLogRequest>()?.id;
            reopen_log(&*shim.container(&id)?)
        }
        other => Err(Status::unimplemented(&format!("shim method {other}"))),
    }
}

fn processes(shim: &Shim, request: &wire::ProcessesRequest) -> Result<Vec<u8>, Status> {
    let containers =
        if request.id.is_empty() { shim.containers() } else { vec![shim.container(&request.id)?] };
    let processes = containers
        .iter()
        .flat_map(|container| {
            container.processes().into_iter().map(|process| describe(container, &process)).collect::<Vec<_>>()
        })
        .collect();
    answer(&wire::ProcessesResponse { processes, shim_pid: std::process::id() })
}

fn describe(container: &Container, process: &Process) -> wire::Process {
    let exited = match process.phase() {
        Phase::Stopped(exited) => Some(exited),
        Phase::Created | Phase::Running => None,
    };
    wire::Process {
        id: container.id.clone(),
        exec_id: process.exec_id.clone(),
        bundle: container.bundle.to_string_lossy().into_owned(),
        pid: process.pid().max(0) as u32,
        status: task::status(container, process) as i32,
        exit_status: exited.map_or(0, |exited| exited.status),
        exited_at: exited.map(|exited| wire_time(exited.at)),
        started_at: process.started_at().map(wire_time),
        oom_killed: process.oom_killed(),
        terminal: process.names.terminal,
    }
}

fn reopen_log(container: &Container) -> Result<Vec<u8>, Status> {
    let none =
        || Status::new(ErrorKind::FailedPrecondition, format!("container {:?} has no log", container.id));
    let hub = container.init.hub.as_ref().ok_or_else(none)?;
    let reopened = hub.reopen_log().ok_or_else(none)?;
    reopened.map_err(|error| Status::new(ErrorKind::Internal, error))?;
    answer(&())
}
