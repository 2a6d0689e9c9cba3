//! The library against the real kernel, with busybox as the root file system. Needs root.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod attack;
mod bundle;
mod isolation;
mod lifecycle;
