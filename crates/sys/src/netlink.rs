//! Netlink: messages built and read with checked lengths, sent in batches over one socket.
//!
//! [`Batch`] writes requests, [`Socket`] sends a batch in one system call and reads the answer, [`Messages`] and
//! [`Attributes`] read replies. [`route`], [`nftables`] and
//! [`conntrack`] name the messages that are used.
//! What is here is the transport of netlink(7) and its framing; what a network looks like is the caller's matter.

mod batch;
pub mod conntrack;
mod error;
pub mod nftables;
mod parse;
pub mod route;
mod socket;

pub use batch::{Batch, Writer};
pub use error::Error;
pub use parse::{Attribute, Attributes, Malformed, Message, Messages};
pub use socket::{Family, Socket};

/// The flags of a request and of a reply (`NLM_F_*` of linux/netlink.h).
pub mod flags {
    /// Every request has it.
    pub const REQUEST: u16 = 0x1;
    /// The kernel confirms success, not only failure.
    pub const ACK: u16 = 0x4;
    /// The listing changed while it was read.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// A listing: `NLM_F_ROOT | NLM_F_MATCH`.
    pub const DUMP: u16 = 0x300;
    /// Replace what exists.
    pub const REPLACE: u16 = 0x100;
    /// Fail when it exists.
    pub const EXCLUSIVE: u16 = 0x200;
    /// Create when it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Append to a list.
    pub const APPEND: u16 = 0x800;
}

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Messages and attributes begin on multiples of four bytes.
const fn align(length: usize) -> usize {
    (length + 3) & !3
}
