//! The Docker API over a real engine and a real socket.
//!
//! `api` speaks HTTP itself; `cli` drives the real docker command where it is installed.

mod api;
mod fixture;
mod http;
