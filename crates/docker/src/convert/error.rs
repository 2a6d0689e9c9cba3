//! The engine's errors as dockerd says them. One direction: the API's clients send no errors.

use crate::error::ApiError;
use http::StatusCode;
use tare_engine::Error;
use tare_types::{ErrorKind, Reference};

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        // 404 of a creation makes the docker command pull the image: what else is missing must not look like it.
        let status = match (error.kind(), error.what()) {
            (ErrorKind::NotFound, "runtime") => StatusCode::BAD_REQUEST,
            (kind, _) => status(kind),
        };
        Self::new(status, message(&error))
    }
}

/// The status of a kind.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidArgument | ErrorKind::OutOfRange => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::FailedPrecondition | ErrorKind::Aborted => StatusCode::CONFLICT,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::DeadlineExceeded
        | ErrorKind::Canceled
        | ErrorKind::ResourceExhausted
        | ErrorKind::DataLoss
        | ErrorKind::Internal
        | ErrorKind::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn message(error: &Error) -> String {
    let name = error.name();
    match (error.kind(), error.what()) {
        (ErrorKind::NotFound, "container") => format!("No such container: {name}"),
        (ErrorKind::NotFound, "image") => no_such_image(name),
        (ErrorKind::NotFound, "exec") => format!("No such exec instance: {name}"),
        (ErrorKind::NotFound, "volume") => format!("get {name}: no such volume"),
        (ErrorKind::NotFound, "network") => format!("network {name} not found"),
        (ErrorKind::PermissionDenied, "network") if error.operation() == "remove" => {
            match error.detail() {
                // The reason of one in use names the network itself.
                detail if detail.starts_with("network ") => {
                    format!("error while removing network: {detail}")
                }
                detail => detail.to_owned(),
            }
        }
        (
            ErrorKind::PermissionDenied | ErrorKind::AlreadyExists | ErrorKind::FailedPrecondition,
            "network",
        ) if !error.detail().is_empty() => error.detail().to_owned(),
        (ErrorKind::AlreadyExists, "container name") => name_in_use(name, error.detail()),
        (ErrorKind::InvalidArgument, "container name") => {
            format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        }
        (ErrorKind::InvalidArgument, "device") if std::error::Error::source(error).is_some() => {
            // The reason below it makes the docker command's exit code.
            let reason = std::error::Error::source(error).map_or_else(String::new, plain_reason);
            format!("{}: {reason}", error.detail())
        }
        (ErrorKind::InvalidArgument, "volume") if !name.is_empty() => {
            format!("create {name}: {}", error.detail())
        }
        (ErrorKind::NotFound, "runtime") => format!("unknown or invalid runtime name: {name}"),
        (ErrorKind::InvalidArgument, "bind mount") => {
            format!("invalid mount config for type \"bind\": {}: {name}", error.detail())
        }
        (ErrorKind::Unimplemented, _) => format!("not implemented: {error}"),
        // What a client gave cannot be used: the reason alone reads best.
        (ErrorKind::InvalidArgument, _) if !error.detail().is_empty() => error.detail().to_owned(),
        _ => error.to_string(),
    }
}

/// An error of the kernel in its own words: `no such file or directory`, without the number that Rust adds.
fn plain_reason(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
}

/// dockerd shows a missing image with its tag, an id as it came.
pub(crate) fn no_such_image(name: &str) -> String {
    let is_id =
        name.starts_with("sha256:") || (name.len() >= 64 && name.bytes().all(|b| b.is_ascii_hexdigit()));
    let shown = match Reference::parse_familiar(name) {
        Ok(reference) if !is_id => reference.familiar(),
        _ => name.to_owned(),
    };
    format!("No such image: {shown}")
}

/// The sentence of a name that is taken, with the container that has it.
fn name_in_use(name: &str, holder: &str) -> String {
    let name = name.trim_start_matches('/');
    format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )
}

/// The error of a start: the docker command derives its exit code 126 or 127 from these words, and 400 from them.
pub(crate) fn start_error(error: Error) -> ApiError {
    let mut text = error.to_string();
    let lower = text.to_ascii_lowercase();
    if lower.contains("is a directory") && !lower.contains("permission denied") {
        // The command looks for the other word.
        text.push_str(": permission denied");
    }
    let of_program = [
        "permission denied",
        "is a directory",
        "executable file not found",
        "no such file or directory",
        "not a directory",
    ]
    .iter()
    .any(|words| lower.contains(words));
    match error.kind() {
        // The container itself, not what it starts.
        ErrorKind::NotFound if error.what() == "container" => error.into(),
        ErrorKind::Unimplemented => error.into(),
        _ if of_program => ApiError::bad_parameter(text),
        kind => ApiError::new(status(kind), text),
    }
}

