//! Deleting a tree by descriptors: no name is resolved twice, no symlink is followed (CVE-2022-21658,
//! RUSTSEC-2023-0018), and depth costs no stack and one open descriptor per level up to a bound.

use crate::{Error, Result};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, unlinkat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `name` below `parent` with everything in it. It is no error when it does not exist. Never leaves the
/// file system that the tree is on: a mount inside is an error.
///
/// # Errors
/// Those of the file system.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    remove_tree_bytes(parent, name.as_bytes())
}

/// The same for a name of any bytes. It must be one component.
///
/// # Errors
/// Those of the file system.
pub fn remove_tree_bytes(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let shown = String::from_utf8_lossy(name);
    let failed = |errno: Errno| Error::io("remove", &shown, errno);
    let text = CString::new(name).map_err(|_| Error::invalid("remove", &shown, "the name holds a NUL"))?;
    match remove_entry(parent, &text, None).map_err(failed)? {
        None => Ok(()),
        Some(directory) => remove_below(parent, &text, directory).map_err(failed),
    }
}

struct Level {
    directory: OwnedFd,
    name: CString,
    /// Subdirectories that were found and not entered yet.
    left: Vec<CString>,
}

fn remove_below(parent: BorrowedFd<'_>, name: &CStr, directory: OwnedFd) -> rustix::io::Result<()> {
    let mut levels = vec![enter(directory, name.to_owned())?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            if let Some(directory) = remove_entry(level.directory.as_fd(), &name, Some(FileType::Directory))?
            {
                let next = enter(directory, name)?;
                levels.push(next);
            }
            continue;
        }
        let done = levels.pop();
        let above = levels.last().map_or(parent, |level| level.directory.as_fd());
        if let Some(done) = done {
            match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Somebody adds files while we delete: try that directory again.
                Err(Errno::NOTEMPTY) => {
                    let again = enter(done.directory, done.name)?;
                    levels.push(again);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Removes the files of a directory and remembers its subdirectories.
fn enter(directory: OwnedFd, name: CString) -> rustix::io::Result<Level> {
    let mut left = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name();
        if matches!(child.to_bytes(), b"." | b"..") {
            continue;
        }
        match entry.file_type() {
            FileType::Directory => left.push(child.to_owned()),
            _ => {
                if remove_entry(directory.as_fd(), child, None)?.is_some() {
                    left.push(child.to_owned());
                }
            }
        }
    }
    Ok(Level { directory, name, left })
}

/// Unlinks a file, or opens a directory that has to be emptied first.
fn remove_entry(
    parent: BorrowedFd<'_>,
    name: &CStr,
    known: Option<FileType>,
) -> rustix::io::Result<Option<OwnedFd>> {
    if known != Some(FileType::Directory) {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(parent, name, DIRECTORY, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
