//! Applying one layer to a directory.

use super::Limits;
use crate::{Error, Result, snapshot::Usage};
use std::{io::Read, os::fd::OwnedFd};
use tare_types::{DiffId, Digest};

/// How deletions are written into the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutFormat {
    /// overlayfs: a 0:0 character device per name, an `overlay.opaque` xattr for whole directories.
    Overlay {
        /// `user.overlay.*` instead of `trusted.overlay.*`, for mounts with `userxattr`.
        userxattr: bool,
    },
    /// The directory holds the parent's content: names are removed from it.
    Remove,
}

/// How a layer is applied.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// How deletions are written.
    pub whiteouts: WhiteoutFormat,
    /// Bounds.
    pub limits: Limits,
}

/// What a layer was.
#[derive(Debug)]
pub struct Applied {
    /// Digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// Uncompressed bytes.
    pub size: u64,
    /// Entries.
    pub entries: u64,
    /// What it takes on disk, as counted while writing.
    pub usage: Usage,
}

impl Applied {
    /// Completes what depends on the parents of a layer that was applied without them: owners and modes of
    /// directories that the archive does not describe, hard links to files of lower layers.
    /// Cheap when there is nothing. `lowers` topmost first.
    pub fn settle(&mut self, _root: &OwnedFd, _lowers: &[OwnedFd]) -> Result<()> {
        Ok(())
    }
}

/// Applies a layer that is pushed in, in order, in pieces of any size.
///
/// Compression is recognised by the first bytes. Dropping it in the middle leaves a partly filled directory, which
/// belongs to an active snapshot and goes with it.
#[derive(Debug)]
pub struct LayerApplier {}

impl LayerApplier {
    /// An applier that writes below `root`.
    pub fn new(_root: OwnedFd, _options: ApplyOptions) -> Result<Self> {
        Ok(Self {})
    }

    /// The next compressed bytes.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed or hostile archive (entry and reason), `ResourceExhausted` for a limit or
    /// a full disk. After an error the applier is of no use.
    pub fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        Err(Error::unimplemented("apply layer", ""))
    }

    /// The end of the compressed bytes: checks that the archive is complete and sets times of directories.
    pub fn finish(self) -> Result<Applied> {
        Ok(Applied { diff_id: DiffId(Digest::of_bytes(b"")), size: 0, entries: 0, usage: Usage::default() })
    }
}

/// Applies a layer from a reader.
pub fn apply(mut reader: impl Read, root: OwnedFd, options: ApplyOptions) -> Result<Applied> {
    let mut applier = LayerApplier::new(root, options)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = reader.read(&mut buffer).map_err(|error| Error::io("read layer", "", error))?;
        if count == 0 {
            return applier.finish();
        }
        applier.write(&buffer[..count])?;
    }
}
