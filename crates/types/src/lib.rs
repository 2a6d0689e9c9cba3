//! Pure data: identifiers, digests, references, image documents, mounts and error kinds.
//!
//! Nothing here does I/O, reads a clock or the environment. Every identifier has one parsing
//! constructor; whoever holds a value of the type holds a checked value.
//! The crate is `no_std`: the OCI runtime links it without libc.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod digest;
pub mod error;
pub mod id;
pub mod image;
pub mod logline;
pub mod mount;
pub mod platform;
pub mod port;
pub mod reference;
pub mod spec;
pub mod specgen;
pub mod time;

pub use digest::{ChainId, DiffId, Digest};
pub use error::{ErrorKind, InvalidValue};
pub use id::{ContainerId, ExecId, LeaseId, Namespace, SandboxId, SnapshotKey};
pub use image::Descriptor;
pub use mount::Mount;
pub use platform::Platform;
pub use reference::Reference;
pub use time::Timestamp;
