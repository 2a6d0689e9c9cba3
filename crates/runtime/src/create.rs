//! Making a container up to the point where only its program is missing.

use crate::Io;
use tare_types::spec::Spec;

/// How `start` reaches the waiting first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A pipe held by the returned [`crate::Container`]: only that object can start the container, and
    /// the first process ends if it is dropped before. For callers that stay (the shim, `run`).
    Pipe,
    /// Two fifos in the state directory: any process may start the container (`tare-oci create`).
    Fifo,
}

/// What to create.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// Identifier, runc's alphabet: letters, digits, `_`, `+`, `-`, `.`; not `.` or `..`; at most 1024.
    pub id: &'a str,
    /// Absolute path of the bundle directory; relative paths of the configuration start there.
    pub bundle: &'a str,
    /// The configuration.
    pub spec: &'a Spec,
    /// Streams of the first process.
    pub io: Io<'a>,
    /// How the container is started.
    pub gate: Gate,
    /// How many of the caller's descriptors from 3 on the process keeps (`--preserve-fds`).
    pub keep_fds: u32,
    /// MS_MOVE and chroot instead of pivot_root, for hosts that run from an initramfs.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
}
