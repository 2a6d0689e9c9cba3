//! Error kinds on the wire: the one table `ErrorKind` ⇄ status code of gRPC and ttrpc (they share the numbers of
//! google.rpc.Code), and the status that a ttrpc call fails with.

use std::fmt;
use tare_types::ErrorKind;

/// The number of success.
pub const OK: i32 = 0;

const TABLE: [(ErrorKind, i32); 16] = [
    (ErrorKind::Canceled, 1),
    (ErrorKind::Unknown, 2),
    (ErrorKind::InvalidArgument, 3),
    (ErrorKind::DeadlineExceeded, 4),
    (ErrorKind::NotFound, 5),
    (ErrorKind::AlreadyExists, 6),
    (ErrorKind::PermissionDenied, 7),
    (ErrorKind::ResourceExhausted, 8),
    (ErrorKind::FailedPrecondition, 9),
    (ErrorKind::Aborted, 10),
    (ErrorKind::OutOfRange, 11),
    (ErrorKind::Unimplemented, 12),
    (ErrorKind::Internal, 13),
    (ErrorKind::Unavailable, 14),
    (ErrorKind::DataLoss, 15),
    (ErrorKind::Unauthenticated, 16),
];

/// The status code of a kind.
pub fn code_of(kind: ErrorKind) -> i32 {
    TABLE.iter().find(|row| row.0 == kind).map_or(2, |row| row.1)
}

/// The kind of a status code; unknown numbers are [`ErrorKind::Unknown`], as gRPC asks for.
pub fn kind_of(code: i32) -> ErrorKind {
    TABLE.iter().find(|row| row.1 == code).map_or(ErrorKind::Unknown, |row| row.0)
}

/// Why a ttrpc call failed: a kind and a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The kind; travels as its code.
    pub kind: ErrorKind,
    /// The message; lower case, object and step first.
    pub message: String,
}

impl Status {
    /// A status from its parts.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the interface promises and nothing here does yet; names itself.
    pub fn unimplemented(what: &str) -> Self {
        Self::new(ErrorKind::Unimplemented, format!("{what} is not implemented"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { self.kind.fmt(f) } else { f.write_str(&self.message) }
    }
}

impl std::error::Error for Status {}

impl From<Status> for crate::google::rpc::Status {
    fn from(status: Status) -> Self {
        Self { code: code_of(status.kind), message: status.message, details: Vec::new() }
    }
}

impl From<crate::google::rpc::Status> for Status {
    fn from(wire: crate::google::rpc::Status) -> Self {
        Self { kind: kind_of(wire.code), message: wire.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_kind_and_back() {
        for code in 1..=16 {
            assert_eq!(code_of(kind_of(code)), code);
        }
        assert_eq!(kind_of(17), ErrorKind::Unknown);
        assert_eq!(kind_of(-1), ErrorKind::Unknown);
    }

    #[test]
    fn status_survives_the_wire() {
        let status = Status::new(ErrorKind::NotFound, "task \"a\" does not exist");
        let wire = crate::google::rpc::Status::from(status.clone());
        assert_eq!(wire.code, 5);
        assert_eq!(Status::from(wire), status);
    }
}
