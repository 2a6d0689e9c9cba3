//! Writing a blob.

use super::IngestStatus;
use crate::{Error, Labels, Result, WriteTx};
use tare_types::{Digest, Timestamp};

/// A blob being written. Dropping it keeps the bytes for a later resume.
#[derive(Debug)]
pub struct Ingest {
    pub(super) status: IngestStatus,
}

/// A complete and checked blob whose row is not written yet. See [`super::ContentStore::publish`].
#[derive(Debug)]
pub struct SealedBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Ingest {
    /// How far it is. `offset` is where the next bytes go: a resumed ingest starts behind what is there.
    pub fn status(&self) -> &IngestStatus {
        &self.status
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `ResourceExhausted` on a full disk; what was written so far stays for a resume.
    pub fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        Err(Error::unimplemented("write content", &self.status.reference))
    }

    /// Throws away what is there and starts at offset 0.
    pub fn truncate(&mut self) -> Result<()> {
        Err(Error::unimplemented("truncate ingest", &self.status.reference))
    }

    /// Digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(b"")
    }

    /// Checks size (0: any) and digest and closes the blob for [`super::ContentStore::publish`]. No fsync.
    ///
    /// # Errors
    /// `FailedPrecondition` when size or digest differ, as containerd answers; the ingest stays.
    pub fn seal(self, _size: u64, _expected: Option<&Digest>) -> Result<SealedBlob> {
        Err(Error::unimplemented("commit content", &self.status.reference))
    }

    /// Checks, syncs (file, rename, directory) and commits one blob durably, with labels and into the ingest's lease.
    ///
    /// # Errors
    /// As [`Ingest::seal`]; `AlreadyExists` when the namespace has it already (the ingest is removed then).
    pub fn commit(
        self,
        _size: u64,
        _expected: Option<&Digest>,
        _labels: Labels,
        _now: Timestamp,
    ) -> Result<Digest> {
        Err(Error::unimplemented("commit content", &self.status.reference))
    }
}

impl SealedBlob {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the row, inside a transaction, after [`super::ContentStore::publish`].
    /// When the namespace has the blob already, its labels are extended.
    pub fn record(&self, _tx: &WriteTx, _labels: &Labels, _now: Timestamp) -> Result<()> {
        Err(Error::unimplemented("commit content", &self.digest))
    }
}
