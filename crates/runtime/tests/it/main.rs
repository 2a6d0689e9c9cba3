//! The library against the real kernel, with busybox as the root file system. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

mod attack;
mod bundle;
mod cgroup;
mod lifecycle;
mod policy;
