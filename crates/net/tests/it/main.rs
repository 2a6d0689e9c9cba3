//! The networks against the real kernel: each test in a network and a mount namespace of its own.
//!
//! Oracles are the tools `ip` and `nft` and real traffic. Without root every test says so and counts as skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it could not run"
)]

mod host;

mod attach;
mod crash;
mod networks;
mod publish;