/// The operation under which the engine tells of an IPC namespace that nobody may join.
const SHARED_IPC: &str = "share IPC of";

/// The error of a container's start: with what failed before it, its network or its task.
pub(crate) fn container_start_error(error: Error) -> ApiError {
    const NETWORK: &str = "failed to set up container networking";
    match (error.kind(), error.what()) {
        // Before anything was made: the sentence stands alone, as in dockerd.
        (ErrorKind::NotFound, "container") => error.into(),
        (kind, "endpoint") => ApiError::new(status(kind), format!("{NETWORK}: {}", error.detail())),
        (ErrorKind::FailedPrecondition, "link") => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.detail())
        }
        (ErrorKind::InvalidArgument, what) if !matches!(what, "task" | "port") => error.into(),
        (ErrorKind::FailedPrecondition, "container") if error.operation() == SHARED_IPC => {
            ApiError::conflict(error.detail())
        }
        (_, "task") if error.operation() == "create" => {
            let shim = format!("failed to create shim task: {}", error.detail());
            start_error(error).map_message(|_| format!("failed to create task for container: {shim}"))
        }
        (ErrorKind::NotFound, "network") => {
            ApiError::from(error).map_message(|text| format!("{NETWORK}: {text}"))
        }
        (_, "port") => {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{NETWORK}: {}", error.detail()))
        }
        _ => start_error(error).map_message(|text| format!("failed to create task for container: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_objects_are_named_as_in_dockerd() {
        let table = [
            ("container", "web", "No such container: web"),
            ("image", "busybox", "No such image: busybox:latest"),
            ("image", "host:5000/a/b:1", "No such image: host:5000/a/b:1"),
            ("image", "sha256:abc", "No such image: sha256:abc"),
            ("exec", "abc", "No such exec instance: abc"),
            ("volume", "data", "get data: no such volume"),
            ("network", "front", "network front not found"),
        ];
        for (what, name, expected) in table {
            let error = ApiError::from(Error::not_found("inspect", what, name));
            assert_eq!((error.status().as_u16(), error.message()), (404, expected));
        }
    }

    #[test]
    fn a_missing_runtime_does_not_look_like_a_missing_image() {
        let error = ApiError::from(Error::not_found("use", "runtime", "fast"));
        assert_eq!(
            (error.status().as_u16(), error.message()),
            (400, "unknown or invalid runtime name: fast")
        );
    }

    #[test]
    fn errors_before_the_task_stand_alone() {
        let user = Error::new(ErrorKind::InvalidArgument, "use", "user", "x", "unable to find user x");
        assert_eq!(container_start_error(user).message(), "unable to find user x");
        let device =
            Error::new(ErrorKind::InvalidArgument, "use", "device", "/dev/x", "error gathering device")
                .with_source(std::io::Error::from_raw_os_error(2));
        assert_eq!(ApiError::from(device).message(), "error gathering device: no such file or directory");
        let port = Error::new(ErrorKind::InvalidArgument, "publish", "port", "", "cannot assign");
        assert_eq!(
            container_start_error(port).message(),
            "failed to set up container networking: cannot assign"
        );
        let detail = "OCI runtime create failed: exec: \"x\": executable file not found in $PATH";
        let task = Error::new(ErrorKind::NotFound, "create", "task", "abc", detail);
        let error = container_start_error(task);
        assert_eq!(error.status().as_u16(), 400);
        assert_eq!(
            error.message(),
            format!("failed to create task for container: failed to create shim task: {detail}")
        );
    }

    #[test]
    fn a_taken_name_names_its_holder() {
        let error = Error::new(ErrorKind::AlreadyExists, "create", "container name", "web", "abc");
        let error = ApiError::from(error);
        assert_eq!(error.status(), StatusCode::CONFLICT);
        assert_eq!(
            error.message(),
            "Conflict. The container name \"/web\" is already in use by container \"abc\". You have to remove (or rename) that container to be able to reuse that name."
        );
    }

    #[test]
    fn a_program_that_cannot_start_is_a_bad_request() {
        let error = |detail: &str| {
            start_error(Error::new(ErrorKind::Internal, "start", "container", "abc", detail))
                .status()
                .as_u16()
        };
        assert_eq!(error("exec: \"x\": executable file not found in $PATH"), 400);
        assert_eq!(error("exec: \"/x\": permission denied"), 400);
        assert_eq!(error("the shim did not answer"), 500);
    }
}
