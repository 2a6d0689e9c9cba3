//! The core of Tare: images, containers, tasks, exec, events, logs and the shims behind them.
//!
//! Every door (Docker REST, containerd gRPC, CRI) translates its requests to the domain types of this
//! crate and calls the same functions, so that one record and one set of rules stand behind all doors.
//! Asynchronous; the layers below (`store`, `net`) are synchronous and called on blocking threads where
//! they may wait for a disk.
//!
//! What is not here: wire formats (doors translate), the OCI runtime (it lives in the shim, behind a
//! process boundary), reading of the environment, printing, exiting.
//!
//! Start at [`Engine::open`]; the facets [`Engine::containers`], [`Engine::tasks`], [`Engine::images`],
//! [`Engine::events`], [`Engine::volumes`], [`Engine::networks`] hold the verbs.

mod clock;
mod entry;
mod key;
mod lifecycle;
mod naming;
mod restart;
mod rootfs;
mod roster;
mod shim;
mod sizes;
mod spec;
mod task;
mod update;

pub mod any;
pub mod archive;
pub mod attach;
pub mod changes;
pub mod config;
pub mod containers;
pub mod diff;
pub mod engine;
pub mod error;
pub mod events;
pub mod exec;
pub mod health;
pub mod images;
pub mod logs;
pub mod network;
pub mod record;
pub mod records;
pub mod repair;
pub mod request;
pub mod signal;
pub mod state;
pub mod stats;
pub mod stores;
pub mod tasks;
pub mod top;
pub mod volumes;

pub use any::Any;
pub use config::EngineConfig;
pub use engine::Engine;
pub use error::{Error, Result};
pub use record::ContainerRecord;
