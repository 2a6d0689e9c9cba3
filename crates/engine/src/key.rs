//! What identifies a container in the daemon: its namespace and its id there.

use std::fmt;
use tare_types::{ContainerId, Namespace};

/// (namespace, id): the key of records, tasks, bundles and locks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Tenant.
    pub(crate) namespace: Namespace,
    /// Container.
    pub(crate) id: ContainerId,
}

impl Key {
    /// A key of its parts.
    pub(crate) fn new(namespace: &Namespace, id: &ContainerId) -> Self {
        Self { namespace: namespace.clone(), id: id.clone() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}
