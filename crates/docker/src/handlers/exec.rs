//! Further processes in containers.

use crate::body::{self, Handled};
use crate::convert::exec as convert;
use crate::detach::{Detacher, parse_keys};
use crate::door::Docker;
use crate::error::ApiError;
use crate::hijack::{self, Framing, Session};
use crate::request::Request;
use crate::wire::exec::{ExecCreate, ExecStart};
use http::StatusCode;
use tare_engine::exec::ExecView;
use tare_engine::state::Status;
use tare_types::ErrorKind;

/// `POST /containers/{name}/exec`.
pub(crate) async fn create(door: &Docker, mut request: Request, name: &str) -> Handled {
    let mut wire: ExecCreate = request.json().await?;
    if !request.version.at_least(42) {
        wire.console_size = None;
    }
    let exec = convert::to_request(wire)?;
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let id = view.record.id.as_str();
    match view.state.status {
        Status::Running => {}
        Status::Paused => {
            let message = format!("Container {name} is paused, unpause the container before exec");
            return Err(ApiError::conflict(message));
        }
        Status::Restarting => {
            let message = format!("Container {id} is restarting, wait until the container is running");
            return Err(ApiError::conflict(message));
        }
        Status::Created | Status::Removing | Status::Exited | Status::Dead => {
            return Err(ApiError::conflict(format!("container {id} is not running")));
        }
    }
    let exec = containers.exec_create(door.namespace(), id, exec).await?;
    body::json(StatusCode::CREATED, &serde_json::json!({ "Id": exec.as_str() }))
}

/// `GET /exec/{id}/json`.
pub(crate) async fn inspect(door: &Docker, id: &str) -> Handled {
    let view = door.engine().containers().exec_inspect(id).await?;
    body::ok(&convert::to_inspect(&view))
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn resize(door: &Docker, request: &Request, id: &str) -> Handled {
    let height = request.query.dimension("h", "height")?;
    let width = request.query.dimension("w", "width")?;
    door.engine().containers().exec_resize(id, height, width).await?;
    Ok(body::status(StatusCode::OK))
}

/// `POST /exec/{id}/start`.
pub(crate) async fn start(door: &Docker, mut request: Request, id: &str) -> Handled {
    let options: ExecStart = request.json().await?;
    let containers = door.engine().containers();
    let view = containers.exec_inspect(id).await?;
    if view.exit_code.is_some() || view.running {
        let why = if view.running { "is already running" } else { "has already run" };
        return Err(ApiError::conflict(format!("exec command {id} {why}")));
    }
    let console_size =
        convert::console_size(options.console_size).filter(|_| options.tty && request.version.at_least(42));
    if options.detach {
        containers.exec_start(id, true, console_size).await.map_err(start_error)?;
        return Ok(body::status(StatusCode::OK));
    }
    let framing = if options.tty { Framing::Raw } else { Framing::Multiplexed };
    if !hijack::wants_upgrade(&request) {
        let attachment = containers.exec_start(id, false, console_size).await.map_err(start_error)?;
        let Some(attachment) = attachment else { return Ok(body::status(StatusCode::OK)) };
        let session = Session { attachment, framing, close_stdin: true, detacher: None };
        return hijack::without_upgrade(request.body, session);
    }
    let reply = hijack::upgraded(framing.content_type(&request));
    let door_of_task = door.clone();
    door.tasks().spawn(async move {
        match hijack::take(request.upgrade).await {
            Ok(connection) => run(&door_of_task, connection, &view, framing, console_size).await,
            Err(error) => tracing::debug!(%error, "a client asked for an exec and went away"),
        }
    });
    Ok(reply)
}

/// The connection is the client's stream already: an error is said in it, and the exit code tells the rest.
async fn run(
    door: &Docker,
    connection: hijack::Connection,
    view: &ExecView,
    framing: Framing,
    console_size: Option<(u16, u16)>,
) {
    let id = view.id.as_str();
    match door.engine().containers().exec_start(id, false, console_size).await {
        Ok(Some(attachment)) => {
            let tty = attachment.tty;
            let keys = parse_keys(&view.request.detach_keys).unwrap_or_default();
            let detacher = (tty && !keys.is_empty()).then(|| Detacher::new(keys));
            connection.run(Session { attachment, framing, close_stdin: !tty, detacher }).await;
        }
        Ok(None) => drop(connection),
        Err(error) => {
            let text = format!("{}\r\n", start_error(error).message());
            // The client may be gone; the exit code is kept all the same.
            let _ = connection.say(framing, text).await;
        }
    }
}

/// dockerd's words for a process that cannot start.
fn start_error(error: tare_engine::Error) -> ApiError {
    match (error.kind(), error.what()) {
        (ErrorKind::NotFound, "exec" | "container") => error.into(),
        (ErrorKind::FailedPrecondition | ErrorKind::Unimplemented, _) => error.into(),
        (ErrorKind::InvalidArgument, "user" | "group") => error.into(),
        _ => crate::convert::error::start_error(error).map_message(|text| {
            match text.find("OCI runtime exec failed") {
                // The shim's own sentence says it better than the way it came.
                Some(at) => text[at..].to_owned(),
                None => format!("OCI runtime exec failed: exec failed: {text}"),
            }
        }),
    }
}
