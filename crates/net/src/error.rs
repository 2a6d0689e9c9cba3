//! The error of this crate: what was attempted, on what, why it failed, and what may help.

use std::{error::Error as StdError, fmt};
use tare_types::ErrorKind;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed network operation.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    object: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str, object: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, operation, object: object.into(), source: None, hint: None }))
    }

    /// An error with a cause; the kind comes from the errno where the cause has one.
    pub(crate) fn caused(
        operation: &'static str,
        object: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut error = Self::new(kind_of(source.as_ref()), operation, object);
        error.0.source = Some(source);
        error
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What may help, if something is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

fn kind_of(source: &(dyn StdError + 'static)) -> ErrorKind {
    let errno = if let Some(error) = source.downcast_ref::<tare_sys::netlink::Error>() {
        error.errno()
    } else if let Some(errno) = source.downcast_ref::<rustix::io::Errno>() {
        Some(*errno)
    } else {
        source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .map(rustix::io::Errno::from_raw_os_error)
    };
    use rustix::io::Errno;
    match errno {
        Some(Errno::PERM | Errno::ACCESS) => ErrorKind::PermissionDenied,
        Some(Errno::NOENT | Errno::NODEV) => ErrorKind::NotFound,
        Some(Errno::EXIST) => ErrorKind::AlreadyExists,
        Some(Errno::NOSPC | Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::DQUOT) => {
            ErrorKind::ResourceExhausted
        }
        Some(Errno::OPNOTSUPP) => ErrorKind::Unimplemented,
        Some(Errno::AGAIN | Errno::TIMEDOUT) => ErrorKind::DeadlineExceeded,
        Some(Errno::BUSY) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, operation, object, source, hint } = self.0.as_ref();
        write!(f, "{operation} {object}")?;
        match source {
            Some(source) => write!(f, ": {source}")?,
            None => write!(f, ": {kind}")?,
        }
        match hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
