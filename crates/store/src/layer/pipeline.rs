//! Fetch-side pipeline: one pass from network bytes to a stored blob and an unpacked layer.

use super::{Applied, LayerApplier};
use crate::{Error, Ingest, Result, SealedBlob};
use tare_types::Descriptor;

/// Takes compressed bytes in order; stores and hashes them, inflates and applies them.
///
/// It blocks: call it from a thread that may, fed by a bounded channel. Hashing and inflating happen on the calling
/// thread, applying on a thread of its own with a bounded queue between them.
#[derive(Debug)]
pub struct LayerPipeline {
    ingest: Ingest,
    applier: LayerApplier,
}

impl LayerPipeline {
    /// Joins an ingest and an applier. When the ingest is resumed, what it holds is applied first.
    pub fn new(ingest: Ingest, applier: LayerApplier) -> Result<Self> {
        Ok(Self { ingest, applier })
    }

    /// Offset in the blob from which bytes are needed next.
    pub fn offset(&self) -> u64 {
        self.ingest.status().offset
    }

    /// The next compressed bytes. An error of the applying side is returned by the next call.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.ingest.write(bytes)?;
        self.applier.write(bytes)
    }

    /// The end: checks size and digest against the descriptor, completes the directory.
    pub fn finish(self, descriptor: &Descriptor) -> Result<(SealedBlob, Applied)> {
        Err(Error::unimplemented("finish layer", &descriptor.digest))
    }
}
