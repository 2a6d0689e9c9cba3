//! The store: look-up, listing, deletion, and the way of a blob to its name.

use super::{
    BlobReader, Ingest, IngestOptions, IngestStatus, SealedBlob,
    files::Files,
    ingest::{content_resource, ingest_resource, modified},
    ingest_info::IngestInfo,
};
use crate::{Error, Filters, Labels, Metadata, Result, Tables, metadata::ContentInfo};
use sha2::{Digest as _, Sha256};
use std::{path::Path, sync::Arc};
use tare_types::{Digest, Namespace, Timestamp};

/// Blobs by digest. Share it by `Arc`.
#[derive(Debug)]
pub struct ContentStore {
    files: Arc<Files>,
    metadata: Arc<Metadata>,
}

impl ContentStore {
    /// Opens or creates the store below `root` (mode 0700). Call [`ContentStore::cleanup`] once at start-up.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(root: &Path, metadata: Arc<Metadata>) -> Result<Self> {
        Ok(Self { files: Files::open(root)?, metadata })
    }

    /// A blob of the namespace.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stat(&self, namespace: &Namespace, digest: &Digest) -> Result<ContentInfo> {
        let row = self.metadata.read()?.content(namespace, digest)?;
        row.ok_or_else(|| Error::not_found("stat content", digest))
    }

    /// Blobs of the namespace that pass the filters (fields `digest`, `size`, `labels`), by digest.
    ///
    /// # Errors
    /// Those of the database.
    pub fn list(&self, namespace: &Namespace, filters: &Filters) -> Result<Vec<ContentInfo>> {
        let mut rows = self.metadata.read()?.contents(namespace)?;
        rows.retain(|row| filters.matches(row));
        Ok(rows)
    }

    /// Changes labels: `paths` as in containerd, `labels` or `labels.<key>`; empty replaces all.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for another path.
    pub fn update(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        labels: &Labels,
        paths: &[String],
        now: Timestamp,
    ) -> Result<ContentInfo> {
        self.metadata.update(|tx| {
            let row = tx.content(namespace, digest)?;
            let mut row = row.ok_or_else(|| Error::not_found("update content", digest))?;
            crate::labels::update(&mut row.labels, labels, paths)?;
            row.updated_at = now;
            tx.put_content(namespace, &row)?;
            Ok(row)
        })
    }

    /// Takes the blob from the namespace; the bytes go when no namespace has it any more.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete(&self, namespace: &Namespace, digest: &Digest) -> Result<()> {
        let removed = self.metadata.update(|tx| tx.remove_content(namespace, digest))?;
        if !removed {
            return Err(Error::not_found("delete content", digest));
        }
        self.remove_unused(digest).map(drop)
    }

    /// Opens a blob of the namespace for reading.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn reader(&self, namespace: &Namespace, digest: &Digest) -> Result<BlobReader> {
        let row = self.metadata.read()?.content(namespace, digest)?;
        let row = row.ok_or_else(|| Error::not_found("read content", digest))?;
        Ok(BlobReader { file: self.files.open_blob(digest)?, digest: digest.clone(), size: row.size })
    }

    /// Opens an ingest, new or resumed.
    ///
    /// # Errors
    /// `Unavailable` while another writer has it open; `AlreadyExists` when the namespace has the expected digest.
    /// When another namespace has it, this one gets a row and the answer is `AlreadyExists` too.
    pub fn ingest(self: &Arc<Self>, namespace: &Namespace, options: &IngestOptions<'_>) -> Result<Ingest> {
        if options.reference.is_empty() || options.reference.len() > 4096 || options.reference.contains('\0')
        {
            let shown: String = options.reference.chars().take(64).collect();
            return Err(Error::invalid("open ingest", shown, "a reference has 1 to 4096 bytes and no NUL"));
        }
        if let Some(expected) = options.expected {
            self.share(namespace, expected, options)?;
        }
        let (lock, file, info) = self.files.lock_ingest(&IngestInfo::new(namespace, options))?;
        let mut ingest = Ingest {
            store: self.clone(),
            namespace: namespace.clone(),
            lease: options.lease.cloned(),
            lock,
            status: info.status(0, modified(&file)),
            file,
            hasher: Sha256::new(),
        };
        if let Some(lease) = options.lease {
            let resource = ingest_resource(options.reference);
            self.metadata.update_relaxed(|tx| tx.add_lease_resource(namespace, lease, &resource))?;
        }
        let is_empty = ingest.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if let Some(expected) = options.expected.filter(|_| is_empty) {
            self.files.adopt(&mut ingest, expected, || self.has_row(expected))?;
        }
        ingest.rehash()?;
        Ok(ingest)
    }

    /// `AlreadyExists` when the bytes are there; the namespace gets a row and the lease an entry.
    fn share(&self, namespace: &Namespace, expected: &Digest, options: &IngestOptions<'_>) -> Result<()> {
        let tx = self.metadata.read()?;
        let own = tx.content(namespace, expected)?.is_some();
        if !own && tx.content_anywhere(expected)?.is_none() {
            return Ok(());
        }
        drop(tx);
        let shared = self.metadata.update_relaxed(|tx| {
            if tx.content(namespace, expected)?.is_none() {
                let Some(other) = tx.content_anywhere(expected)? else { return Ok(false) };
                let row = ContentInfo {
                    created_at: options.now,
                    updated_at: options.now,
                    labels: Labels::new(),
                    ..other
                };
                tx.put_content(namespace, &row)?;
            }
            if let Some(lease) = options.lease {
                tx.add_lease_resource(namespace, lease, &content_resource(expected))?;
            }
            Ok(true)
        })?;
        match shared {
            true => Err(Error::already_exists("open ingest", expected)),
            false => Ok(()),
        }
    }

    /// How far an ingest is.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn status(&self, namespace: &Namespace, reference: &str) -> Result<IngestStatus> {
        let found = self.files.ingest(namespace, reference);
        found.map(|(_, status)| status).ok_or_else(|| Error::not_found("status of ingest", reference))
    }

    /// All ingests of the namespace that pass the filters (field `ref`), by reference.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn statuses(&self, namespace: &Namespace, filters: &Filters) -> Result<Vec<IngestStatus>> {
        let all = self.files.ingests()?.into_iter();
        let own = all.filter(|(_, info, _)| info.namespace == *namespace).map(|(_, _, status)| status);
        Ok(own.filter(|status| filters.matches(status)).collect())
    }

    /// Removes an ingest, as containerd does also while it is written: its writer cannot commit any more.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn abort(&self, namespace: &Namespace, reference: &str) -> Result<()> {
        self.status(namespace, reference)?;
        self.files.abort_ingest(&IngestInfo::directory(namespace, reference), reference)
    }

    /// Gives sealed blobs their names on disk and makes both durable: an fdatasync each, and one fsync per directory.
    /// After it the rows may be written ([`SealedBlob::record`]), in one transaction with snapshots and the image.
    ///
    /// # Errors
    /// Those of the file system; what has its name already stays until a row or the clean-up.
    pub fn publish(&self, blobs: &mut [SealedBlob]) -> Result<()> {
        for blob in &mut *blobs {
            // All first: the disk gets them at once, and the journal of the file system is written once.
            blob.ingest.start_writeback(0);
            if !blob.published {
                self.files.publish(&mut blob.ingest, &blob.digest)?;
            }
        }
        self.files.sync(blobs.iter().map(|blob| (&blob.ingest.file, &blob.digest)))?;
        blobs.iter_mut().for_each(|blob| blob.published = true);
        Ok(())
    }

    /// Removes what a crash left: trash, broken ingests, and files without a row that are older than a day (younger
    /// ones are taken up by the next ingest of their digest). Runs at start-up. Returns how many.
    ///
    /// # Errors
    /// Those of the file system and the database.
    pub fn cleanup(&self, now: Timestamp) -> Result<usize> {
        self.files.empty_trash()?;
        let mut count = self.files.remove_broken_ingests()?;
        for (digest, time) in self.files.blobs_on_disk()? {
            if now.seconds.saturating_sub(time.seconds) > IngestInfo::LIFETIME
                && self.remove_unused(&digest)?
            {
                count += 1;
            }
        }
        Ok(count)
    }

    /// The database with the rows.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Deletes the bytes when no namespace has a row.
    pub(crate) fn remove_unused(&self, digest: &Digest) -> Result<bool> {
        self.files.remove_blob(digest, || self.has_row(digest))
    }

    /// Removes ingests that have expired and that `keep` does not want.
    pub(crate) fn expire_ingests(
        &self,
        now: Timestamp,
        keep: impl Fn(&Namespace, &str) -> bool,
    ) -> Result<usize> {
        let mut count = 0;
        for (name, info, status) in self.files.ingests()? {
            if info.expires_at >= now || keep(&info.namespace, &info.reference) {
                continue;
            }
            match self.files.remove_ingest(&name, &status.reference) {
                Ok(()) => count += 1,
                // It is being written.
                Err(error) if error.kind() == tare_types::ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn has_row(&self, digest: &Digest) -> Result<bool> {
        Ok(self.metadata.read()?.content_anywhere(digest)?.is_some())
    }
}
