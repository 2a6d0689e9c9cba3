//! `tared`: configuration, assembly, sockets, containerd's gRPC services, metrics.
//!
//! [`assembly`] builds every object of the daemon by plain constructor calls and is the one place where doors meet the
//! engine. The library form exists for tests; what reads the environment and exits is in `main`.

pub mod args;
pub mod assembly;
pub mod config;
pub mod grpc;
pub mod hook;
pub mod instance;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod repair;
pub mod rest;
pub mod sockets;

/// Version of the daemon, as clients see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
