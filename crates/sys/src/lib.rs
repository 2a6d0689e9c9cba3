//! Safe, typed Linux: descriptors, openat2, the mount API, clone3, pidfd, cgroup files, netlink.
//!
//! Everything the project asks the kernel goes through here or through `rustix`, on which this crate
//! stands (raw system calls, no libc). What rustix lacks is in one file, [`raw`]. Errors say which call
//! failed on what. Nothing here knows containers, changes process-wide state by itself, or prints.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod errno;
mod error;
pub mod netlink;
pub mod netns;

pub use error::{Context, Error, Result};
/// The kernel's error numbers.
pub use rustix::io::Errno;
