//! The one error of this crate: which call, on what, and the kernel's answer.

use alloc::{boxed::Box, string::String};
use core::fmt;
use rustix::io::Errno;

/// A result whose error names the system call.
pub type Result<T> = core::result::Result<T, Error>;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    call: &'static str,
    object: String,
    errno: Errno,
}

impl Error {
    /// An error of `call` on `object` (a path, a name, a descriptor's meaning).
    pub fn new(call: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self(Box::new(Inner { call, object: object.into(), errno }))
    }

    /// The system call, as its manual page is named.
    pub fn call(&self) -> &'static str {
        self.0.call
    }

    /// What the call was made on.
    pub fn object(&self) -> &str {
        &self.0.object
    }

    /// The kernel's answer.
    pub fn errno(&self) -> Errno {
        self.0.errno
    }

    /// Whether the object was not there (ENOENT).
    pub fn is_not_found(&self) -> bool {
        self.0.errno == Errno::NOENT
    }
}

impl fmt::Display for Error {
    /// `open /a/b: no such file or directory`, the form of Go's `PathError`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.call)?;
        if !self.0.object.is_empty() {
            write!(f, " {}", self.0.object)?;
        }
        write!(f, ": {}", crate::errno::describe(self.0.errno))
    }
}

impl core::error::Error for Error {}

/// Turns a bare errno into an [`Error`] that names call and object.
pub trait Context<T> {
    /// Names the call and what it was made on. `object` is only built when the call failed.
    ///
    /// # Errors
    /// The same failure, named.
    fn on<S: Into<String>>(self, call: &'static str, object: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for core::result::Result<T, Errno> {
    fn on<S: Into<String>>(self, call: &'static str, object: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::new(call, object(), errno))
    }
}
