//! The Docker API over a real engine and a real socket.
//!
//! Most tests speak HTTP themselves; `cli` drives the real docker command where it is installed.
#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failing step of a fixture fails its test; a skipped test says why")]

mod api;
mod cli;
mod containers;
mod fixture;
mod http;
mod objects;
mod streams;
