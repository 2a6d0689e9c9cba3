//! What shims have to say. Tare's own write to one fifo of the daemon. A foreign one: containerd's shims open the fifo `log` in their bundle at their start, end when it
//! is not there, and block when nobody reads it (containerd's shim README, "Logging").

use super::bundle::Bundle;
use crate::{Error, Result, key::Key};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, openat},
    io::Errno,
};
use std::{os::fd::OwnedFd, path::Path};
use tare_types::ErrorKind;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe::OpenOptions,
    task::JoinHandle,
};

/// The longest line that is passed on; a longer one comes in parts.
const LINE: u64 = 16 * 1024;

/// The task that reads the fifo; it ends with this.
#[derive(Debug)]
pub(crate) struct Diagnostics(JoinHandle<()>);

impl Drop for Diagnostics {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes on what Tare's shims say, all through one fifo of the state directory; gives the end that they write to.
///
/// A shim keeps its end beyond the daemon: the next one reads on. Nobody waits for a daemon that does not read: the end
/// does not block, the fifo keeps what fits, and a shim drops the rest.
pub(crate) fn follow_own(path: &Path) -> Result<(Diagnostics, OwnedFd)> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "open log of", "shims", path.display().to_string(), "")
            .with_source(error)
    };
    match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let receiver = OpenOptions::new().read_write(true).open_receiver(path).map_err(failed)?;
    // For reading too: what is written while no daemon reads stays for the next one.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let writer = openat(CWD, path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let reading = tokio::spawn(async move {
        let mut reader = BufReader::new(receiver);
        let mut line = Vec::new();
        while (&mut reader).take(LINE).read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            tracing::warn!(shim = %String::from_utf8_lossy(line.trim_ascii_end()), "a shim says");
            line.clear();
        }
    });
    Ok((Diagnostics(reading), writer))
}

/// Makes the fifo of a bundle when it is not there, and passes on what a shim writes to it.
pub(crate) fn follow(key: &Key, bundle: &Bundle) -> Result<Diagnostics> {
    let path = bundle.path().join("log");
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "open log of", "shim", key.to_string(), "").with_source(error)
    };
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    // Open for writing too: it has no end while shims come and go.
    let receiver = OpenOptions::new().read_write(true).open_receiver(&path).map_err(failed)?;
    let container = key.to_string();
    Ok(Diagnostics(tokio::spawn(async move {
        let mut reader = BufReader::new(receiver);
        let mut line = Vec::new();
        // It ends only when it is aborted, or with an error of the fifo, which nothing here could mend.
        while (&mut reader).take(LINE).read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            tracing::debug!(%container, shim = %String::from_utf8_lossy(line.trim_ascii_end()));
            line.clear();
        }
    })))
}
