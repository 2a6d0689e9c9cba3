//! Start, stop and all between.

use crate::body::{self, Handled};
use crate::convert::error::container_start_error;
use crate::door::Docker;
use crate::error::ApiError;
use crate::query::quote;
use crate::request::Request;
use crate::wire::container::{WaitError, WaitResponse};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tare_engine::containers::{ExitWaiter, StopOptions, WaitCondition};
use tare_engine::state::{ContainerView, Status};
use tare_types::ErrorKind;

/// `POST /containers/{name}/start`.
pub(crate) async fn start(door: &Docker, request: &Request, name: &str) -> Handled {
    let length = request.header("content-length").and_then(|length| length.parse::<u64>().ok());
    // An empty document is at most seven bytes; more was a configuration, before API 1.24.
    if request.headers.contains_key(http::header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length > 7)
    {
        return Err(ApiError::bad_parameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if request.query.non_empty("checkpoint").is_some() {
        return Err(ApiError::bad_parameter("checkpoint is only supported in experimental mode"));
    }
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    match view.state.status {
        Status::Paused => {
            return Err(ApiError::conflict("cannot start a paused container, try unpause instead"));
        }
        Status::Removing | Status::Dead => {
            return Err(ApiError::conflict("container is marked for removal and cannot be started"));
        }
        Status::Created | Status::Running | Status::Restarting | Status::Exited => {}
    }
    match containers.start(door.namespace(), view.record.id.as_str()).await {
        Ok(true) => body::no_content(),
        Ok(false) => Err(ApiError::not_modified()),
        Err(error) => Err(container_start_error(error)),
    }
}

fn stop_options(request: &Request) -> Result<StopOptions, ApiError> {
    Ok(StopOptions {
        timeout: request.query.integer("t")?,
        signal: request
            .query
            .non_empty("signal")
            .filter(|_| request.version.at_least(42))
            .map(ToOwned::to_owned),
    })
}

/// `POST /containers/{name}/stop`.
pub(crate) async fn stop(door: &Docker, request: &Request, name: &str) -> Handled {
    let options = stop_options(request)?;
    match door.engine().containers().stop(door.namespace(), name, options).await {
        Ok(true) => body::no_content(),
        Ok(false) => Err(ApiError::not_modified()),
        Err(error) => Err(wrap(error, |text| format!("cannot stop container: {name}: {text}"))),
    }
}

/// `POST /containers/{name}/restart`.
pub(crate) async fn restart(door: &Docker, request: &Request, name: &str) -> Handled {
    let options = stop_options(request)?;
    let restarted = door.engine().containers().restart(door.namespace(), name, options).await;
    restarted.map_err(|error| {
        if error.kind() == ErrorKind::NotFound && error.what() == "container" {
            return error.into();
        }
        container_start_error(error).map_message(|text| format!("Cannot restart container {name}: {text}"))
    })?;
    body::no_content()
}

/// A missing container is said plainly, all else with what was tried.
fn wrap(error: tare_engine::Error, words: impl FnOnce(String) -> String) -> ApiError {
    let plain = error.kind() == ErrorKind::NotFound && error.what() == "container";
    let error = ApiError::from(error);
    if plain { error } else { error.map_message(words) }
}

/// `POST /containers/{name}/kill`.
pub(crate) async fn kill(door: &Docker, request: &Request, name: &str) -> Handled {
    let signal = request.query.non_empty("signal").unwrap_or("SIGKILL");
    let containers = door.engine().containers();
    let words = |text: String| format!("cannot kill container: {name}: {text}");
    let view = containers
        .get(door.namespace(), name)
        .await
        .map_err(|error| ApiError::from(error).map_message(words))?;
    let killed = containers.kill(door.namespace(), view.record.id.as_str(), signal).await;
    killed.map_err(|error| match error.kind() {
        ErrorKind::FailedPrecondition => not_running(&view).map_message(words),
        ErrorKind::InvalidArgument => {
            ApiError::bad_parameter(format!("Invalid signal: {signal}")).map_message(words)
        }
        _ => ApiError::from(error).map_message(words),
    })?;
    body::no_content()
}

/// 409 for a verb that needs a running container.
pub(crate) fn not_running(view: &ContainerView) -> ApiError {
    ApiError::conflict(format!("container {} is not running", view.record.id))
}

/// `POST /containers/{name}/pause`.
pub(crate) async fn pause(door: &Docker, name: &str) -> Handled {
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let id = view.record.id.as_str();
    match view.state.status {
        Status::Running => {}
        Status::Paused => return Err(ApiError::conflict(format!("Container {id} is already paused"))),
        Status::Restarting => {
            let message = format!("Container {id} is restarting, wait until the container is running");
            return Err(ApiError::conflict(message));
        }
        Status::Created | Status::Removing | Status::Exited | Status::Dead => return Err(not_running(&view)),
    }
    let paused = containers.pause(door.namespace(), id).await;
    paused.map_err(|error| wrap(error, |text| format!("cannot pause container {id}: {text}")))?;
    body::no_content()
}

/// `POST /containers/{name}/unpause`.
pub(crate) async fn unpause(door: &Docker, name: &str) -> Handled {
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let id = view.record.id.as_str();
    if view.state.status != Status::Paused {
        // dockerd knows no kind for this one.
        return Err(ApiError::internal(format!("Container {id} is not paused")));
    }
    let thawed = containers.unpause(door.namespace(), id).await;
    thawed.map_err(|error| wrap(error, |text| format!("Cannot unpause container {id}: {text}")))?;
    body::no_content()
}

/// `POST /containers/{name}/resize`.
pub(crate) async fn resize(door: &Docker, request: &Request, name: &str) -> Handled {
    let height = request.query.dimension("h", "height")?;
    let width = request.query.dimension("w", "width")?;
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    if !view.state.status.is_running() {
        return Err(not_running(&view));
    }
    containers.resize(door.namespace(), view.record.id.as_str(), height, width).await?;
    Ok(body::status(StatusCode::OK))
}

/// `POST /containers/{name}/wait`. The head goes out when the wait is registered: the client starts the container
/// after it.
pub(crate) async fn wait(door: &Docker, request: &Request, name: &str) -> Handled {
    let early_head = request.version.at_least(30);
    let condition = match request.query.get("condition") {
        _ if !early_head => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(ApiError::bad_parameter(format!("invalid condition: {}", quote(other)))),
    };
    let waiter = door.engine().containers().wait(door.namespace(), name, condition).await?;
    if !early_head {
        return body::ok(&exit_of(waiter, condition).await);
    }
    let chunks = stream::once(async move {
        let mut line =
            serde_json::to_vec(&exit_of(waiter, condition).await).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok(Bytes::from(line))
    });
    Ok(body::stream("application/json", chunks))
}

async fn exit_of(waiter: ExitWaiter, condition: WaitCondition) -> WaitResponse {
    match waiter.wait().await {
        Ok(exit) => WaitResponse {
            // A container that is gone is gone without an error, however its last start went.
            error: exit
                .error
                .filter(|_| condition != WaitCondition::Removed)
                .map(|message| WaitError { message }),
            status_code: i64::from(exit.code),
        },
        Err(error) => WaitResponse { error: Some(WaitError { message: error.to_string() }), status_code: -1 },
    }
}
