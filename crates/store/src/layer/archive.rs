//! Archives written from directories: layers of changes, and what `docker cp` sends.
//!
//! Everything below the starting descriptor is opened relative to its directory, without following links.

use super::path::show;
use crate::{
    Error, Result,
    copy::{get_xattr, list_xattrs},
    tar::{EntryKind, Member, Time, Writer},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::CString,
    io::Write,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Deeper trees are refused: each level holds a descriptor.
const MAX_DEPTH: usize = 512;
const CHUNK: usize = 256 << 10;

/// Writes one archive.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    writer: Writer<W>,
    /// First name of an inode with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Whether marks of overlayfs become deletion marks of a layer.
    whiteouts: bool,
    buffer: Vec<u8>,
}

/// Whether a directory shows what the kernel does (proc, sysfs, cgroups and the like): nothing of it is a file to keep,
/// and reading some of it changes something or does not end.
fn is_of_kernel(directory: &OwnedFd) -> bool {
    /// Magic numbers of statfs(2): proc, sysfs, cgroup, cgroup2, devpts, mqueue, securityfs, debugfs, tracefs.
    const KERNEL: [u64; 9] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x7363_6673,
        0x6462_6720,
        0x7472_6163,
    ];
    let kind = rustix::fs::fstatfs(directory).map_or(0, |stat| stat.f_type as u64 & 0xffff_ffff);
    KERNEL.contains(&kind)
}

struct Level {
    directory: OwnedFd,
    /// Names still to write, last first.
    names: Vec<CString>,
    prefix: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// A plain archive.
    pub fn new(sink: W) -> Self {
        Self { writer: Writer::new(sink), links: HashMap::new(), whiteouts: false, buffer: Vec::new() }
    }

    /// A layer of the changes in an overlay's upper directory.
    pub(super) fn of_upper(sink: W) -> Self {
        Self { whiteouts: true, ..Self::new(sink) }
    }

    /// Adds `name` of a directory, and everything below it, under the name `archived` (no slash at the end).
    ///
    /// # Errors
    /// `NotFound` when it does not exist; those of reading and of the sink.
    pub fn add(&mut self, parent: BorrowedFd<'_>, name: &[u8], archived: &[u8]) -> Result<()> {
        let text = CString::new(name).map_err(|_| Error::invalid("archive", show(name), "a NUL"))?;
        match self.entry(parent, &text, archived)? {
            Some(directory) => self.add_children(directory, archived),
            None => Ok(()),
        }
    }

    /// Adds everything in a directory, without an entry for itself.
    ///
    /// # Errors
    /// Those of reading and of the sink.
    pub fn add_children(&mut self, directory: OwnedFd, prefix: &[u8]) -> Result<()> {
        let mut levels = vec![level(directory, prefix.to_vec())?];
        while let Some(top) = levels.last_mut() {
            let Some(name) = top.names.pop() else {
                levels.pop();
                continue;
            };
            let path = join(&top.prefix, name.to_bytes());
            if let Some(directory) = self.entry(top.directory.as_fd(), &name, &path)? {
                if levels.len() >= MAX_DEPTH {
                    return Err(Error::invalid(
                        "archive",
                        show(&path),
                        "it is more than 512 directories deep",
                    ));
                }
                if !self.whiteouts && is_of_kernel(&directory) {
                    continue;
                }
                levels.push(level(directory, path)?);
            }
        }
        Ok(())
    }

    /// Adds a member that is not on disk: a directory or an empty file.
    pub(super) fn add_made(&mut self, path: &[u8], kind: EntryKind, mode: u32) -> Result<()> {
        let mtime = Time::default();
        let member = Member {
            path,
            kind,
            link: b"",
            mode,
            uid: 0,
            gid: 0,
            mtime,
            size: 0,
            device: (0, 0),
            xattrs: &[],
        };
        self.begin(&member)
    }

