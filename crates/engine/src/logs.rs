//! Reading what the shim logged: json-file, rotated files included.

mod files;
mod follow;

use crate::{
    Error, Result, attach::Stream, containers::Containers, lifecycle::stop, shim::options::log_name,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use tare_types::{ErrorKind, Namespace, Timestamp};
use tokio::sync::mpsc;

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Nothing before.
    pub since: Option<Timestamp>,
    /// Nothing after; ends a follow.
    pub until: Option<Timestamp>,
}

/// One line, or a part of a line longer than 16 KiB; the bytes keep their newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When the shim read it.
    pub time: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Bytes,
    /// Attributes of the log options `labels`, `env`.
    pub attributes: BTreeMap<String, String>,
}

/// A log being read. Dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream {
    /// Whether the container has a terminal: doors send raw bytes then.
    pub tty: bool,
    pub(crate) entries: mpsc::Receiver<Result<LogEntry>>,
}

impl LogStream {
    /// The next entry; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<LogEntry>> {
        self.entries.recv().await
    }
}

/// Entries that wait for a reader.
const ENTRIES: usize = 64;

impl Containers {
    /// Opens the log of a container.
    ///
    /// # Errors
    /// As [`Containers::resolve`]; `Unimplemented` naming the driver when it cannot be read (`none`).
    pub async fn logs(
        &self,
        namespace: &Namespace,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream> {
        let entry = self.engine.entry("read log of", namespace, reference)?;
        let record = entry.record();
        let fields = record.engine.as_ref().ok_or_else(|| stop::foreign("read log of", &entry))?;
        if fields.log.driver != "json-file" {
            let detail = "configured logging driver does not support reading";
            return Err(Error::new(ErrorKind::Unimplemented, "read log of", "container", reference, detail));
        }
        let path = self.engine.container_directory(&entry.key).join(log_name(&entry.key.id));
        let (sender, entries) = mpsc::channel(ENTRIES);
        let stop = self.engine.stopping().clone();
        let task = if options.follow { entry.task() } else { None };
        let reading = follow::Reading { path, options, sender, task };
        self.engine.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reading.run() => {}
            }
        });
        Ok(LogStream { tty: fields.process.tty, entries })
    }
}
