//! The OCI runtime as a library: plan, create, start, exec, kill, delete.
//!
//! [`Runtime`] is a directory of container states (`<root>/<id>/state.json`); [`Runtime::create`] makes a
//! container whose first process waits just before its program, [`Container::start`] lets it go. The
//! library is synchronous and changes nothing process-wide: no working directory, umask, signal or
//! namespace of the caller. It may be called from any thread of an ordinary program (the shim) and from
//! `tare-oci`, which has no libc. What happens between clone and execve is in `tare-launch`.
//!
//! Whoever creates or executes a process is its parent: it waits for it through the [`Process::pidfd`]
//! handed back. The caller should be non-dumpable (PR_SET_DUMPABLE): until its execve a child is a copy
//! of the caller's memory.
//!
//! Not here: images, networks (a network namespace is new or joined by path), logs, the command line.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod agent;
mod capture;
pub mod cgroup;
mod checkpoint;
mod child;
mod container;
mod create;
mod error;
mod exec;
mod hooks;
mod interfaces;
mod labels;
mod plan;
mod prepare;
mod process;
mod program;
mod rdt;
mod runtime;
pub mod seccomp;
mod state;
mod userns;

pub use capture::capture;
pub use checkpoint::{CgroupMode, CheckpointOptions, Criu, ImageOptions, RestoreOptions};
pub use container::Container;
pub use create::{CreateOptions, Gate};
pub use error::{During, Error, Result};
pub use plan::{describe as describe_plan, processors};
pub use process::{ExecOptions, Exit, Io, Process};
pub use runtime::{Runtime, RuntimeOptions};
