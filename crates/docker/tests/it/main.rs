//! The Docker API over a real engine and a real socket.
//!
//! Most tests speak HTTP themselves; `cli` drives the real docker command where it is installed.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a skipped test says why; a failing fixture fails its test"
)]

mod api;
mod cli;
mod containers;
mod fixture;
mod foreign;
mod health;
mod http;
mod links;
mod objects;
mod streams;
mod transfer;
