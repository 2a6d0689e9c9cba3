//! The one error of this crate.

use std::fmt;
use tare_types::{ErrorKind, InvalidValue};

/// The result of every operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was attempted, on which object, what kind of failure, and why.
///
/// Text form: `operation what name: detail: source`, e.g.
/// `start container 3f…: shim call Create: no such file or directory`. Doors that must speak a peer's sentences
/// (Docker's `No such container: x`) build them from [`Error::kind`], [`Error::what`] and [`Error::name`].
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    what: &'static str,
    name: String,
    detail: String,
    hint: Option<&'static str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of an operation (`"start"`) on an object (`"container"`, its id or name).
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        what: &'static str,
        name: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            what,
            name: name.into(),
            detail: detail.into(),
            hint: None,
            source: None,
        }))
    }

    /// The object does not exist.
    pub fn not_found(operation: &'static str, what: &'static str, name: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, operation, what, name, "no such object")
    }

    /// The interface promises it; this build does not do it yet.
    pub fn unimplemented(operation: &'static str, what: &'static str) -> Self {
        Self::new(ErrorKind::Unimplemented, operation, what, "", "not implemented")
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with what a person can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    /// The kind, for protocols.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The verb: `create`, `start`, `pull`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What kind of object: `container`, `image`, `exec`, `volume`, `network`, `task`, `container name`.
    pub fn what(&self) -> &'static str {
        self.0.what
    }

    /// Which object, as the caller named it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Why, without operation and object.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{} {}", inner.operation, inner.what)?;
        if !inner.name.is_empty() {
            write!(f, " {}", inner.name)?;
        }
        if !inner.detail.is_empty() {
            write!(f, ": {}", inner.detail)?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = inner.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<InvalidValue> for Error {
    fn from(invalid: InvalidValue) -> Self {
        Self::new(ErrorKind::InvalidArgument, "read", invalid.what, "", invalid.to_string())
    }
}
