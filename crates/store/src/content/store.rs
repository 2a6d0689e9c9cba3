//! The store: look-up, listing, deletion, and the way of a blob to its name.

use super::{BlobReader, Ingest, IngestOptions, IngestStatus, SealedBlob};
use crate::{Error, Filters, Labels, Metadata, Result, metadata::ContentInfo};
use std::{path::Path, sync::Arc};
use tare_types::{Digest, Namespace, Timestamp};

/// Blobs by digest. Share it by `Arc`.
#[derive(Debug)]
pub struct ContentStore {
    metadata: Arc<Metadata>,
}

impl ContentStore {
    /// Opens or creates the store below `root` (mode 0700).
    pub fn open(_root: &Path, metadata: Arc<Metadata>) -> Result<Self> {
        Ok(Self { metadata })
    }

    /// A blob of the namespace.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stat(&self, _namespace: &Namespace, digest: &Digest) -> Result<ContentInfo> {
        Err(Error::unimplemented("stat content", digest))
    }

    /// Blobs of the namespace that pass the filters (fields `digest`, `size`, `labels`), by digest.
    pub fn list(&self, _namespace: &Namespace, _filters: &Filters) -> Result<Vec<ContentInfo>> {
        Err(Error::unimplemented("list content", ""))
    }

    /// Changes labels: `paths` as in containerd, `labels` or `labels.<key>`; empty replaces all.
    pub fn update(
        &self,
        _namespace: &Namespace,
        digest: &Digest,
        _labels: &Labels,
        _paths: &[String],
        _now: Timestamp,
    ) -> Result<ContentInfo> {
        Err(Error::unimplemented("update content", digest))
    }

    /// Takes the blob from the namespace; the bytes go when no namespace has it any more.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete(&self, _namespace: &Namespace, digest: &Digest) -> Result<()> {
        Err(Error::unimplemented("delete content", digest))
    }

    /// Opens a blob of the namespace for reading.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn reader(&self, _namespace: &Namespace, digest: &Digest) -> Result<BlobReader> {
        Err(Error::unimplemented("read content", digest))
    }

    /// Opens an ingest, new or resumed.
    ///
    /// # Errors
    /// `Unavailable` while another writer has it open; `AlreadyExists` when the namespace has the expected digest.
    /// When another namespace has it, this one gets a row and the answer is `AlreadyExists` too.
    pub fn ingest(self: &Arc<Self>, _namespace: &Namespace, options: &IngestOptions<'_>) -> Result<Ingest> {
        Err(Error::unimplemented("ingest", options.reference))
    }

    /// How far an ingest is.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn status(&self, _namespace: &Namespace, reference: &str) -> Result<IngestStatus> {
        Err(Error::unimplemented("status of ingest", reference))
    }

    /// All ingests of the namespace that pass the filters (field `ref`).
    pub fn statuses(&self, _namespace: &Namespace, _filters: &Filters) -> Result<Vec<IngestStatus>> {
        Err(Error::unimplemented("list ingests", ""))
    }

    /// Removes an ingest that nobody writes.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while it is written.
    pub fn abort(&self, _namespace: &Namespace, reference: &str) -> Result<()> {
        Err(Error::unimplemented("abort ingest", reference))
    }

    /// Gives sealed blobs their names on disk and syncs them: one `syncfs` for a whole pull. After it the rows may
    /// be written ([`SealedBlob::record`]), in one transaction with snapshots and the image.
    pub fn publish(&self, _blobs: &mut [SealedBlob]) -> Result<()> {
        Err(Error::unimplemented("publish content", ""))
    }

    /// Removes files that no row names: what a crash left. Runs at start-up. Returns how many.
    pub fn cleanup(&self) -> Result<usize> {
        Err(Error::unimplemented("clean up content", ""))
    }

    /// The database with the rows.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }
}
