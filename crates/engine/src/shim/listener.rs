//! The socket on which shims tell what happened: containerd.services.events.ttrpc.v1 beside the main socket.

use super::convert;
use crate::{
    Any, Error, Result,
    engine::{Engine, WeakEngine},
    events::Body,
    tasks::ProcessExit,
};
use prost::Message;
use std::{path::Path, sync::Arc};
use tare_api::{
    containerd::{events as wire, services::events::ttrpc::v1::ForwardRequest},
    status::Status,
    tare::shim::v1::LogTrouble,
    ttrpc::{Call, Method, Reply, Service, serve_connection},
};
use tare_types::{ErrorKind, Namespace};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Full name of the service.
const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

/// A shim's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// A process ended; `exec == id` or empty means the first one.
    Exit { id: String, exec: String, exit: ProcessExit },
    /// A process was killed for memory.
    Oom { id: String },
    /// A container's log cannot be written, or can be written again: one sentence.
    LogTrouble { id: String, message: String },
    /// Anything else a foreign shim tells.
    Other(Body),
}

struct Forward {
    engine: WeakEngine,
}

impl Service for Forward {
    fn method(&self, service: &str, method: &str) -> Option<Method> {
        (service == SERVICE && method == "Forward").then_some(Method::Unary)
    }

    fn unary(self: Arc<Self>, call: Call) -> Reply<Vec<u8>> {
        Box::pin(async move {
            let request: ForwardRequest = call.message()?;
            let invalid = |what: &str| Status::new(ErrorKind::InvalidArgument, what.to_owned());
            let envelope = request.envelope.ok_or_else(|| invalid("forward: no envelope"))?;
            let namespace = Namespace::new(envelope.namespace.as_str())
                .map_err(|error| Status::new(ErrorKind::InvalidArgument, error.to_string()))?;
            let event = envelope.event.ok_or_else(|| invalid("forward: no event"))?;
            let time = convert::time(envelope.timestamp);
            let report = report(&envelope.topic, event)
                .map_err(|error| Status::new(ErrorKind::InvalidArgument, format!("forward: {error}")))?;
            if let Some(engine) = self.engine.upgrade() {
                engine.take_report(&namespace, time, report).await;
            }
            Ok(Vec::new())
        })
    }
}

/// The report in an event of a shim.
fn report(topic: &str, event: tare_api::Any) -> Result<Report, prost::DecodeError> {
    let event = convert::any_from_wire(event);
    let value = event.value.as_slice();
    Ok(match event.type_url.as_str() {
        "containerd.events.TaskExit" => {
            let exit = wire::TaskExit::decode(value)?;
            let status = convert::exit(exit.pid, exit.exit_status, exit.exited_at);
            Report::Exit { id: exit.container_id, exec: exit.id, exit: status }
        }
        "containerd.events.TaskOOM" => Report::Oom { id: wire::TaskOom::decode(value)?.container_id },
        "tare.shim.v1.LogTrouble" => {
            let trouble = LogTrouble::decode(value)?;
            Report::LogTrouble { id: trouble.container_id, message: trouble.message }
        }
        // The engine publishes these itself, when the call that caused them returns.
        "containerd.events.TaskCreate"
        | "containerd.events.TaskStart"
        | "containerd.events.TaskDelete"
        | "containerd.events.TaskExecAdded"
        | "containerd.events.TaskExecStarted"
        | "containerd.events.TaskPaused"
        | "containerd.events.TaskResumed" => {
            Report::Other(Body::Foreign { topic: String::new(), event: Any::default() })
        }
        _ => Report::Other(Body::Foreign { topic: topic.to_owned(), event }),
    })
}

/// Binds the socket, 0600: only shims of root speak here.
///
/// # Errors
/// What the kernel refuses, with the path.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "bind", "socket", path.display().to_string(), "").with_source(error)
    };
    // The daemon holds the lock of its root: a socket that is there is a dead daemon's.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves the socket until the token is cancelled.
pub(crate) async fn serve(listener: UnixListener, engine: &Engine, stop: CancellationToken) {
    let service = Arc::new(Forward { engine: engine.downgrade() });
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (service, stop) = (service.clone(), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        // A shim that ends closes its connection: no error worth a line.
                        ended = serve_connection(stream, service) => ended.unwrap_or_default(),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept of a shim's connection failed");
                // Out of descriptors: give others time to close some.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}
