//! Between Docker's documents and the engine's values, both directions. Pure: no I/O, no clock.

pub(crate) mod changes;
pub(crate) mod create;
pub(crate) mod defaults;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod extension;
pub(crate) mod health;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod new_network;
pub(crate) mod ports;
pub(crate) mod progress;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod stats;
pub(crate) mod volume;

use tare_types::Timestamp;

/// A time as Go prints it; Go's zero time for none.
pub(crate) fn time_text(time: Option<Timestamp>) -> String {
    time.unwrap_or(Timestamp::ZERO).to_string()
}
