//! The streams of a process: where its stdin comes from and its output goes.
//!
//! A stream is named by containerd's request: empty (`/dev/null`), the path of a fifo (or of another file),
//! `file://PATH`, `binary://PATH?arg=value`, or Tare's `tare:`: the shim owns the stream, logs it and serves attach.
//! The process never holds a fifo or file of the host: it gets a pipe (or a terminal) and the shim copies, so
//! a reader that is away, slow or gone costs the container nothing but a full pipe.
//!
//! Two steps: [`Stdio::open`] makes everything that can fail before the process exists; [`Stdio::run`] starts
//! the copying when it does.

mod binary;
mod copy;
mod files;
pub(crate) mod held;
pub(crate) mod hub;

use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tare_api::status::Status;
use tare_types::ErrorKind;
use tare_types::logline::Stream;
use tokio::task::JoinHandle;

use crate::log::Log;
use copy::{Sink, Source, copy};
use hub::{Hub, Terminal};

/// The streams as the request names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// The name of a stream that the shim owns.
const OWNED: &str = "tare:";

impl Names {
    /// Whether the shim owns any of the streams.
    pub(crate) fn owned(&self) -> bool {
        [&self.stdin, &self.stdout, &self.stderr].iter().any(|name| *name == OWNED)
    }
}

/// Who is asking: log programs are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
}

/// Opened streams of a process that does not run yet.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// What becomes the process's 0, 1 and 2; `None` for a terminal.
    child: Option<[OwnedFd; 3]>,
    input: Option<Input>,
    output: Vec<(Source, Sink)>,
    /// Sinks that wait for the terminal.
    terminal_sink: Option<Sink>,
    hub: Option<Arc<Hub>>,
}

/// Where the bytes for stdin come from, apart from attached clients.
#[derive(Debug)]
struct Input {
    fifo: Source,
    /// The shim's own writing end: the fifo is at its end only when clients and CloseIO let go.
    holder: OwnedFd,
    /// The pipe to the process; `None`: the terminal.
    pipe: Option<Arc<Source>>,
}

/// How many times the limit of [`Streams::drain`] output may take that does make headway.
const PATIENCE: u32 = 15;

/// One output that is being copied.
#[derive(Debug)]
struct Output {
    task: JoinHandle<()>,
    /// Bytes handed on so far.
    copied: Arc<AtomicU64>,
}

impl Output {
    fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }
}

/// The copying that goes on for a process that runs.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    outputs: Vec<Output>,
    input: Option<JoinHandle<()>>,
    stdin_holder: Mutex<Option<OwnedFd>>,
    console: Option<Arc<Source>>,
}

impl Stdio {
    /// Opens the streams; nothing here waits for another process but `binary://`, which has a deadline.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that cannot be used, else the failing step with its path.
    pub(crate) async fn open(names: &Names, owner: Owner<'_>, hub: Option<Arc<Hub>>) -> Result<Self, Status> {
        if names.terminal {
            return Self::open_terminal(names, owner, hub).await;
        }
        let mut stdio = Self { child: None, input: None, output: Vec::new(), terminal_sink: None, hub };
        let stdin = match names.stdin.as_str() {
            "" => files::null()?,
            OWNED => stdio.owned_hub()?.take_child_stdin().map_or_else(files::null, Ok)?,
            path => {
                let (reader, writer) = pipe()?;
                let (fifo, holder) = files::open_input(path)?;
                let pipe = Some(Arc::new(files::source(writer)?));
                stdio.input = Some(Input { fifo, holder, pipe });
                reader
            }
        };
        let (stdout, stderr) = match binary::parse(&names.stdout)? {
            Some(command) => binary::spawn(&command, owner).await?,
            None => (
                stdio.open_output(&names.stdout, Stream::Stdout)?,
                stdio.open_output(&names.stderr, Stream::Stderr)?,
            ),
        };
        stdio.child = Some([stdin, stdout, stderr]);
        Ok(stdio)
    }

    async fn open_terminal(names: &Names, owner: Owner<'_>, hub: Option<Arc<Hub>>) -> Result<Self, Status> {
        let mut stdio = Self { child: None, input: None, output: Vec::new(), terminal_sink: None, hub };
        stdio.input = match names.stdin.as_str() {
            "" | OWNED => None,
            path => {
                let (fifo, holder) = files::open_input(path)?;
                Some(Input { fifo, holder, pipe: None })
            }
        };
        stdio.terminal_sink = Some(match binary::parse(&names.stdout)? {
            Some(command) => Sink::Pipe(files::source(binary::spawn(&command, owner).await?.0)?),
            None => stdio.sink(&names.stdout, Stream::Stdout)?,
        });
        Ok(stdio)
    }

    fn owned_hub(&self) -> Result<&Arc<Hub>, Status> {
        self.hub
            .as_ref()
            .ok_or_else(|| Status::new(ErrorKind::Internal, "a stream of the shim's own without its hub"))
    }

    fn sink(&self, name: &str, stream: Stream) -> Result<Sink, Status> {
        Ok(match name {
            "" => Sink::Discard,
            OWNED => Sink::Hub(Arc::clone(self.owned_hub()?), stream),
            path => files::open_output(path)?,
        })
    }

