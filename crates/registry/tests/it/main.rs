//! The client against a scripted registry and against Debian's.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod blobs;
mod credentials;
mod debian;
mod documents;
mod probes;
mod push;
mod support;
mod tls;
