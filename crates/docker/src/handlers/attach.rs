//! Attached clients.

use crate::body::Handled;
use crate::detach::{Detacher, parse_keys};
use crate::door::Docker;
use crate::error::ApiError;
use crate::hijack::{self, Framing, Session};
use crate::request::Request;
use tare_engine::attach::AttachOptions;
use tare_engine::state::Status;

/// `POST /containers/{name}/attach`.
pub(crate) async fn attach(door: &Docker, request: Request, name: &str) -> Handled {
    match open(door, &request, name).await {
        Ok(session) => carry(door, request, session),
        Err(error) if hijack::wants_upgrade(&request) => Ok(hijack::refused(&error)),
        Err(error) => Err(error),
    }
}

pub(crate) async fn open(door: &Docker, request: &Request, name: &str) -> Result<Session, ApiError> {
    let keys = parse_keys(request.query.get("detachKeys"))?;
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let refuse = |why: &str| Err(ApiError::conflict(format!("container {name} is {why}")));
    match view.state.status {
        Status::Paused => return refuse("paused, unpause the container before attach"),
        Status::Restarting => return refuse("restarting, wait until the container is running"),
        Status::Created | Status::Running | Status::Removing | Status::Exited | Status::Dead => {}
    }
    let query = &request.query;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
    };
    let attachment = containers.attach(door.namespace(), view.record.id.as_str(), options).await?;
    let stdin_once = view.record.engine.as_ref().is_some_and(|fields| fields.process.stdin_once);
    let tty = attachment.tty;
    Ok(Session {
        framing: if tty { Framing::Raw } else { Framing::Multiplexed },
        close_stdin: stdin_once && !tty,
        detacher: (tty && attachment.stdin.is_some()).then(|| Detacher::new(keys)),
        attachment,
    })
}

fn carry(door: &Docker, request: Request, session: Session) -> Handled {
    if !hijack::wants_upgrade(&request) {
        return hijack::without_upgrade(request.body, session);
    }
    let reply = hijack::upgraded(session.framing.content_type(&request));
    door.tasks().spawn(async move {
        match hijack::take(request.upgrade).await {
            Ok(connection) => {
                connection.run(session).await;
            }
            Err(error) => tracing::debug!(%error, "a client asked to attach and went away"),
        }
    });
    Ok(reply)
}
