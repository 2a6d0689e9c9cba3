//! The error of the crate: what was asked of whom, what came back, and the kind for every door.

use http::StatusCode;
use std::{error::Error as StdError, fmt};
use tare_types::ErrorKind;

/// A failed exchange with a registry.
///
/// The message names the operation, host and repository, the status and the registry's own error code.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    object: String,
    detail: String,
    status: Option<u16>,
    code: Option<String>,
    notes: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of `operation` on `object` (host, repository and what in it).
    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        object: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            object: object.into(),
            detail: detail.into(),
            status: None,
            code: None,
            notes: Vec::new(),
            source: None,
        }))
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_status(mut self, status: StatusCode, code: Option<String>) -> Self {
        self.0.status = Some(status.as_u16());
        self.0.code = code;
        self
    }

    /// Adds what else was tried and failed, such as a mirror.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// The kind, independent of protocol.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The registry's own error code, such as `MANIFEST_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The message without operation and object.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.operation, self.0.object, self.0.detail)?;
        for note in &self.0.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The messages of an error and its causes, each once: hyper hides the reason in the last one.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        next = error.source();
        // hyper's own frame says nothing that the cause does not say better.
        if text.starts_with("client error") && next.is_some() {
            continue;
        }
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}
