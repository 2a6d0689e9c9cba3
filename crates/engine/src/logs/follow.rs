//! Sending the entries of a log, and waiting for more: woken by inotify, ended by the end of the run.

use super::{
    LogEntry, LogOptions,
    files::{self, Position},
};
use crate::{Error, Result, attach::Stream, task::Task};
use bytes::Bytes;
use rustix::fs::inotify;
use std::{io, path::PathBuf, sync::Arc};
use tare_types::{ErrorKind, logline};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::mpsc};

/// One reading of a log.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    pub(super) options: LogOptions,
    pub(super) sender: mpsc::Sender<Result<LogEntry>>,
    /// The run that is followed; `None` ends at the present end.
    pub(super) task: Option<Arc<Task>>,
}

/// Whether to go on.
enum Flow {
    More,
    Done,
}

impl Reading {
    /// Reads until the end, until the reader leaves, or until an error, which it is told.
    pub(super) async fn run(self) {
        if let Err(error) = self.read().await {
            let name = self.path.display().to_string();
            let error = Error::new(ErrorKind::Internal, "read", "log", name, "").with_source(error);
            // The reader may have left.
            self.sender.send(Err(error)).await.unwrap_or_default();
        }
    }

    async fn read(&self) -> io::Result<()> {
        // Watched before the first read: nothing is written between them unseen.
        let watch = match &self.task {
            Some(_) => Some(Watch::new(&self.path)?),
            None => None,
        };
        let positions = files::begin(&self.path, self.options.tail)?;
        let mut current = None;
        for mut position in positions {
            if let Flow::Done = self.send_all(&mut position).await? {
                return Ok(());
            }
            current = Some(position);
        }
        let (Some(mut watch), Some(task)) = (watch, &self.task) else { return Ok(()) };
        loop {
            let ended = tokio::select! {
                () = self.sender.closed() => return Ok(()),
                () = task.settled() => true,
                woken = watch.woken() => { woken?; false }
            };
            if current.is_none() {
                current = Position::open(&self.path);
            }
            // What is in the file now is sent before its successors are looked for: none of it comes later.
            while let Some(position) = &mut current {
                if let Flow::Done = self.send_all(position).await? {
                    return Ok(());
                }
                let mut later = position.successors(&self.path).into_iter();
                match later.next() {
                    Some(next) => {
                        // Written between the last read and the rotation.
                        if let Flow::Done = self.send_all(position).await? {
                            return Ok(());
                        }
                        current = Some(next);
                    }
                    None => break,
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn send_all(&self, position: &mut Position) -> io::Result<Flow> {
        while let Some(lines) = position.read()? {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let Some(entry) = entry(line) else { continue };
                if self.options.until.is_some_and(|until| entry.time > until) {
                    return Ok(Flow::Done);
                }
                let wanted = match entry.stream {
                    Stream::Stdout => self.options.stdout,
                    Stream::Stderr => self.options.stderr,
                };
                let early = self.options.since.is_some_and(|since| entry.time < since);
                if wanted && !early && self.sender.send(Ok(entry)).await.is_err() {
                    return Ok(Flow::Done);
                }
            }
        }
        Ok(Flow::More)
    }
}

/// A line of the file as an entry; `None` for what a crash cut in half.
fn entry(line: &[u8]) -> Option<LogEntry> {
    let line = logline::parse_json_line(line)?;
    let mut bytes = line.text.into_owned();
    if !line.partial {
        bytes.push(b'\n');
    }
    let stream = match line.stream {
        logline::Stream::Stdout => Stream::Stdout,
        logline::Stream::Stderr => Stream::Stderr,
    };
    Some(LogEntry {
        time: line.time,
        stream,
        bytes: Bytes::from(bytes),
        attributes: line.attrs.into_iter().collect(),
    })
}

/// Wakes when something happens in the directory of a log.
struct Watch {
    /// An inotify descriptor is read like a pipe; tokio's type for those takes any descriptor.
    events: pipe::Receiver,
}

impl Watch {
    fn new(path: &std::path::Path) -> io::Result<Self> {
        let descriptor = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let directory = path.parent().unwrap_or(path);
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&descriptor, directory, flags)?;
        Ok(Self { events: pipe::Receiver::from_owned_fd_unchecked(descriptor)? })
    }

    /// Resolves when something happened; what it was is found by reading the log.
    async fn woken(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        self.events.read(&mut buffer).await.map(drop)
    }
}
