//! Writing a blob: bytes, hash, checks.

use super::{ContentStore, IngestStatus, files::IngestLock};
use crate::{
    Error, Labels, Result, Tables, WriteTx,
    metadata::{ContentInfo, LeaseResource},
};
use sha2::{Digest as _, Sha256, Sha512};
use std::{fs::File, os::unix::fs::FileExt, sync::Arc, time::SystemTime};
use tare_types::{Digest, LeaseId, Namespace, Timestamp};

/// Longest piece that is read at once when a resumed ingest is hashed.
const CHUNK: usize = 1 << 20;
/// Bytes after which the kernel is asked to write.
const WRITEBACK: u64 = 8 << 20;

/// A blob being written. Dropping it keeps the bytes for a later resume.
#[derive(Debug)]
pub struct Ingest {
    pub(super) store: Arc<ContentStore>,
    pub(super) namespace: Namespace,
    pub(super) lease: Option<LeaseId>,
    pub(super) lock: IngestLock,
    pub(super) file: File,
    pub(super) hasher: Sha256,
    pub(super) status: IngestStatus,
}

/// A complete and checked blob whose row is not written yet. See [`ContentStore::publish`].
///
/// Dropping it before it is published keeps the ingest; after that, the file waits for the next ingest of the same
/// digest, or for [`ContentStore::cleanup`].
#[derive(Debug)]
pub struct SealedBlob {
    pub(super) ingest: Ingest,
    pub(super) digest: Digest,
    pub(super) published: bool,
}

impl Ingest {
    /// How far it is. `offset` is where the next bytes go: a resumed ingest starts behind what is there.
    pub fn status(&self) -> &IngestStatus {
        &self.status
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `ResourceExhausted` on a full disk; what was written before stays for a resume.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.write_only(bytes)
    }

    fn write_only(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.status.offset;
        if let Err(error) = self.file.write_all_at(bytes, offset) {
            // The hash and the file must not part: this ingest is of no more use, the next one reads the file.
            let failed = Error::io("write content", &self.status.reference, error);
            return Err(match self.file.set_len(offset) {
                Ok(()) => failed,
                Err(error) => failed.with_note(format_args!("and cutting it back failed: {error}")),
            });
        }
        self.status.offset += bytes.len() as u64;
        if offset / WRITEBACK != self.status.offset / WRITEBACK {
            self.start_writeback(offset - offset % WRITEBACK);
        }
        Ok(())
    }

    /// Lets the disk work while bytes still come, so that little is left for the sync at the end.
    ///
    /// `POSIX_FADV_DONTNEED` starts writing what is dirty and waits for nothing (`generic_fadvise` in mm/fadvise.c).
    /// A wish: a failure of the disk shows at the sync.
    pub(super) fn start_writeback(&self, from: u64) {
        let _ = rustix::fs::fadvise(&self.file, from, None, rustix::fs::Advice::DontNeed);
    }

