//! Reading a finished blob.

use crate::{Error, Result};
use std::{fs::File, os::unix::fs::FileExt};
use tare_types::Digest;

/// An open blob. It stays readable when the blob is deleted meanwhile.
#[derive(Debug)]
pub struct BlobReader {
    pub(super) file: File,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl BlobReader {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at an offset; returns how many bytes, 0 at the end. Does not move any position.
    ///
    /// # Errors
    /// `OutOfRange` for an offset behind the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        if offset > self.size {
            return Err(Error::new(
                tare_types::ErrorKind::OutOfRange,
                "read content",
                &self.digest,
                format!("offset {offset} is behind the end at {}", self.size),
            ));
        }
        self.file.read_at(buffer, offset).map_err(|error| Error::io("read content", &self.digest, error))
    }

    /// The whole blob, when it is not larger than `limit` bytes.
    ///
    /// # Errors
    /// `ResourceExhausted` when it is larger.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(Error::new(
                tare_types::ErrorKind::ResourceExhausted,
                "read content",
                &self.digest,
                format!("its size {} is above the limit of {limit} bytes", self.size),
            ));
        }
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(|error| Error::io("read content", &self.digest, error))?;
        Ok(bytes)
    }

    /// The file, positioned at its start.
    pub fn into_file(self) -> File {
        self.file
    }
}
