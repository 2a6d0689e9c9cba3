//! What reconciliation did and what an instance left behind.

use std::{fmt, path::PathBuf};

/// What [`crate::Networks::reconcile`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Containers that had records and no task: their release was started.
    pub released: Vec<crate::ContainerKey>,
    /// Objects without a record that were removed.
    pub removed: Vec<Leftover>,
    /// Live containers whose interface is gone: they run on without it.
    pub damaged: Vec<crate::ContainerKey>,
    /// IPv4 forwarding was off and was switched on.
    pub forwarding_enabled: bool,
}

/// An object of the kernel or a file that belongs to an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// A bridge, by interface name.
    Bridge(String),
    /// One side of a veth pair on the host, by interface name.
    Interface(String),
    /// A table of nftables, family inet, by name.
    Table(String),
    /// A pinned network namespace.
    Namespace(PathBuf),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Table(name) => write!(f, "nftables table inet {name}"),
            Self::Namespace(path) => write!(f, "network namespace {}", path.display()),
        }
    }
}
