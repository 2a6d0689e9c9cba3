//! Applying one layer to a directory.

use super::{Limits, extract::Extractor, inflate::Inflater};
use crate::{Error, Result, snapshot::Usage, tar::Parser};
use sha2::{Digest as _, Sha256};
use std::{io::Read, os::fd::OwnedFd};
use tare_types::{DiffId, Digest, ErrorKind};

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
    /// An ordinary archive: names that look like deletions are names.
    Literal,
}

/// How a layer is applied.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// How deletions are written.
    pub whiteouts: WhiteoutFormat,
    /// Bounds.
    pub limits: Limits,
}

/// How an ordinary archive is unpacked into a container's file system (`docker cp`).
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Directory that takes the archive, from the root. Links in it and below are followed within the root.
    pub base: Vec<u8>,
    /// Owner and group of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Refuse to replace a directory by something else, and the reverse.
    pub keep_kinds: bool,
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
    /// Directories that the archive does not describe, in no order.
    pub(super) implicit: Vec<Vec<u8>>,
    /// Hard links whose target is not in the archive: link, target.
    pub(super) deferred: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Applies a layer that is pushed in, in order, in pieces of any size.
///
/// Compression is recognised by the first bytes. Dropping it in the middle leaves a partly filled directory, which
/// belongs to an active snapshot and goes with it.
#[derive(Debug)]
pub struct LayerApplier {
    inflater: Inflater,
    pub(super) unpacker: Unpacker,
    /// Compressed bytes so far.
    compressed: u64,
}

impl LayerApplier {
    /// An applier that writes below `root`.
    ///
    /// # Errors
    /// When `root` is no directory.
    pub fn new(root: OwnedFd, options: ApplyOptions) -> Result<Self> {
        Ok(Self { inflater: Inflater::new(), unpacker: Unpacker::new(root, options)?, compressed: 0 })
    }

    /// An applier of an ordinary archive: the root may be in use meanwhile.
    ///
    /// # Errors
    /// `NotFound` when the base does not exist, `InvalidArgument` when it is no directory or has a `..`.
    pub fn for_archive(root: OwnedFd, options: UnpackOptions) -> Result<Self> {
        let limits = options.limits;
        let extractor = Extractor::for_archive(root, options)?;
        Ok(Self { inflater: Inflater::new(), unpacker: Unpacker::with(extractor, limits), compressed: 0 })
    }

    /// The next compressed bytes.
    ///
    /// # Errors
    /// `InvalidArgument` for a malformed or hostile archive (entry and reason), `DataLoss` for a damaged stream,
    /// `ResourceExhausted` for a limit or a full disk. After an error the applier is of no use.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.compressed += bytes.len() as u64;
        let Self { inflater, unpacker, compressed } = self;
        inflater.push(bytes, &mut |buffer, length| unpacker.push(&buffer[..length], *compressed))
    }

    /// The end of the compressed bytes: checks that the archive is complete and sets times of directories.
    ///
    /// # Errors
    /// `DataLoss` when the stream is cut off; those of [`LayerApplier::write`].
    pub fn finish(self) -> Result<Applied> {
        let Self { inflater, mut unpacker, compressed } = self;
        inflater.finish(&mut |buffer, length| unpacker.push(&buffer[..length], compressed))?;
        unpacker.finish()
    }

    pub(super) fn into_parts(self) -> (Inflater, Unpacker) {
        (self.inflater, self.unpacker)
    }
}

/// The half behind decompression: hash, parse, extract.
#[derive(Debug)]
pub(super) struct Unpacker {
    hasher: Sha256,
    parser: Parser,
    extractor: Extractor,
    limits: Limits,
    size: u64,
}

impl Unpacker {
    fn new(root: OwnedFd, options: ApplyOptions) -> Result<Self> {
        let extractor = Extractor::new(root, options.whiteouts, options.limits)?;
        Ok(Self::with(extractor, options.limits))
    }

    fn with(extractor: Extractor, limits: Limits) -> Self {
        Self { hasher: Sha256::new(), parser: Parser::new(), extractor, limits, size: 0 }
    }

    /// The next bytes of the archive, which came out of `compressed` bytes so far.
    pub(super) fn push(&mut self, bytes: &[u8], compressed: u64) -> Result<()> {
        self.size += bytes.len() as u64;
        self.check_size(compressed)?;
        self.hasher.update(bytes);
        let outcome = self.parser.push(bytes, &mut self.extractor);
        outcome.and_then(|()| self.check_size(compressed)).map_err(|error| self.in_entry(error))
    }

    pub(super) fn finish(mut self) -> Result<Applied> {
        self.parser.finish().map_err(|fault| {
            Error::data_loss("apply layer", format_args!("entry {:?}", self.parser.current()), fault.0)
        })?;
        self.extractor.finish()?;
        let hash: [u8; 32] = self.hasher.finalize().into();
        Ok(Applied {
            diff_id: DiffId(Digest::from_sha256(&hash)),
            size: self.size,
            entries: self.extractor.entries,
            usage: self.extractor.usage,
            implicit: std::mem::take(&mut self.extractor.parents.implicit).into_iter().collect(),
            deferred: std::mem::take(&mut self.extractor.deferred),
        })
    }

    fn check_size(&self, compressed: u64) -> Result<()> {
        let Limits { max_bytes, max_ratio, ratio_floor, .. } = self.limits;
        let exhausted = |text| Err(Error::new(ErrorKind::ResourceExhausted, "apply layer", "", text));
        let total = self.size.saturating_add(self.extractor.holes);
        if total > max_bytes {
            return exhausted(format!("it has more than {max_bytes} bytes (max_bytes)"));
        }
        if total > ratio_floor && total / max_ratio.max(1) > compressed {
            return exhausted(format!(
                "{compressed} bytes unpack to more than {total}, a ratio above {max_ratio} (max_ratio)"
            ));
        }
        Ok(())
    }

    fn in_entry(&self, error: Error) -> Error {
        match error.object().is_empty() {
            true => error.with_object(format_args!("entry {:?}", self.parser.current())),
            false => error,
        }
    }
}

/// Applies a layer from a reader.
///
/// # Errors
/// As [`LayerApplier::write`]; those of the reader.
pub fn apply(mut reader: impl Read, root: OwnedFd, options: ApplyOptions) -> Result<Applied> {
    let mut applier = LayerApplier::new(root, options)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return applier.finish(),
            Ok(count) => applier.write(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read layer", "", error)),
        }
    }
}
