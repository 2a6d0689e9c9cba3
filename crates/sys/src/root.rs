//! A directory whose content may be hostile, and paths below it.
//!
//! Every look-up goes through openat2(2) with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: a symbolic link
//! or `..` cannot lead out of the directory, and `/proc/self/fd/N` leads nowhere, also when somebody
//! renames things meanwhile. A path is resolved once; what follows works on the descriptor.

use crate::{Context, Errno, Error, Result};
use alloc::string::{String, ToString};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags},
};

const CONFINED: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory that look-ups below it cannot leave.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

impl RootDir {
    /// Opens a directory of the host by a trusted path.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open_ambient(path: &str) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).on("open", || path)?;
        Ok(Self { fd })
    }

    /// Opens a path below a directory that somebody else holds, as [`RootDir::open`] does.
    ///
    /// # Errors
    /// openat2(2)'s; ELOOP for a magic link.
    pub fn open_below(root: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        open_confined(root, path, flags, mode, CONFINED)
    }

    /// Takes a descriptor of a directory (O_PATH is enough).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens a path below the directory; symbolic links are followed inside it. Close-on-exec always.
    ///
    /// # Errors
    /// openat2(2)'s; ELOOP for a magic link.
    pub fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        open_confined(self.fd.as_fd(), path, flags, mode, CONFINED)
    }

    /// As [`RootDir::open`], but any symbolic link on the way is an error (ELOOP).
    ///
    /// # Errors
    /// openat2(2)'s.
    pub fn open_no_symlinks(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        open_confined(self.fd.as_fd(), path, flags, mode, CONFINED | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a path as a new root.
    ///
    /// # Errors
    /// openat2(2)'s; ENOTDIR when it is no directory.
    pub fn open_dir(&self, path: &str) -> Result<Self> {
        let fd = self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd })
    }

    /// The directory that holds `path`, and its last name. The name is never empty, `.` or `..`.
    ///
    /// # Errors
    /// EINVAL for a path without a last name, else openat2(2)'s.
    pub fn open_parent<'p>(&self, path: &'p str) -> Result<(Self, &'p str)> {
        let (parent, name) = split(path).ok_or_else(|| Error::new("openat2", path, Errno::INVAL))?;
        Ok((self.open_dir(parent)?, name))
    }

    /// Makes a directory and those above it that are missing, and opens it. Existing ones keep their mode.
    ///
    /// # Errors
    /// openat2(2)'s and mkdirat(2)'s.
    pub fn make_dir_all(&self, path: &str, mode: Mode) -> Result<Self> {
        match self.open_dir(path) {
            Err(error) if error.is_not_found() => {}
            done => return done,
        }
        let Some((parent, name)) = split(path) else {
            return self.open_dir(path);
        };
        let parent = self.make_dir_all(parent, mode)?;
        match fs::mkdirat(&parent.fd, name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::new("mkdirat", path, errno)),
        }
        self.open_dir(path)
    }

    /// Removes a file or a whole tree. Symbolic links are removed, never followed, and mounts are not
    /// entered. A missing path is no error.
    ///
    /// # Errors
    /// unlinkat(2)'s; EXDEV or EBUSY for a mount in the tree.
    pub fn remove_all(&self, path: &str) -> Result<()> {
        let (parent, name) = match self.open_parent(path) {
            Err(error) if error.is_not_found() => return Ok(()),
            parent => parent?,
        };
        remove_below(parent.fd.as_fd(), name, 0).map_err(|errno| Error::new("unlinkat", path, errno))
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A relative path without `..`, `.` parts, empty parts or NUL: safe to join below any directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(String);

impl RelPath {
    /// Checks a path. A leading `./` and trailing `/` are taken off.
    pub fn new(path: &str) -> Option<Self> {
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        path.split('/').all(sound).then(|| Self(path.to_string()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parent and last name of a path, if it has a usable last name.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let parent = if parent.is_empty() { "/" } else { parent };
    (!name.is_empty() && name != "." && name != "..").then_some((parent, name))
}

fn open_confined(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    // RESOLVE_IN_ROOT answers EAGAIN when something was renamed during a `..`; the kernel asks for another try.
    let mut tries = 0;
    loop {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) if tries < 128 => tries += 1,
            result => return result.on("openat2", || path),
        }
    }
}

/// How deep a tree may be that is removed: each level holds one descriptor and one stack frame.
const MAX_DEPTH: usize = 512;

fn remove_below(dir: BorrowedFd<'_>, name: &str, depth: usize) -> rustix::io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    if depth == MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let fd = match fs::openat2(dir, name, flags, Mode::empty(), inside) {
        Err(Errno::NOENT) => return Ok(()),
        fd => fd?,
    };
    for entry in fs::Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        // A name that is no UTF-8 is removed by its bytes when it is a file; a directory needs the name once more.
        if entry.file_type() != FileType::Directory {
            fs::unlinkat(&fd, name, AtFlags::empty()).or_else(absent_is_removed)?;
            continue;
        }
        let name = name.to_str().map_err(|_| Errno::ILSEQ)?;
        remove_below(fd.as_fd(), name, depth + 1)?;
    }
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR).or_else(absent_is_removed)
}

fn absent_is_removed(errno: Errno) -> rustix::io::Result<()> {
    if errno == Errno::NOENT { Ok(()) } else { Err(errno) }
}

#[cfg(test)]
mod tests;
