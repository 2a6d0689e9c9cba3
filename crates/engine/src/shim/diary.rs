//! The log of a foreign shim: a fifo `log` in the bundle, which Go's shim must find and which somebody must read.
//!
//! Tare's own shim writes a file and needs none of this.

use super::bundle::Bundle;
use crate::{Engine, Error, Result, key::Key};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tare_types::ErrorKind;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
};

/// Bytes of a line that are told; the rest of it is dropped.
const MAX_LINE: usize = 4096;

/// Makes the fifo and reads it until the shim closes it.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn open(engine: &Engine, key: &Key, bundle: &Bundle) -> Result<()> {
    let path = bundle.path().join("log");
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "open", "log of shim", path.display().to_string(), "")
            .with_source(error)
    };
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        // A daemon that comes back finds the one of its predecessor.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let receiver = pipe::OpenOptions::new().open_receiver(&path).map_err(failed)?;
    let (key, stop) = (key.clone(), engine.stopping().clone());
    engine.spawn(async move {
        let mut reader = BufReader::new(receiver);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = reader.read_until(b'\n', &mut line) => read,
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
            let text = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]);
            tracing::debug!(container = %key, shim = text.trim_end());
        }
    });
    Ok(())
}
