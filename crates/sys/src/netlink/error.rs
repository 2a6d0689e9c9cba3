//! A netlink request that failed: which message of the batch, with what errno.

use super::parse::Malformed;
use alloc::string::String;
use core::fmt;
use rustix::io::Errno;

/// Why a netlink exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A system call on the socket failed.
    Call {
        /// The name of the call.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// The kernel refused a message of the batch.
    Refused {
        /// What the message was to do, as its writer called it.
        what: &'static str,
        /// Its place in the batch, from 0.
        index: usize,
        /// What the kernel said.
        errno: Errno,
        /// The kernel's own words, where it has some (`NLMSGERR_ATTR_MSG`).
        text: Option<String>,
    },
    /// The reply is not what the protocol says.
    Malformed(Malformed),
    /// The kernel did not confirm the batch.
    Unconfirmed,
    /// The listing changed each time it was read.
    Interrupted,
}

impl Error {
    /// The errno, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. } | Self::Refused { errno, .. } => Some(*errno),
            Self::Malformed(_) | Self::Unconfirmed | Self::Interrupted => None,
        }
    }

    /// Whether the kernel refused with this errno.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { call, errno } => write!(f, "netlink {call}: {errno}"),
            Self::Refused { what, index, errno, text } => {
                write!(f, "netlink {what} (message {index}): {errno}")?;
                match text {
                    Some(text) => write!(f, ", the kernel says: {text}"),
                    None => Ok(()),
                }
            }
            Self::Malformed(malformed) => write!(f, "netlink reply: {malformed}"),
            Self::Unconfirmed => f.write_str("netlink: the kernel did not confirm the request"),
            Self::Interrupted => f.write_str("netlink: the list changed each time it was read"),
        }
    }
}

impl core::error::Error for Error {}
