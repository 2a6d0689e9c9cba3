//! Directories below the root of a layer, kept open.
//!
//! A directory is looked up once for all its files. Symlinks inside the layer are followed, but never out of it:
//! the kernel resolves with `RESOLVE_IN_ROOT`, so `/etc` in a link is the layer's (CVE-2025-47290 and its like).

use super::path::{show, split};
use crate::{Error, Result};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

/// Open directories per layer: several layers at once must stay below 1024 descriptors.
const MAX_OPEN: usize = 48;
/// `RESOLVE_IN_ROOT` gives up when something is renamed anywhere on the system at the wrong moment.
const RETRIES: usize = 64;

/// An open directory.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    /// New files take its group, new directories the bit.
    pub(super) set_group: bool,
}

/// Look-up with memory.
#[derive(Debug)]
pub(super) struct Parents {
    root: Arc<Parent>,
    /// The directory of the entry before, with its path.
    last: (Vec<u8>, Arc<Parent>),
    open: HashMap<Vec<u8>, Arc<Parent>>,
    /// Directories that were made because an entry needed them.
    pub(super) implicit: HashSet<Vec<u8>>,
}

impl Parents {
    pub(super) fn new(root: OwnedFd) -> Result<Self> {
        let root = Arc::new(parent(root).map_err(|errno| Error::io("open layer directory", "", errno))?);
        Ok(Self { last: (Vec::new(), root.clone()), root, open: HashMap::new(), implicit: HashSet::new() })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.fd.as_fd()
    }

    /// Forgets what is open: a directory or a link to one was replaced.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.last = (Vec::new(), self.root.clone());
    }

    /// The directory of a clean path; missing ones are made.
    pub(super) fn get(&mut self, path: &[u8]) -> Result<Arc<Parent>> {
        if self.last.0 == path {
            return Ok(self.last.1.clone());
        }
        let found = match self.cached(path) {
            Some(found) => found,
            None => match self.resolve(path) {
                Ok(found) => self.remember(path, found)?,
                Err(Errno::NOENT) => self.make(path)?,
                Err(errno) => return Err(failed(path, errno)),
            },
        };
        self.last.0.clear();
        self.last.0.extend_from_slice(path);
        self.last.1 = found.clone();
        Ok(found)
    }

    /// The directory of a clean path; `None` when it does not exist.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<Arc<Parent>>> {
        if let Some(found) = self.cached(path) {
            return Ok(Some(found));
        }
        match self.resolve(path) {
            Ok(found) => self.remember(path, found).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    fn cached(&self, path: &[u8]) -> Option<Arc<Parent>> {
        if path.is_empty() { Some(self.root.clone()) } else { self.open.get(path).cloned() }
    }

    fn resolve(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        resolve_in(self.root.fd.as_fd(), path)
    }

    fn remember(&mut self, path: &[u8], fd: OwnedFd) -> Result<Arc<Parent>> {
        let found = Arc::new(parent(fd).map_err(|errno| failed(path, errno))?);
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), found.clone());
        Ok(found)
    }

    /// Makes the missing directories of a path, 0755 and owned by root, as tar does. Their attributes may come
    /// from a lower layer later.
    fn make(&mut self, path: &[u8]) -> Result<Arc<Parent>> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).collect::<Vec<_>>() {
            let prefix = &path[..end];
            let (above, name) = split(prefix);
            let above = match self.find(above)? {
                Some(above) => above,
                None => return Err(failed(prefix, Errno::NOTDIR)),
            };
            match rustix::fs::mkdirat(&above.fd, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let fd =
                        resolve_in(self.root.fd.as_fd(), prefix).map_err(|errno| failed(prefix, errno))?;
                    // Whatever the umask is.
                    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))
                        .map_err(|errno| failed(prefix, errno))?;
                    self.implicit.insert(prefix.to_vec());
                    self.remember(prefix, fd)?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(prefix, errno)),
            }
        }
        // Still missing: a link in the path that leads nowhere.
        self.find(path)?.ok_or_else(|| failed(path, Errno::NOENT))
    }
}

/// Opens a directory below `root`, whatever links lead there.
pub(super) fn resolve_in(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    for _ in 0..RETRIES {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn parent(fd: OwnedFd) -> rustix::io::Result<Parent> {
    let mode = rustix::fs::fstat(&fd)?.st_mode;
    Ok(Parent { fd, set_group: mode & 0o2000 != 0 })
}

fn failed(path: &[u8], errno: Errno) -> Error {
    Error::io("open layer directory", show(path), errno)
}