    /// Throws away what is there and starts at offset 0.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn truncate(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| Error::io("truncate ingest", &self.status.reference, error))?;
        self.hasher = Sha256::new();
        self.status.offset = 0;
        Ok(())
    }

    /// Notes when bytes came last, for clients that compare it with their clock: what the kernel notes by itself may be
    /// some milliseconds behind.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn touch(&mut self, now: Timestamp) -> Result<()> {
        let time = rustix::fs::Timespec { tv_sec: now.seconds, tv_nsec: now.nanos.into() };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&self.file, &times)
            .map_err(|errno| Error::io("note time of ingest", &self.status.reference, errno))?;
        self.status.updated_at = now;
        Ok(())
    }

    /// Digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::from_sha256(&self.hasher.clone().finalize().into())
    }

    /// Reads back what is there: for whoever consumes a resumed blob from its start.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file
            .read_at(buffer, offset)
            .map_err(|error| Error::io("read ingest", &self.status.reference, error))
    }

    /// Checks size (0: any) and digest and closes the blob for [`ContentStore::publish`]. No fsync.
    ///
    /// # Errors
    /// `FailedPrecondition` when size or digest differ, as containerd answers; the ingest stays.
    pub fn seal(self, size: u64, expected: Option<&Digest>) -> Result<SealedBlob> {
        let fault = |detail: String| {
            Err(Error::precondition(
                "commit content",
                format_args!("ingest {}", self.status.reference),
                detail,
            ))
        };
        if size != 0 && size != self.status.offset {
            return fault(format!("unexpected commit size {}, expected {size}", self.status.offset));
        }
        let expected = expected.or(self.status.expected.as_ref());
        let digest = match expected.map(Digest::algorithm) {
            Some("sha512") => self.sha512()?,
            _ => self.digest(),
        };
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return fault(format!("unexpected commit digest {digest}, expected {expected}"));
        }
        Ok(SealedBlob { ingest: self, digest, published: false })
    }

    /// Checks, syncs (file, rename, directory) and commits one blob durably, with labels and into the ingest's lease.
    ///
    /// # Errors
    /// As [`Ingest::seal`]; `AlreadyExists` when the namespace has it already (the ingest is removed then).
    pub fn commit(
        self,
        size: u64,
        expected: Option<&Digest>,
        labels: Labels,
        now: Timestamp,
    ) -> Result<Digest> {
        let store = self.store.clone();
        let mut sealed = self.seal(size, expected)?;
        let digest = sealed.digest.clone();
        if store.metadata().read()?.content(&sealed.ingest.namespace, &digest)?.is_some() {
            sealed.ingest.lock.remove()?;
            if let Some(lease) = &sealed.ingest.lease {
                // What is there already must outlive this lease's holder, too. A lease given up meanwhile is no fault.
                store.metadata().update_relaxed(|tx| match tx.lease(&sealed.ingest.namespace, lease)? {
                    Some(_) => {
                        tx.add_lease_resource(&sealed.ingest.namespace, lease, &content_resource(&digest))
                    }
                    None => Ok(()),
                })?;
            }
            return Err(Error::already_exists("commit content", &digest));
        }
        store.publish(std::slice::from_mut(&mut sealed))?;
        store.metadata().update(|tx| sealed.record(tx, &labels, now))?;
        Ok(digest)
    }

    /// Hashes what is there; the offset is the length of the file afterwards.
    pub(super) fn rehash(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        self.status.offset = 0;
        loop {
            let count = self.read_at(&mut buffer, self.status.offset)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.status.offset += count as u64;
        }
    }

    /// Rare, so it costs a second reading instead of a second hash over every blob.
    fn sha512(&self) -> Result<Digest> {
        let mut hasher = Sha512::new();
        let (mut buffer, mut offset) = (vec![0; CHUNK], 0);
        loop {
            let count = self.read_at(&mut buffer, offset)?;
            if count == 0 {
                let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                return Ok(Digest::parse(&format!("sha512:{hex}"))?);
            }
            hasher.update(&buffer[..count]);
            offset += count as u64;
        }
    }
}

impl SealedBlob {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.ingest.status.offset
    }

    /// Reads the blob.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.ingest.read_at(buffer, offset)
    }

    /// Writes the row, inside a transaction, after [`ContentStore::publish`]. Keep `self` until that transaction has
    /// been committed: as long as it lives, nobody deletes the file.
    /// When the namespace has the blob already, its labels are extended.
    ///
    /// # Errors
    /// `FailedPrecondition` before it is published; those of the database.
    pub fn record(&self, tx: &WriteTx, labels: &Labels, now: Timestamp) -> Result<()> {
        if !self.published {
            return Err(Error::precondition("commit content", &self.digest, "it was not published"));
        }
        let namespace = &self.ingest.namespace;
        let mut row = tx.content(namespace, &self.digest)?.unwrap_or_else(|| ContentInfo {
            digest: self.digest.clone(),
            size: self.size(),
            created_at: now,
            updated_at: now,
            labels: Labels::new(),
        });
        row.labels.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        row.updated_at = now;
        tx.put_content(namespace, &row)?;
        let Some(lease) = &self.ingest.lease else { return Ok(()) };
        // The lease may have been given up meanwhile; the row is what counts then.
        if tx.lease(namespace, lease)?.is_some() {
            tx.remove_lease_resource(namespace, lease, &ingest_resource(&self.ingest.status.reference))?;
            tx.add_lease_resource(namespace, lease, &content_resource(&self.digest))?;
        }
        Ok(())
    }
}

pub(super) fn content_resource(digest: &Digest) -> LeaseResource {
    LeaseResource { kind: "content".to_string(), id: digest.as_str().to_string() }
}

pub(super) fn ingest_resource(reference: &str) -> LeaseResource {
    LeaseResource { kind: "ingests".to_string(), id: reference.to_string() }
}

/// When a file changed last.
pub(super) fn modified(file: &File) -> Timestamp {
    let time = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}
