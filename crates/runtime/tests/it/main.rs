//! The runtime against this machine's kernel. Needs root; each test has its own cgroups and directories.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it was skipped"
)]

mod cgroup;
