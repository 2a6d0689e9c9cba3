//! Errors as the Docker API answers them: a status and `{"message": …}`.
//!
//! The messages are part of the interface: the docker command prints them, derives exit codes from them
//! and scripts match them. They are therefore dockerd's, with its capitals and stops.

use http::StatusCode;
use std::fmt;

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    plain_text: bool,
}

impl ApiError {
    /// An answer of any status.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), plain_text: false }
    }

    /// 400: the request can never work.
    pub(crate) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: the object does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: the state of the object forbids it.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 304: it is so already. HTTP sends no body with it.
    pub(crate) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "")
    }

    /// 500: it failed.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501: the interface promises `what`, and it is not done here.
    pub(crate) fn not_implemented(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("not implemented: {what}"))
    }

    /// 404 for a path or a method that the interface does not have.
    pub(crate) fn no_such_page() -> Self {
        Self::not_found("page not found")
    }

    /// The message goes out as plain text.
    pub(crate) fn plain_text(self) -> Self {
        Self { plain_text: true, ..self }
    }

    /// The same error, said with more words.
    pub(crate) fn map_message(self, map: impl FnOnce(String) -> String) -> Self {
        Self { message: map(self.message), ..self }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The message of the answer.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the message goes out as plain text.
    pub(crate) fn is_plain_text(&self) -> bool {
        self.plain_text
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
