//! Attached clients: bytes in and out of a container's or exec's first process.
//!
//! The shim owns the streams; this is one bounded connection to it. A client that does not read is cut off.

use crate::{
    Error, Result,
    containers::Containers,
    entry::Entry,
    lifecycle::stop,
    logs::{LogEntry, LogOptions},
    shim::attach::{Ends, Open, pair},
    state::Status,
};
use bytes::Bytes;
use tare_types::{ErrorKind, Namespace};
use tokio::sync::mpsc;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Bytes into the container.
    pub stdin: bool,
    /// Its standard output.
    pub stdout: bool,
    /// Its standard error; with a terminal everything is standard output.
    pub stderr: bool,
    /// What the log holds first.
    pub logs: bool,
    /// What comes from now on; without it only the log is given.
    pub stream: bool,
}

/// Which stream bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where they came from.
    pub stream: Stream,
    /// The bytes; never empty.
    pub bytes: Bytes,
}

/// One attached client. Dropping it detaches; the container goes on.
#[derive(Debug)]
pub struct Attachment {
    /// Whether the process has a terminal: the bytes are raw then.
    pub tty: bool,
    /// The way in, when it was asked for and the container keeps stdin open.
    pub stdin: Option<AttachStdin>,
    /// The way out.
    pub output: AttachOutput,
}

/// The way out: chunks in order until all streams have ended.
#[derive(Debug)]
pub struct AttachOutput {
    pub(crate) chunks: mpsc::Receiver<Result<Chunk>>,
}

impl AttachOutput {
    /// The next chunk; `None` when all streams have ended.
    pub async fn next(&mut self) -> Option<Result<Chunk>> {
        self.chunks.recv().await
    }
}

/// The way in. Dropping it without [`AttachStdin::close`] detaches and leaves stdin open.
#[derive(Debug)]
pub struct AttachStdin {
    pub(crate) input: mpsc::Sender<Input>,
}

/// What goes in.
#[derive(Debug)]
pub(crate) enum Input {
    /// Bytes.
    Bytes(Bytes),
    /// End of stdin.
    Close,
}

impl AttachStdin {
    /// Sends bytes; waits while the container does not read.
    ///
    /// # Errors
    /// `Unavailable` when the process or the shim is gone.
    pub async fn write(&self, bytes: Bytes) -> Result<()> {
        self.input.send(Input::Bytes(bytes)).await.map_err(|_| gone())
    }

    /// Ends stdin: the process reads the end of the file.
    ///
    /// # Errors
    /// `Unavailable` when the process or the shim is gone.
    pub async fn close(self) -> Result<()> {
        self.input.send(Input::Close).await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "write to", "container", "", "its stdin is closed")
}

impl Containers {
    /// Attaches a client. Works before the start too: nothing of the output is missed.
    ///
    /// # Errors
    /// As [`Containers::resolve`]; `FailedPrecondition` for a paused or restarting container.
    pub async fn attach(
        &self,
        namespace: &Namespace,
        reference: &str,
        options: AttachOptions,
    ) -> Result<Attachment> {
        let engine = &self.engine;
        let entry = engine.entry("attach to", namespace, reference)?;
        let record = entry.record();
        let fields = record.engine.as_ref().ok_or_else(|| stop::foreign("attach to", &entry))?;
        match entry.live().state.status {
            Status::Paused => {
                let detail = "is paused, unpause the container before attach";
                return Err(stop::precondition("attach to", &entry, detail));
            }
            Status::Restarting => {
                let detail = "is restarting, wait until the container is running";
                return Err(stop::precondition("attach to", &entry, detail));
            }
            _ => {}
        }
        let (attachment, ends) = pair(options, fields.process.tty, fields.process.open_stdin);
        if options.logs {
            replay(self, namespace, &entry, options, &ends).await?;
        }
        if !options.stream {
            return Ok(attachment);
        }
        // The turn: a start that is under way takes those who wait or is found done.
        let _turn = entry.turn.lock().await;
        let task = entry.running_task();
        match task {
            Some(task) => {
                let deadline = engine.config().limits.shim_call;
                let open = Open::new(&task.shim, &entry.key.id, None, options, false, deadline).await?;
                engine.spawn(open.carry(ends, drop));
            }
            None => entry.live().pending.push((options, ends)),
        }
        engine.publish(&entry, stop::action(&entry, "attach"));
        Ok(attachment)
    }
}

/// Sends what the log holds before the stream begins.
async fn replay(
    containers: &Containers,
    namespace: &Namespace,
    entry: &Entry,
    options: AttachOptions,
    ends: &Ends,
) -> Result<()> {
    let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
    let mut log = containers.logs(namespace, entry.key.id.as_str(), wanted).await?;
    let output = ends.output.clone();
    let mut held = Vec::new();
    while let Some(item) = log.next().await {
        let LogEntry { stream, bytes, .. } = item?;
        held.push(Chunk { stream, bytes });
    }
    containers.engine.spawn(async move {
        for chunk in held {
            if output.send(Ok(chunk)).await.is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Whether the other side of a connected unix socket has read everything that was sent to it. Doors ask before the
/// first bytes of a stream: some clients read the head of an answer with a buffer and the stream without it, and
/// lose what came together with the head.
pub fn is_read_by_peer(socket: impl std::os::fd::AsFd) -> bool {
    // A socket that cannot be asked is not waited for.
    !tare_sys::socket::unread_by_peer(socket).is_ok_and(|unread| unread > 0)
}
