//! Entries of a layer archive, made into files below a root descriptor.
//!
//! System calls per small file: openat, write, utimensat, close. Owner and mode are set only where creation did not.

use super::{
    Limits, UnpackOptions, WhiteoutFormat,
    attributes::{Creator, set_xattrs, set_xattrs_with, timestamps},
    parents::{Parent, Parents},
    path,
};
use crate::{
    Error, Result,
    remove::remove_tree_bytes,
    snapshot::Usage,
    tar::{Entry, EntryKind, Fault, Visitor},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};
use tare_types::ErrorKind;

const WHITEOUT: &[u8] = b".wh.";
/// Bookkeeping of aufs, which once wrote layers; the opaque mark is one of its names.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Takes entries from the parser.
#[derive(Debug)]
pub(super) struct Extractor {
    pub(super) parents: Parents,
    whiteouts: WhiteoutFormat,
    limits: Limits,
    creator: Creator,
    /// The file that is being written.
    file: Option<OpenFile>,
    /// Times of directories, set at the end: every file in one changes them.
    directories: Vec<(Vec<u8>, Timestamps)>,
    /// Hard links whose target is not in this layer: link, target.
    pub(super) deferred: Vec<(Vec<u8>, Vec<u8>)>,
    /// What this layer made: needed only where deletions remove things in place.
    made: Option<BTreeSet<Vec<u8>>>,
    pub(super) usage: Usage,
    pub(super) entries: u64,
    /// Apparent bytes of sparse files that are not in the archive.
    pub(super) holes: u64,
    declared: u64,
    path: Vec<u8>,
    target: Vec<u8>,
    /// What every name of the archive is below; a layer's is the root.
    base: Vec<u8>,
    owner: Option<(u32, u32)>,
    keep_kinds: bool,
}

#[derive(Debug)]
struct OpenFile {
    fd: OwnedFd,
    parent: Arc<Parent>,
}

impl From<Fault> for Error {
    fn from(Fault(text): Fault) -> Self {
        Error::invalid("apply layer", "", text)
    }
}

fn failed(errno: Errno) -> Error {
    Error::io("apply layer", "", errno)
}

