//! The whole stack: the docker client, tared, the shim, the kernel. Each test has its own root, state and sockets.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod crash;
mod host;
mod life;
mod network;
