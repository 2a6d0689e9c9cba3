//! The wire: prost messages of containerd's API, of the shim protocol and of Tare's own private services.
//!
//! Wire types are named only where a service is implemented or called and in the `convert` files beside it;
//! inside the project there are domain types. The messages are generated from `proto/` by
//! `cargo run -p xtask --features codegen -- codegen` and checked in.

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic,
    rustdoc::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod generated {
    include!("generated/mod.rs");
}

pub mod status;
#[cfg(feature = "ttrpc")]
pub mod ttrpc;

pub use generated::{containerd, google, grpc, io, runtimeoptions, tare, ttrpc as ttrpc_wire};
pub use prost_types::{Any, FieldMask, Timestamp};