    fn open_output(&mut self, name: &str, stream: Stream) -> Result<OwnedFd, Status> {
        match self.sink(name, stream)? {
            // Without a reader no copying: the process writes to /dev/null itself.
            Sink::Discard => files::null(),
            sink => {
                let (reader, writer) = pipe()?;
                self.output.push((files::source(reader)?, sink));
                Ok(writer)
            }
        }
    }

    /// What the runtime is to give to the process.
    pub(crate) fn io(&self) -> tare_runtime::Io<'_> {
        match &self.child {
            Some([stdin, stdout, stderr]) => tare_runtime::Io::Streams {
                stdin: stdin.as_fd(),
                stdout: stdout.as_fd(),
                stderr: stderr.as_fd(),
            },
            None => tare_runtime::Io::Console,
        }
    }

    /// Starts the copying; `console` is the terminal's master for a process with a terminal.
    ///
    /// # Errors
    /// The terminal is missing or cannot be waited on.
    pub(crate) fn run(self, console: Option<OwnedFd>) -> Result<Streams, Status> {
        let mut streams = Streams::default();
        if let Some(sink) = self.terminal_sink {
            let master =
                console.ok_or_else(|| Status::new(ErrorKind::Internal, "the runtime made no terminal"))?;
            let master = Arc::new(files::source(master)?);
            if let Some(hub) = &self.hub {
                hub.set_stdin(Arc::clone(&master));
            }
            streams.copy(Arc::clone(&master), sink);
            streams.console = Some(master);
        }
        for (source, sink) in self.output {
            streams.copy(Arc::new(source), sink);
        }
        if let Some(input) = self.input {
            let to = input.pipe.or_else(|| streams.console.clone());
            if let Some(to) = to {
                streams.input =
                    Some(tokio::spawn(copy(Arc::new(input.fifo), Sink::Shared(to), Arc::default())));
                streams.stdin_holder = Mutex::new(Some(input.holder));
            }
        }
        Ok(streams)
    }
}

impl Streams {
    /// Lets go of stdin: the process sees the end of file when all clients have closed it too.
    pub(crate) fn close_stdin(&self) {
        self.stdin_holder.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The terminal's master.
    pub(crate) fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(|console| console.get_ref().as_fd())
    }

    /// Ends the copying from clients: the process is gone.
    pub(crate) fn stop_input(&mut self) {
        self.close_stdin();
        if let Some(input) = self.input.take() {
            input.abort();
        }
    }

    /// Waits until all output is copied. What makes no headway for `limit`, or is not done after [`PATIENCE`] times
    /// that, is given up.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        let end = tokio::time::Instant::now() + limit * PATIENCE;
        let count = |outputs: &[Output]| outputs.iter().map(Output::copied).sum::<u64>();
        let mut seen = count(&self.outputs);
        let mut deadline = tokio::time::Instant::now() + limit;
        while let Some(output) = self.outputs.first_mut() {
            if tokio::time::timeout_at(deadline, &mut output.task).await.is_ok() {
                self.outputs.swap_remove(0);
                continue;
            }
            let now = count(&self.outputs);
            if now == seen || deadline >= end {
                self.outputs.iter().for_each(|output| output.task.abort());
                self.outputs.clear();
                return;
            }
            seen = now;
            deadline = (deadline + limit).min(end);
        }
    }

    fn copy(&mut self, source: Arc<Source>, sink: Sink) {
        let copied = Arc::<AtomicU64>::default();
        let task = tokio::spawn(copy(source, sink, Arc::clone(&copied)));
        self.outputs.push(Output { task, copied });
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for task in self.outputs.iter().map(|output| &output.task).chain(&self.input) {
            task.abort();
        }
    }
}

/// The hub for streams of the shim's own; `None` when the request names none.
///
/// # Errors
/// No pipe can be made.
pub(crate) fn hub_of(
    names: &Names,
    log: Option<Log>,
    stdin_open: bool,
    stdin_once: bool,
) -> Result<Option<Arc<Hub>>, Status> {
    if !names.owned() {
        return Ok(None);
    }
    let stdin = stdin_open && names.stdin == OWNED;
    let pipe = if stdin && !names.terminal {
        let (reader, writer) = pipe()?;
        Some((files::source(writer)?, reader))
    } else {
        None
    };
    Ok(Some(Arc::new(Hub::new(log, pipe, Terminal { is: names.terminal, stdin }, stdin_once))))
}

/// A pipe; both ends close-on-exec.
fn pipe() -> Result<(OwnedFd, OwnedFd), Status> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| Status::new(ErrorKind::ResourceExhausted, format!("make pipe: {error}")))
}

/// Opens a path of the host with the error naming it.
fn open(path: &str, flags: OFlags) -> Result<OwnedFd, Status> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o640)).map_err(|error| {
        let kind = if error == rustix::io::Errno::NOENT { ErrorKind::NotFound } else { ErrorKind::Internal };
        Status::new(kind, format!("open stream {path}: {error}"))
    })
}

#[cfg(test)]
mod tests;
