//! Garbage collection: mark from images, containers, sandboxes, leases and root labels along reference labels,
//! then sweep rows in one transaction and files after it, outside of any lock.
//!
//! The labels are containerd's ([`crate::labels`]). Each namespace is collected for itself; blobs of several
//! namespaces go with their last row. Whoever works on something keeps it by a lease from before the first byte.
//!
//! # How nothing in use is lost
//! Marking reads one consistent view without any lock. The sweep runs in a write transaction, and only when nothing
//! was written since that view; otherwise everything is marked again inside of the transaction, while writers wait
//! a few milliseconds. Files of blobs that are about to get a row are never deleted ([`ContentStore`]).

mod mark;
mod node;

#[cfg(test)]
mod tests;

use crate::{ContentStore, Metadata, Result, Snapshotter, Tables, WriteTx, snapshot::Removed};
use mark::{Garbage, mark};
use std::{collections::HashSet, sync::Arc};
use tare_types::{Digest, Namespace, Timestamp};

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

/// What the transaction took out and has to be deleted after it.
#[derive(Default)]
struct Swept {
    counted: Collected,
    blobs: HashSet<Digest>,
    snapshots: Vec<Removed>,
}

impl Collector {
    /// One collection of everything. `now` decides what has expired.
    ///
    /// # Errors
    /// Those of the database and of deleting files; what was not deleted is found by the next clean-up.
    pub fn collect(&self, now: Timestamp) -> Result<Collected> {
        let generation = self.metadata.generation();
        let garbage = mark(&self.metadata.read()?, now)?;
        let mut counted = Collected::default();
        if !garbage.is_empty() {
            let swept = self.metadata.update(|tx| {
                let changed = self.metadata.generation() != generation;
                let garbage = if changed { mark(tx, now)? } else { garbage };
                self.sweep(tx, &garbage)
            })?;
            counted = swept.counted;
            for removed in swept.snapshots {
                removed.discard()?;
            }
            for digest in swept.blobs {
                self.content.remove_unused(&digest)?;
            }
        }
        counted.ingests = self.expire_ingests(now)?;
        Ok(counted)
    }

    fn sweep(&self, tx: &WriteTx, garbage: &Garbage) -> Result<Swept> {
        let mut swept = Swept::default();
        for (namespace, name) in &garbage.images {
            swept.counted.images += usize::from(tx.remove_image(namespace, name)?);
        }
        for (namespace, lease) in &garbage.leases {
            swept.counted.leases += usize::from(tx.remove_lease(namespace, lease)?);
        }
        for (namespace, digest) in &garbage.content {
            swept.counted.content += usize::from(tx.remove_content(namespace, digest)?);
            swept.blobs.insert(digest.clone());
        }
        // Children come before their parents.
        for (namespace, snapshotter, key) in &garbage.snapshots {
            let Some(owner) = self.snapshotters.iter().find(|owner| owner.name() == snapshotter) else {
                continue;
            };
            swept.snapshots.push(owner.remove_in(tx, namespace, key)?);
            swept.counted.snapshots += 1;
        }
        Ok(swept)
    }

    fn expire_ingests(&self, now: Timestamp) -> Result<usize> {
        let tx = self.metadata.read()?;
        let mut leased: HashSet<(Namespace, String)> = HashSet::new();
        for namespace in tx.used_namespaces()? {
            for lease in tx.leases(&namespace)? {
                for resource in tx.lease_resources(&namespace, &lease.id)? {
                    if resource.kind == "ingests" {
                        leased.insert((namespace.clone(), resource.id));
                    }
                }
            }
        }
        self.content.expire_ingests(now, |namespace, reference| {
            leased.contains(&(namespace.clone(), reference.to_string()))
        })
    }
}
