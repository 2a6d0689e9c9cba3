//! The command as callers use it: flags, texts, exit codes, files. Needs root and busybox-static.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

mod bundle;
mod checkpoint;
mod command;
mod conduct;
mod crash;
mod delegated;
mod notify;
mod rootless;
mod sealed;
mod smoke;
mod storm;
mod systemd;