    /// The end of the archive; gives the sink back.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(self) -> Result<W> {
        self.writer.finish().map_err(|error| Error::io("write archive", "", error))
    }

    fn begin(&mut self, member: &Member<'_>) -> Result<()> {
        self.writer.begin(member).map_err(|error| Error::io("write archive", show(member.path), error))
    }

    /// Writes one entry. Returns the directory when there is something below to write.
    pub(super) fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
    ) -> Result<Option<OwnedFd>> {
        let failed = |errno| Error::io("archive", show(path), errno);
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(Error::not_found("archive", show(path))),
            Err(errno) => return Err(failed(errno)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.whiteouts && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return self.add_made(&whiteout_path(path), EntryKind::File, 0).map(|()| None);
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let first = first.clone();
                return self.begin(&member(path, EntryKind::HardLink, &first, &stat, &[])).map(|()| None);
            }
            self.links.insert(inode, path.to_vec());
        }
        match kind {
            FileType::Directory => self.directory(parent, name, path).map(Some),
            FileType::RegularFile => self.file(parent, name, path).map(|()| None),
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(parent, name, Vec::new()).map_err(failed)?;
                let xattrs = special_xattrs(parent, name).map_err(failed)?;
                self.begin(&member(path, EntryKind::Symlink, link.to_bytes(), &stat, &xattrs)).map(|()| None)
            }
            FileType::Socket => Ok(None),
            other => {
                let kind = match other {
                    FileType::CharacterDevice => EntryKind::Character,
                    FileType::BlockDevice => EntryKind::Block,
                    _ => EntryKind::Fifo,
                };
                let xattrs = special_xattrs(parent, name).map_err(failed)?;
                self.begin(&member(path, kind, b"", &stat, &xattrs)).map(|()| None)
            }
        }
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &CString, path: &[u8]) -> Result<OwnedFd> {
        let failed = |errno| Error::io("archive", show(path), errno);
        let directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        let (xattrs, opaque) = self.xattrs(directory.as_fd(), path)?;
        let mut slashed = path.to_vec();
        slashed.push(b'/');
        self.begin(&member(&slashed, EntryKind::Directory, b"", &stat, &xattrs))?;
        if opaque {
            self.add_made(&join(path, b".wh..wh..opq"), EntryKind::File, 0)?;
        }
        Ok(directory)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CString, path: &[u8]) -> Result<()> {
        let failed = |errno| Error::io("archive", show(path), errno);
        // NONBLOCK: between stat and open the file may have become a fifo.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::precondition("archive", show(path), "it changed while it was read"));
        }
        let (xattrs, _) = self.xattrs(file.as_fd(), path)?;
        self.begin(&member(path, EntryKind::File, b"", &stat, &xattrs))?;
        self.copy(&file, path, stat.st_size as u64)
    }

    /// Exactly `size` bytes: a file that grows is cut, one that shrinks is filled with zeros.
    fn copy(&mut self, file: &OwnedFd, path: &[u8], size: u64) -> Result<()> {
        self.buffer.resize(CHUNK, 0);
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = match rustix::io::read(file, &mut self.buffer[..want]) {
                Ok(0) => {
                    self.buffer[..want].fill(0);
                    want
                }
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::io("archive", show(path), errno)),
            };
            self.writer
                .data(&self.buffer[..count])
                .map_err(|error| Error::io("write archive", show(path), error))?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Extended attributes that belong into an archive, and whether the directory is opaque.
    fn xattrs(&self, file: BorrowedFd<'_>, path: &[u8]) -> Result<(Xattrs, bool)> {
        let failed = |errno| Error::io("archive", show(path), errno);
        let (mut found, mut opaque) = (Vec::new(), false);
        for name in list_xattrs(file).map_err(failed)? {
            let text = name.to_bytes();
            let overlay =
                text.strip_prefix(b"trusted.overlay.").or_else(|| text.strip_prefix(b"user.overlay."));
            match overlay {
                Some(b"opaque") => opaque = self.whiteouts,
                Some(b"redirect" | b"metacopy") if self.whiteouts => {
                    let detail = "overlayfs moved it (redirect_dir or metacopy is on)";
                    return Err(Error::new(
                        tare_types::ErrorKind::Unimplemented,
                        "write layer",
                        show(path),
                        detail,
                    ));
                }
                Some(_) => {}
                None if is_archived(text) => {
                    found.push((text.to_vec(), get_xattr(file, &name).map_err(failed)?));
                }
                None => {}
            }
        }
        Ok((found, opaque))
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Labels of a security module belong to this host, not to the file.
fn is_archived(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl")
}

/// Attributes of what cannot be opened, through the open directory.
fn special_xattrs(parent: BorrowedFd<'_>, name: &CString) -> rustix::io::Result<Xattrs> {
    let magic = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    let path = [magic.as_slice(), name.to_bytes()].concat();
    let mut names = vec![0_u8; 1024];
    let length = match rustix::fs::llistxattr(&*path, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::RANGE) => 0,
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_archived(name)) {
        let mut value = vec![0_u8; 4096];
        let length = rustix::fs::lgetxattr(&*path, name, value.as_mut_slice())?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

fn level(directory: OwnedFd, prefix: Vec<u8>) -> Result<Level> {
    let failed = |errno| Error::io("archive", show(&prefix), errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    // One tree gives one archive, whatever the order on disk.
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Level { directory, names, prefix })
}

pub(super) fn join(prefix: &[u8], name: &[u8]) -> Vec<u8> {
    match prefix.is_empty() {
        true => name.to_vec(),
        false => [prefix, b"/", name].concat(),
    }
}

pub(super) fn whiteout_path(path: &[u8]) -> Vec<u8> {
    let (above, name) = super::path::split(path);
    join(above, &[b".wh.", name].concat())
}

fn member<'a>(
    path: &'a [u8],
    kind: EntryKind,
    link: &'a [u8],
    stat: &Stat,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
) -> Member<'a> {
    let device = match kind {
        EntryKind::Character | EntryKind::Block => {
            (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
        }
        _ => (0, 0),
    };
    Member {
        path,
        kind,
        link,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
        size: stat.st_size as u64,
        device,
        xattrs,
    }
}
