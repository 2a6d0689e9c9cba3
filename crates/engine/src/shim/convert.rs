//! Wire messages of shims ⇄ domain types.

use super::client::Listed;
use crate::{
    Any, Result,
    key::Key,
    tasks::{Process, ProcessExit, ProcessStatus, Stdio},
};
use tare_api::{containerd::task::v2 as task, containerd::v1::types::Status, tare::shim::v1 as private};
use tare_types::{ContainerId, ExecId, Mount, Timestamp};

pub(crate) fn mount(mount: Mount) -> tare_api::containerd::types::Mount {
    tare_api::containerd::types::Mount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    }
}

pub(crate) fn any_to_wire(any: Any) -> tare_api::Any {
    tare_api::Any { type_url: any.type_url, value: any.value }
}

pub(crate) fn any_from_wire(any: tare_api::Any) -> Any {
    let type_url = any.type_url.strip_prefix("type.googleapis.com/").unwrap_or(&any.type_url);
    Any { type_url: type_url.to_owned(), value: any.value }
}

/// A point in time; absent, before 1970 and absurd ones are `None` (Go sends its zero time for "never").
pub(crate) fn time(wire: Option<tare_api::Timestamp>) -> Option<Timestamp> {
    let wire = wire.filter(|wire| wire.seconds > 0)?;
    Some(Timestamp::new(wire.seconds, u32::try_from(wire.nanos).unwrap_or(0)))
}

pub(crate) fn exit(pid: u32, status: u32, exited_at: Option<tare_api::Timestamp>) -> ProcessExit {
    ProcessExit { pid, status, exited_at: time(exited_at) }
}

pub(crate) fn status(wire: i32) -> ProcessStatus {
    match Status::try_from(wire).unwrap_or(Status::Unknown) {
        Status::Unknown => ProcessStatus::Unknown,
        Status::Created => ProcessStatus::Created,
        Status::Running => ProcessStatus::Running,
        Status::Stopped => ProcessStatus::Stopped,
        Status::Paused => ProcessStatus::Paused,
        Status::Pausing => ProcessStatus::Pausing,
    }
}

pub(crate) fn process(id: &ContainerId, exec: Option<&ExecId>, wire: task::StateResponse) -> Process {
    Process {
        container: id.clone(),
        exec: exec.cloned(),
        pid: wire.pid,
        status: status(wire.status),
        stdio: Stdio { stdin: wire.stdin, stdout: wire.stdout, stderr: wire.stderr, terminal: wire.terminal },
        exit_status: wire.exit_status,
        exited_at: time(wire.exited_at),
    }
}

pub(crate) fn listed(wire: private::Process, key: &Key) -> Result<Listed> {
    let exec = if wire.exec_id.is_empty() { None } else { Some(ExecId::new(wire.exec_id.as_str())?) };
    let process = Process {
        container: key.id.clone(),
        exec,
        pid: wire.pid,
        status: status(wire.status),
        stdio: Stdio { terminal: wire.terminal, ..Stdio::default() },
        exit_status: wire.exit_status,
        exited_at: time(wire.exited_at),
    };
    Ok(Listed { id: wire.id, exec: wire.exec_id, process, oom_killed: wire.oom_killed })
}
