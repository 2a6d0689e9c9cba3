//! The whole stack: the docker client, tared, the shim, the kernel. Each test has its own root, state and sockets.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests; a skipped one says why")]

mod containerd;
mod crash;
mod foreign;
mod full;
mod host;
mod life;
mod load;
mod network;
