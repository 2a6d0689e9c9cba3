//! The one error of this crate.

use alloc::{
    boxed::Box,
    string::{String, ToString},
};
use core::fmt;
use tare_types::ErrorKind;

/// A result of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// What went wrong: a kind, what was attempted, on what, and the cause.
///
/// The text is `operation: object: cause`, each part left out where there is none. Texts that callers
/// such as dockerd search for ("executable file not found in $PATH", "container does not exist") are
/// runc's.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    object: String,
    detail: String,
    cause: Option<tare_sys::Error>,
}

impl Error {
    /// An error with a text of its own as the cause.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        object: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner { kind, operation, object: object.into(), detail: detail.into(), cause: None }))
    }

    /// A value of the configuration or of the caller that can never work.
    pub fn invalid(object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, "", object, detail)
    }

    /// Something the interface promises and this build does not do.
    pub fn unimplemented(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unimplemented, "", what, "not implemented")
    }

    /// A system call that failed while `operation` was done.
    pub fn system(operation: &'static str, cause: tare_sys::Error) -> Self {
        let kind = kind_of(cause.errno());
        Self(Box::new(Inner {
            kind,
            operation,
            object: String::new(),
            detail: String::new(),
            cause: Some(cause),
        }))
    }

    /// The kind, for the wire.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error with the object named.
    #[must_use]
    pub fn with_object(mut self, object: impl Into<String>) -> Self {
        self.0.object = object.into();
        self
    }

    /// The kernel's answer, if a system call was the cause.
    pub fn errno(&self) -> Option<tare_sys::Errno> {
        self.0.cause.as_ref().map(tare_sys::Error::errno)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.0.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        let parts = [self.0.operation, &self.0.object, &self.0.detail, &cause];
        let mut first = true;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if !first {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
            first = false;
        }
        Ok(())
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| cause as &(dyn core::error::Error + 'static))
    }
}

/// Names the operation during which a system call failed.
pub trait During<T> {
    /// Names the operation.
    ///
    /// # Errors
    /// The same failure with the operation in front.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for tare_sys::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|cause| Error::system(operation, cause))
    }
}

fn kind_of(errno: tare_sys::Errno) -> ErrorKind {
    use tare_sys::Errno;
    match errno {
        Errno::NOENT | Errno::SRCH | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::PERM | Errno::ACCESS | Errno::ROFS => ErrorKind::PermissionDenied,
        Errno::INVAL | Errno::RANGE | Errno::NAMETOOLONG | Errno::LOOP => ErrorKind::InvalidArgument,
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE | Errno::DQUOT | Errno::AGAIN => {
            ErrorKind::ResourceExhausted
        }
        Errno::BUSY | Errno::TXTBSY => ErrorKind::FailedPrecondition,
        Errno::TIMEDOUT => ErrorKind::DeadlineExceeded,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unimplemented,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_sys::Errno;

    #[test]
    fn text_and_kind() {
        let cause = tare_sys::Error::new("open", "/a", Errno::NOENT);
        let error = Error::system("read the configuration", cause);
        assert_eq!(error.to_string(), "read the configuration: open /a: no such file or directory");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.errno(), Some(Errno::NOENT));
        assert_eq!(Error::invalid("id", "it is empty").to_string(), "id: it is empty");
    }
}