impl Visitor for Extractor {
    type Error = Error;

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.check_limits(entry)?;
        let mut clean = std::mem::take(&mut self.path);
        let outcome = path::clean(&entry.path, &mut clean).and_then(|()| {
            if !self.base.is_empty() && !clean.is_empty() {
                clean.splice(0..0, self.base.iter().copied().chain([b'/']));
            }
            self.make(entry, &clean)
        });
        self.path = clean;
        outcome
    }

    fn data(&mut self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            let written = match entry.sparse {
                None => rustix::io::write(&file.fd, rest),
                Some(_) => rustix::io::pwrite(&file.fd, rest, offset),
            };
            match written {
                Ok(count) => {
                    rest = &rest[count..];
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        let Some(OpenFile { fd, parent }) = self.file.take() else { return Ok(()) };
        if entry.sparse.is_some() {
            rustix::fs::ftruncate(&fd, entry.size).map_err(failed)?;
        }
        // After the last write, which clears set-id bits and file capabilities.
        self.finish_inode(entry, &fd, parent.set_group)?;
        rustix::fs::futimens(&fd, &timestamps(entry)).map_err(failed)
    }
}

impl Extractor {
    pub(super) fn new(root: OwnedFd, whiteouts: WhiteoutFormat, limits: Limits) -> Result<Self> {
        Ok(Self {
            parents: Parents::new(root)?,
            whiteouts,
            limits,
            creator: Creator::current(),
            file: None,
            directories: Vec::new(),
            deferred: Vec::new(),
            made: (whiteouts == WhiteoutFormat::Remove).then(BTreeSet::new),
            usage: Usage::default(),
            entries: 0,
            holes: 0,
            declared: 0,
            path: Vec::new(),
            target: Vec::new(),
            base: Vec::new(),
            owner: None,
            keep_kinds: false,
        })
    }

    /// For an ordinary archive below a directory that exists.
    pub(super) fn for_archive(root: OwnedFd, options: UnpackOptions) -> Result<Self> {
        let mut extractor = Self::new(root, WhiteoutFormat::Literal, options.limits)?;
        path::clean(&options.base, &mut extractor.base)?;
        if extractor.parents.find(&extractor.base)?.is_none() {
            return Err(Error::not_found("unpack into", path::show(&options.base)));
        }
        extractor.owner = options.owner;
        extractor.keep_kinds = options.keep_kinds;
        Ok(extractor)
    }

    /// Sets the times of directories, deepest first. One that was replaced meanwhile is left alone.
    pub(super) fn finish(&mut self) -> Result<()> {
        for (path, times) in std::mem::take(&mut self.directories).iter().rev() {
            let (above, name) = path::split(path);
            let Some(parent) = self.parents.find(above)? else { continue };
            match rustix::fs::utimensat(&parent.fd, name, times, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    fn check_limits(&mut self, entry: &Entry) -> Result<()> {
        let exhausted = |text: String| Error::new(ErrorKind::ResourceExhausted, "apply layer", "", text);
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(exhausted(format!(
                "it has more than {} entries (max_entries)",
                self.limits.max_entries
            )));
        }
        // What an entry claims is refused before its first byte.
        self.declared = self.declared.saturating_add(entry.size);
        if self.declared > self.limits.max_bytes {
            let limit = self.limits.max_bytes;
            return Err(exhausted(format!("its files have more than {limit} bytes (max_bytes)")));
        }
        if let Some(pieces) = &entry.sparse {
            let stored: u64 = pieces.iter().map(|&(_, length)| length).sum();
            self.holes = self.holes.saturating_add(entry.size.saturating_sub(stored));
        }
        Ok(())
    }

    fn make(&mut self, entry: &Entry, clean: &[u8]) -> Result<()> {
        if clean.is_empty() {
            // The root itself: its attributes are the snapshotter's, as in containerd.
            return Ok(());
        }
        let (above, name) = path::split(clean);
        if self.whiteouts == WhiteoutFormat::Literal {
            return self.make_entry(entry, clean);
        }
        if clean.starts_with(AUFS) && clean != OPAQUE {
            return Ok(());
        }
        if name == OPAQUE {
            return self.opaque(above);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(above, hidden);
        }
        self.make_entry(entry, clean)
    }

    fn make_entry(&mut self, entry: &Entry, clean: &[u8]) -> Result<()> {
        let (above, name) = path::split(clean);
        let parent = self.parents.get(above)?;
        match entry.kind {
            EntryKind::File => self.file(entry, parent, name)?,
            EntryKind::Directory => self.directory(entry, &parent, clean, name)?,
            EntryKind::HardLink => self.hard_link(entry, &parent, clean, name)?,
            EntryKind::Symlink => self.symlink(entry, &parent, name)?,
            EntryKind::Character | EntryKind::Block | EntryKind::Fifo => self.node(entry, &parent, name)?,
        }
        if let Some(made) = &mut self.made {
            made.insert(clean.to_vec());
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, parent: Arc<Parent>, name: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Creator::initial_mode(entry);
        let fd = self.replacing(&parent, name, || rustix::fs::openat(&parent.fd, name, flags, mode))?;
        let stored = entry.sparse.as_ref().map_or(entry.size, |pieces| pieces.iter().map(|p| p.1).sum());
        self.usage += Usage { bytes: stored.next_multiple_of(4096), inodes: 1 };
        self.file = Some(OpenFile { fd, parent });
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, parent: &Parent, clean: &[u8], name: &[u8]) -> Result<()> {
        let mut hides = false;
        let is_new = loop {
            match rustix::fs::mkdirat(&parent.fd, name, Creator::initial_mode(entry)) {
                Ok(()) => break true,
                Err(Errno::EXIST) => match self.clear(parent, name, true)? {
                    Cleared::Directory => break false,
                    Cleared::Whiteout => hides = true,
                    Cleared::Other => {}
                },
                Err(errno) => return Err(failed(errno)),
            }
        };
        self.usage += Usage { bytes: 4096, inodes: u64::from(is_new) };
        let plain = is_new
            && entry.xattrs.is_empty()
            && !hides
            && self.new_owner(entry, parent.set_group).is_none()
            && !self.creator.needs_mode(entry, parent.set_group);
        if !plain {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::empty()).map_err(failed)?;
            if is_new {
                self.finish_inode(entry, &fd, parent.set_group)?;
            } else {
                let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
                rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(failed)?;
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
                set_xattrs(entry, fd.as_fd()).map_err(failed)?;
            }
            if hides {
                // The layer deleted the name below and made it anew: nothing of below may shine through.
                self.set_opaque(&fd)?;
            }
            if entry.mode & 0o2000 != 0 {
                self.parents.forget();
            }
        }
        self.parents.implicit.remove(clean);
        self.directories.push((clean.to_vec(), timestamps(entry)));
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, parent: &Parent, clean: &[u8], name: &[u8]) -> Result<()> {
        let mut target = std::mem::take(&mut self.target);
        path::clean(&entry.link, &mut target)?;
        if !self.base.is_empty() && !target.is_empty() {
            target.splice(0..0, self.base.iter().copied().chain([b'/']));
        }
        if target.is_empty() || target == clean {
            return Err(Error::invalid("apply layer", "", "a hard link to a directory or to itself"));
        }
        let (above, target_name) = path::split(&target);
        let linked = match self.parents.find(above)? {
            None => Err(Errno::NOENT),
            Some(from) => {
                // The link itself, never what a symlink of that name points to.
                let link = || rustix::fs::linkat(&from.fd, target_name, &parent.fd, name, AtFlags::empty());
                match link() {
                    Err(Errno::EXIST) => {
                        rustix::fs::statat(&from.fd, target_name, AtFlags::SYMLINK_NOFOLLOW)
                            .map_err(failed)?;
                        self.clear(parent, name, false)?;
                        link()
                    }
                    other => other,
                }
            }
        };
        let outcome = match linked {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) if matches!(self.whiteouts, WhiteoutFormat::Overlay { .. }) => {
                self.deferred.push((clean.to_vec(), target.clone()));
                Ok(())
            }
            Err(errno) => {
                Err(Error::io("apply layer", format_args!("hard link to {}", path::show(&target)), errno))
            }
        };
        self.target = target;
        outcome
    }

    fn symlink(&mut self, entry: &Entry, parent: &Parent, name: &[u8]) -> Result<()> {
        let link = &*entry.link;
        if link.is_empty() || link.contains(&0) {
            return Err(Error::invalid("apply layer", "", "a symlink without a target"));
        }
        self.replacing(parent, name, || rustix::fs::symlinkat(link, &parent.fd, name))?;
        self.usage += Usage { bytes: 0, inodes: 1 };
        self.finish_special(entry, parent, name)
    }

    fn node(&mut self, entry: &Entry, parent: &Parent, name: &[u8]) -> Result<()> {
        let kind = match entry.kind {
            EntryKind::Character => FileType::CharacterDevice,
            EntryKind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(entry.device.0, entry.device.1),
        };
        let mode = Creator::initial_mode(entry);
        self.replacing(parent, name, || rustix::fs::mknodat(&parent.fd, name, kind, mode, device))?;
        self.usage += Usage { bytes: 0, inodes: 1 };
        self.finish_special(entry, parent, name)?;
        if self.creator.needs_mode(entry, parent.set_group) {
            // Just made by us below a directory of ours, and no symlink.
            rustix::fs::chmodat(&parent.fd, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// The owner that must be set on something new, if any.
    fn new_owner(&self, entry: &Entry, parent_sets_group: bool) -> Option<(Uid, Gid)> {
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        self.creator.owner(uid, gid, parent_sets_group)
    }

    /// Owner, mode and xattrs of an open file or directory.
    fn finish_inode(&self, entry: &Entry, fd: &OwnedFd, parent_sets_group: bool) -> Result<()> {
        if let Some((uid, gid)) = self.new_owner(entry, parent_sets_group) {
            rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(failed)?;
        }
        if self.creator.needs_mode(entry, parent_sets_group) {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        }
        set_xattrs(entry, fd.as_fd()).map_err(failed)
    }

    /// Owner, xattrs and times of what cannot be opened.
    fn finish_special(&self, entry: &Entry, parent: &Parent, name: &[u8]) -> Result<()> {
        if let Some((uid, gid)) = self.new_owner(entry, parent.set_group) {
            rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed)?;
        }
        if !entry.xattrs.is_empty() {
            let mut magic = format!("/proc/self/fd/{}/", parent.fd.as_raw_fd()).into_bytes();
            magic.extend_from_slice(name);
            set_xattrs_with(entry, |key, value| {
                rustix::fs::lsetxattr(&*magic, key, value, XattrFlags::empty())
            })
            .map_err(failed)?;
        }
        rustix::fs::utimensat(&parent.fd, name, &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    fn whiteout(&mut self, above: &[u8], hidden: &[u8]) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("apply layer", "", "a deletion mark without a name"));
        }
        if self.made.is_some() {
            return self.remove_in_place(above, hidden);
        }
        let parent = self.parents.get(above)?;
        match rustix::fs::mknodat(&parent.fd, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => self.usage += Usage { bytes: 0, inodes: 1 },
            // The layer itself has the name: that hides what is below.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        Ok(())
    }

    /// Removes a name of the parent's content, unless this layer made it.
    fn remove_in_place(&mut self, above: &[u8], hidden: &[u8]) -> Result<()> {
        let Some(parent) = self.parents.find(above)? else { return Ok(()) };
        let mut full = above.to_vec();
        if !above.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(hidden);
        let below = [&full, b"/".as_slice()].concat();
        if let Some(made) = &self.made {
            let inside = made.range(below.clone()..).next();
            if made.contains(&full) || inside.is_some_and(|path| path.starts_with(&below)) {
                return Ok(());
            }
        }
        remove_tree_bytes(parent.fd.as_fd(), hidden)?;
        self.parents.forget();
        Ok(())
    }

    fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        let parent = self.parents.get(directory)?;
        if self.made.is_none() {
            return self.set_opaque(&parent.fd);
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&parent.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_bytes().to_vec());
            }
        }
        names.iter().try_for_each(|name| self.remove_in_place(directory, name))
    }

    fn set_opaque(&self, directory: &OwnedFd) -> Result<()> {
        let name = match self.whiteouts {
            WhiteoutFormat::Overlay { userxattr: true } => "user.overlay.opaque",
            WhiteoutFormat::Overlay { userxattr: false } => "trusted.overlay.opaque",
            WhiteoutFormat::Remove | WhiteoutFormat::Literal => return Ok(()),
        };
        rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty()).map_err(failed)
    }

    /// Makes something under a name; whatever has the name is removed: the later entry of an archive wins.
    fn replacing<T>(
        &mut self,
        parent: &Parent,
        name: &[u8],
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return other.map_err(failed),
        }
        self.clear(parent, name, false)?;
        make().map_err(failed)
    }

    /// Removes what has a name; a directory stays when it is wanted.
    fn clear(&mut self, parent: &Parent, name: &[u8], keep_directory: bool) -> Result<Cleared> {
        let stat = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.keep_kinds && (kind == FileType::Directory) != keep_directory {
            let shown = path::show(name);
            let detail = match keep_directory {
                true => format!("cannot overwrite non-directory {shown} with directory"),
                false => format!("cannot overwrite directory {shown} with non-directory"),
            };
            return Err(Error::invalid("unpack", "", detail));
        }
        if kind == FileType::Directory {
            if keep_directory {
                return Ok(Cleared::Directory);
            }
            remove_tree_bytes(parent.fd.as_fd(), name)?;
        } else {
            rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()).map_err(failed)?;
        }
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            self.parents.forget();
        }
        match is_whiteout(kind, stat.st_rdev) && matches!(self.whiteouts, WhiteoutFormat::Overlay { .. }) {
            true => Ok(Cleared::Whiteout),
            false => Ok(Cleared::Other),
        }
    }
}

fn is_whiteout(kind: FileType, device: u64) -> bool {
    kind == FileType::CharacterDevice && device == 0
}

enum Cleared {
    Directory,
    Whiteout,
    Other,
}
