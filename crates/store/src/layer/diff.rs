//! Layers out of changes: of an overlay's upper directory, or of two trees side by side.

use super::archive::{ArchiveWriter, join, whiteout_path};
use crate::{
    Error, Result,
    copy::{get_xattr, list_xattrs},
    tar::EntryKind,
};
use flate2::{Compression as Level, write::GzEncoder};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tare_types::{DiffId, Digest, image::Compression};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// As deep as an archive may be.
const MAX_DEPTH: usize = 512;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Digest of the bytes in the sink.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// Digest of the archive before compression.
    pub diff_id: DiffId,
}

/// Writes a layer of what the upper directory of an overlay holds.
///
/// # Errors
/// `Unimplemented` for zstd and for directories that overlayfs redirected; those of reading and of the sink.
pub fn write_upper(upper: OwnedFd, sink: impl Write, compression: Compression) -> Result<Written> {
    write(sink, compression, |archive| {
        let mut archive = ArchiveWriter::of_upper(archive);
        archive.add_children(upper, b"")?;
        archive.finish().map(drop)
    })
}

/// Writes a layer of what differs between two trees; without a lower one, of everything.
///
/// Two files are the same when kind, mode, owner, size, time and extended attributes are; of the content nothing is
/// read, since a change of it changes the time (containerd's rule for times with nanoseconds).
///
/// # Errors
/// As [`write_upper`].
pub fn write_changes(
    lower: Option<OwnedFd>,
    upper: OwnedFd,
    sink: impl Write,
    compression: Compression,
) -> Result<Written> {
    write(sink, compression, |archive| {
        let mut archive = ArchiveWriter::new(archive);
        match lower {
            None => archive.add_children(upper, b"")?,
            Some(lower) => {
                Changes { archive: &mut archive }.directory(lower, upper, b"", &mut Vec::new(), 0)?
            }
        }
        archive.finish().map(drop)
    })
}

fn write(
    sink: impl Write,
    compression: Compression,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Written> {
    let mut outer = Hashing::new(io::BufWriter::with_capacity(256 << 10, sink));
    let failed = |error| Error::io("write layer", "", error);
    let diff_id = match compression {
        Compression::None => {
            fill(&mut outer)?;
            None
        }
        Compression::Gzip => {
            let mut inner = Hashing::new(GzEncoder::new(&mut outer, Level::default()));
            fill(&mut inner)?;
            let (digest, _, encoder) = inner.finish();
            encoder.finish().map_err(failed)?;
            Some(digest)
        }
        Compression::Zstd => return Err(Error::unimplemented("write layer", "with zstd compression")),
    };
    outer.flush().map_err(failed)?;
    let (digest, size, _) = outer.finish();
    Ok(Written { diff_id: DiffId(diff_id.unwrap_or_else(|| digest.clone())), digest, size })
}

struct Hashing<W> {
    sink: W,
    hasher: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(sink: W) -> Self {
        Self { sink, hasher: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (Digest, u64, W) {
        (Digest::from_sha256(&self.hasher.finalize().into()), self.size, self.sink)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

struct Changes<'a, W> {
    archive: &'a mut ArchiveWriter<W>,
}

/// A directory of the upper tree that has no entry in the archive yet: parent, name, path.
type Pending = Vec<(OwnedFd, CString, Vec<u8>)>;

impl<W: Write> Changes<'_, W> {
    /// Walks both trees at once. Directories above a change are written when the first change below comes.
    fn directory(
        &mut self,
        lower: OwnedFd,
        upper: OwnedFd,
        path: &[u8],
        pending: &mut Pending,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            let shown = super::path::show(path);
            return Err(Error::invalid("compare", shown, "it is more than 512 directories deep"));
        }
        let failed = |errno| Error::io("compare", super::path::show(path), errno);
        let (below, above) = (names(&lower).map_err(failed)?, names(&upper).map_err(failed)?);
        let all: BTreeSet<&CString> = below.keys().chain(above.keys()).collect();
        for name in all {
            let path = join(path, name.to_bytes());
            let Some(new) = above.get(name) else {
                self.write_pending(pending)?;
                self.archive.add_made(&whiteout_path(&path), EntryKind::File, 0)?;
                continue;
            };
            let old = below.get(name);
            let both_directories = old.is_some_and(|old| is_directory(old) && is_directory(new));
            let same = old.is_some_and(|old| is_same(old, new))
                && same_xattrs(lower.as_fd(), upper.as_fd(), name, new).map_err(failed)?;
            if same && !both_directories {
                continue;
            }
            if !both_directories {
                self.write_pending(pending)?;
                self.archive.add(upper.as_fd(), name.to_bytes(), &path)?;
                continue;
            }
            if !same {
                self.write_pending(pending)?;
                self.archive.entry(upper.as_fd(), name, &path)?;
            } else {
                let parent = upper.try_clone().map_err(|error| Error::io("compare", "", error))?;
                pending.push((parent, name.clone(), path.clone()));
            }
            let open = |parent: &OwnedFd| rustix::fs::openat(parent, name, DIRECTORY, Mode::empty());
            let (lower, upper) = (open(&lower).map_err(failed)?, open(&upper).map_err(failed)?);
            self.directory(lower, upper, &path, pending, depth + 1)?;
            pending.pop_if(|(_, _, own)| *own == path);
        }
        Ok(())
    }

    fn write_pending(&mut self, pending: &mut Pending) -> Result<()> {
        for (parent, name, path) in pending.drain(..) {
            self.archive.entry(parent.as_fd(), &name, &path)?;
        }
        Ok(())
    }
}

fn names(directory: &OwnedFd) -> rustix::io::Result<BTreeMap<CString, Stat>> {
    let mut found = BTreeMap::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => drop(found.insert(entry.file_name().to_owned(), stat)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_same(old: &Stat, new: &Stat) -> bool {
    let owner = (old.st_mode, old.st_uid, old.st_gid, old.st_rdev)
        == (new.st_mode, new.st_uid, new.st_gid, new.st_rdev);
    // A directory's size and time follow from its entries.
    let content = is_directory(new)
        || (old.st_size, old.st_mtime, old.st_mtime_nsec) == (new.st_size, new.st_mtime, new.st_mtime_nsec);
    owner && content
}

fn same_xattrs(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    name: &CString,
    stat: &Stat,
) -> rustix::io::Result<bool> {
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory) {
        return Ok(true);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = |parent| -> rustix::io::Result<BTreeMap<CString, Vec<u8>>> {
        let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let names = list_xattrs(file.as_fd())?;
        let shown = names.into_iter().filter(|name| !name.to_bytes().starts_with(b"trusted."));
        shown.map(|name| Ok((name.clone(), get_xattr(file.as_fd(), &name)?))).collect()
    };
    Ok(read(lower)? == read(upper)?)
}
