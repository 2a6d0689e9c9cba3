//! The kinds of error that every door of the project can express, and the one for unusable values.

use alloc::string::String;
use core::fmt;

/// What kind of failure an error is, independent of protocol.
///
/// The vocabulary is that of containerd's errdefs, so that a kind survives gRPC, ttrpc and HTTP unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller gave a value that can never work.
    InvalidArgument,
    /// The object does not exist.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The object is in a state in which the operation is not possible.
    FailedPrecondition,
    /// A required service or peer does not answer now; trying again may help.
    Unavailable,
    /// The operation is promised by the interface and not done here.
    Unimplemented,
    /// The operation was given up because of a conflict; trying again may help.
    Aborted,
    /// An offset or a size is outside the object.
    OutOfRange,
    /// A named wait ran out of its time.
    DeadlineExceeded,
    /// The caller went away or asked to stop.
    Canceled,
    /// The caller or this process may not do that.
    PermissionDenied,
    /// A limit was reached: bytes, entries, file descriptors, disk.
    ResourceExhausted,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// Stored or received bytes are not what they should be.
    DataLoss,
    /// A defect or an unexpected answer of the kernel.
    Internal,
    /// Nothing better is known.
    Unknown,
}

impl ErrorKind {
    /// The name in the vocabulary of errdefs, lower case with spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid argument",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::FailedPrecondition => "failed precondition",
            Self::Unavailable => "unavailable",
            Self::Unimplemented => "not implemented",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out of range",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Canceled => "canceled",
            Self::PermissionDenied => "permission denied",
            Self::ResourceExhausted => "resource exhausted",
            Self::Unauthenticated => "unauthenticated",
            Self::DataLoss => "data loss",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not a value of the type it was parsed as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    /// The type, as a person says it: "digest", "image reference", "container id".
    pub what: &'static str,
    /// The text that was given.
    pub value: String,
    /// Why it cannot be used.
    pub reason: &'static str,
}

impl InvalidValue {
    pub(crate) fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        // A hostile value may be huge; the message shows its beginning.
        Self { what, value: value.chars().take(256).collect(), reason }
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} {:?}: {}", self.what, self.value, self.reason)
    }
}

impl core::error::Error for InvalidValue {}
