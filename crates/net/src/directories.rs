//! The directories of an instance: made private, locked for one process, their namespace files listed.

use crate::{Error, Result, journal::SandboxNumber};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat},
    io::Errno,
};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use tare_types::ErrorKind;

pub(crate) fn make_private_directory(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::caused("make directory", path.display().to_string(), error);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// One process per state directory.
pub(crate) fn lock_state(state: &Path) -> Result<OwnedFd> {
    let path = state.join("lock");
    let failed = |errno: Errno| Error::caused("lock", path.display().to_string(), errno);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorKind::FailedPrecondition, "open networks in", state.display().to_string())
                .with_hint("another process has them open"))
        }
        Err(errno) => Err(failed(errno)),
    }
}

/// The namespace files with their numbers; a name that is none has no number.
pub(crate) fn list_pins(directory: &Path) -> Result<Vec<(Option<SandboxNumber>, PathBuf)>> {
    let failed = |error| Error::caused("list namespace files", directory.display().to_string(), error);
    let mut pins = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let number = entry.file_name().to_str().and_then(|name| SandboxNumber::from_str_radix(name, 16).ok());
        pins.push((number, entry.path()));
    }
    Ok(pins)
}
