//! Safe, typed Linux: descriptors, openat2, the mount API, clone3, pidfd, cgroup files, netlink.
//!
//! Everything the project asks the kernel goes through here or through `rustix`, on which this crate
//! stands (raw system calls, no libc). What rustix lacks is in one file, [`raw`]. Errors say which call
//! failed on what. Nothing here knows containers, changes process-wide state by itself, or prints.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod errno;
mod error;
pub mod file;
pub mod memory;
pub mod mount;
pub mod mountns;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod raw;
mod root;
pub mod sealed;
pub mod signal;
pub mod socket;
#[cfg(feature = "standalone")]
pub mod standalone;
pub mod terminal;

pub use error::{Context, Error, Result};
pub use root::{RelPath, RootDir};
/// The kernel's error numbers.
pub use rustix::io::Errno;

/// Gives up a value that holds nothing but memory. In a program that ends soon (`standalone`) the pages it was on are
/// not touched again for that; between fork and exec each would have to be copied.
pub fn discard<T>(value: T) {
    if cfg!(feature = "standalone") { core::mem::forget(value) } else { drop(value) }
}

/// Marks all descriptors from `first` on close-on-exec.
///
/// # Errors
/// close_range(2)'s.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    raw::close_range_cloexec(first).on("close_range", || "")
}
