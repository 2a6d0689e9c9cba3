//! Garbage collection: mark from images, containers, sandboxes, leases and root labels along reference labels,
//! then sweep rows in one transaction and files after it, outside of any lock.
//!
//! The labels are containerd's ([`crate::labels`]). Each namespace is collected for itself; blobs of several
//! namespaces go with their last row. Whoever works on something keeps it by a lease from before the first byte.

use crate::{ContentStore, Error, Metadata, Result, Snapshotter};
use std::sync::Arc;
use tare_types::Timestamp;

/// Collects garbage of one daemon.
#[derive(Debug)]
pub struct Collector {
    /// The database.
    pub metadata: Arc<Metadata>,
    /// Blobs.
    pub content: Arc<ContentStore>,
    /// All snapshotters in use.
    pub snapshotters: Vec<Arc<dyn Snapshotter>>,
}

/// What one collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Rows of content.
    pub content: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Expired leases.
    pub leases: usize,
    /// Expired images.
    pub images: usize,
    /// Abandoned ingests.
    pub ingests: usize,
}

impl Collector {
    /// One collection of everything. `now` decides what has expired.
    pub fn collect(&self, _now: Timestamp) -> Result<Collected> {
        Err(Error::unimplemented("collect garbage", ""))
    }
}
