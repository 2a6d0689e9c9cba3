//! Networks: the built-in bridge, host, none, published ports. Synchronous.
//!
//! The kernel is spoken to over netlink in this process: no `ip`, no `nft`, no plugin is executed.
//! An instance (8 hex digits) names everything it makes, so that several daemons run side by side:
//! the bridge and the nftables table `tare-<instance>`, the bridges of networks that a person defined
//! `n<instance>…`, the interfaces `v<instance>…`.
//!
//! What is not here: the sockets that hold published ports (the shim binds them; which ones is
//! [`tare_types::port::holder_sockets`]), and writing a container's files ([`files`] says what is in them).

pub mod address;
mod attach;
mod bridge;
mod config;
mod connect;
mod create;
mod definition;
mod definitions;
mod directories;
mod doctor;
mod endpoint;
mod error;
pub mod files;
mod firewall;
mod guard;
mod ipam;
mod journal;
mod networks;
mod pool;
mod reconcile;
mod release;
mod report;
mod shared;

pub use config::{Config, DEFAULT_HOST_LOCK, Pool, default_pools};
pub use definition::{Driver, Network, NewNetwork};
pub use doctor::{leftovers, other_firewalls, repair};
pub use endpoint::{AttachRequest, Connection, ContainerKey, Endpoint, Sandbox};
pub use error::{Error, Result};
pub use networks::Networks;
pub use report::{Leftover, ReconcileReport};
