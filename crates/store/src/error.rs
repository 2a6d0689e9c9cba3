//! The one error type of the crate: a kind, what was attempted, on which object, and why it failed.

use rustix::io::Errno;
use std::fmt;
use tare_types::{ErrorKind, InvalidValue};

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed operation of the store.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    object: String,
    detail: String,
    source: Option<Source>,
}

impl Error {
    /// An error without a source: `operation object: detail`.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        object: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            object: object.to_string(),
            detail: detail.into(),
            source: None,
        }))
    }

    /// The object does not exist.
    pub fn not_found(operation: &'static str, object: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, operation, object, "not found")
    }

    /// The object exists already.
    pub fn already_exists(operation: &'static str, object: impl fmt::Display) -> Self {
        Self::new(ErrorKind::AlreadyExists, operation, object, "already exists")
    }

    /// The object is in the wrong state.
    pub fn precondition(
        operation: &'static str,
        object: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::FailedPrecondition, operation, object, detail)
    }

    /// The value can never work.
    pub fn invalid(operation: &'static str, object: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, operation, object, detail)
    }

    /// Promised by an interface and not done here.
    pub fn unimplemented(operation: &'static str, object: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unimplemented, operation, object, "not implemented")
    }

    /// Stored or received bytes are not what they should be.
    pub fn data_loss(operation: &'static str, object: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::DataLoss, operation, object, detail)
    }

    /// A failed system call; the kind follows from the number.
    pub fn io(operation: &'static str, object: impl fmt::Display, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let (kind, hint) = classify(&source);
        Self(Box::new(Inner {
            kind,
            operation,
            object: object.to_string(),
            detail: format!("{source}{hint}"),
            source: Some(Box::new(source)),
        }))
    }

    /// An error of another library.
    pub fn other(
        kind: ErrorKind,
        operation: &'static str,
        object: impl fmt::Display,
        source: impl Into<Source>,
    ) -> Self {
        let source = source.into();
        let detail = source.to_string();
        Self(Box::new(Inner { kind, operation, object: object.to_string(), detail, source: Some(source) }))
    }

    /// The kind, in the vocabulary of all doors.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was attempted.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// On what.
    pub fn object(&self) -> &str {
        &self.0.object
    }

    /// The same error with its object named.
    pub(crate) fn with_object(mut self, object: impl fmt::Display) -> Self {
        self.0.object = object.to_string();
        self
    }

    /// The same error with a clean-up failure attached to its text.
    pub(crate) fn with_note(mut self, note: impl fmt::Display) -> Self {
        self.0.detail = format!("{} ({note})", self.0.detail);
        self
    }
}

/// Kind and hint for an I/O error.
fn classify(error: &std::io::Error) -> (ErrorKind, &'static str) {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOSPC) => (ErrorKind::ResourceExhausted, "; free space on this file system"),
        Some(Errno::DQUOT) => (ErrorKind::ResourceExhausted, "; the disk quota is used up"),
        Some(Errno::MFILE | Errno::NFILE) => {
            (ErrorKind::ResourceExhausted, "; raise the limit of open files")
        }
        Some(Errno::NOMEM) => (ErrorKind::ResourceExhausted, ""),
        Some(Errno::PERM | Errno::ACCESS | Errno::ROFS) => (ErrorKind::PermissionDenied, ""),
        Some(Errno::IO) => (ErrorKind::DataLoss, "; the device reports a fault"),
        _ if error.kind() == std::io::ErrorKind::StorageFull => (ErrorKind::ResourceExhausted, ""),
        _ => (ErrorKind::Internal, ""),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, object, detail, .. } = &*self.0;
        match object.is_empty() {
            true => write!(f, "{operation}: {detail}"),
            false => write!(f, "{operation} {object}: {detail}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{}]", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<InvalidValue> for Error {
    fn from(value: InvalidValue) -> Self {
        Self::other(ErrorKind::InvalidArgument, "check", "", value)
    }
}
