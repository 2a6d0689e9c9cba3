//! The streams that the shim owns (`tare:`): output goes to the log and to attached clients, input comes from them.
//!
//! Each client has a queue of its own, bounded in bytes. While a queue is full the process waits, as behind a full
//! pipe; a client that takes nothing for [`PATIENCE`] is cut off, and the process and its log go on without it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tare_types::logline::Stream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::copy::{Source, write_all};
use crate::diagnostics::now;
use crate::log::Log;

/// Bytes that wait for one client at most.
const QUEUE: usize = 256 * 1024;
/// How long a client with a full queue may take nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A chunk of output for a client.
pub(crate) type Chunk = (Stream, Vec<u8>);

/// The meeting point of one process's streams.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Where stdin can be written; `None` inside: not there yet, or closed.
    stdin: watch::Sender<Stdin>,
    /// stdin closes when a client that attached with it leaves.
    stdin_once: bool,
    /// A client took something or left.
    taken: Notify,
}

/// Whether the process has a terminal, and whether clients may write to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    pub(super) is: bool,
    pub(super) stdin: bool,
}

#[derive(Debug, Clone)]
enum Stdin {
    /// The process has no stdin to attach to.
    Absent,
    /// It will have one when it starts.
    Waiting,
    Open(Arc<Source>),
    Closed,
}

#[derive(Debug, Default)]
struct State {
    log: Option<Log>,
    clients: Vec<Client>,
    last_client: u64,
    /// The child's end of stdin until the process is made.
    child_stdin: Option<OwnedFd>,
    ended: [bool; 2],
    /// Clients that were cut off and have not left yet.
    cut_off: Vec<u64>,
}

#[derive(Debug)]
struct Client {
    number: u64,
    wants: [bool; 2],
    sender: mpsc::UnboundedSender<Chunk>,
    queued: usize,
    /// When it took something last, or its queue was not full.
    last_taken: Instant,
}

/// A client's place at the hub; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Attachment {
    hub: Arc<Hub>,
    number: u64,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    /// Leaving closes stdin.
    closes_stdin: bool,
}

fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

impl Hub {
    /// A hub with a log, perhaps. `stdin` is the writing end of the process's pipe with the child's end, if stdin is
    /// kept open; a terminal's comes later.
    pub(super) fn new(
        log: Option<Log>,
        stdin: Option<(Source, OwnedFd)>,
        terminal: Terminal,
        stdin_once: bool,
    ) -> Self {
        let (open, child_stdin) = match stdin {
            Some((writer, child)) => (Stdin::Open(Arc::new(writer)), Some(child)),
            None if terminal.stdin => (Stdin::Waiting, None),
            None => (Stdin::Absent, None),
        };
        // A terminal has one output.
        let state = State { log, child_stdin, ended: [false, terminal.is], ..State::default() };
        Self { state: Mutex::new(state), stdin: watch::Sender::new(open), stdin_once, taken: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child's end of stdin; once.
    pub(super) fn take_child_stdin(&self) -> Option<OwnedFd> {
        self.state().child_stdin.take()
    }

    /// The terminal is there.
    pub(super) fn set_stdin(&self, master: Arc<Source>) {
        self.stdin.send_if_modified(|stdin| {
            let waiting = matches!(stdin, Stdin::Waiting);
            if waiting {
                *stdin = Stdin::Open(master);
            }
            waiting
        });
    }

    /// Output of the process, to log and clients.
    pub(super) fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        if let Some(log) = &mut state.log {
            log.write(now(), stream, bytes);
        }
        let wanted = index(stream);
        state.clients.retain_mut(|client| {
            if !client.wants[wanted] {
                return true;
            }
            if client.queued == 0 {
                client.last_taken = Instant::now();
            }
            client.queued += bytes.len();
            client.sender.send((stream, bytes.to_vec())).is_ok()
        });
    }

    /// Waits until every client has room; those without patience are cut off.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            let Some(until) = self.fullest() else { return };
            if tokio::time::timeout_at(until, taken).await.is_err() {
                self.cut_off(Instant::now());
            }
        }
    }

    fn cut_off(&self, at: Instant) {
        let mut state = self.state();
        let State { clients, cut_off, .. } = &mut *state;
        clients.retain(|client| {
            let stays = client.queued < QUEUE || client.last_taken + PATIENCE > at;
            if !stays {
                cut_off.push(client.number);
            }
            stays
        });
    }

    /// When the patience with the first full client ends; `None`: nobody is full.
    fn fullest(&self) -> Option<Instant> {
        let state = self.state();
        let full = state.clients.iter().filter(|client| client.queued >= QUEUE);
        full.map(|client| client.last_taken + PATIENCE).min()
    }

    /// An output of the process is at its end.
    pub(super) fn end(&self, stream: Stream) {
        let mut state = self.state();
        state.ended[index(stream)] = true;
        if let Some(log) = &mut state.log {
            log.finish(now(), stream);
        }
        let ended = state.ended;
        // A client whose outputs are all at their end is done when its queue is empty.
        state.clients.retain(|client| client.wants.iter().zip(ended).any(|(wants, ended)| *wants && !ended));
    }

    /// Whether all output of the process is at its end.
    pub(super) fn is_ended(&self) -> bool {
        self.state().ended == [true, true]
    }

    /// Attaches a client.
    pub(crate) fn attach(self: &Arc<Self>, stdin: bool, stdout: bool, stderr: bool) -> Attachment {
        let (sender, chunks) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.last_client += 1;
        let number = state.last_client;
        let wants = [stdout, stderr];
        // Who wants no output stays until the first of it ends: it came for stdin.
        let live =
            wants == [false, false] || wants.iter().zip(state.ended).any(|(wants, ended)| *wants && !ended);
        if live {
            state.clients.push(Client { number, wants, sender, queued: 0, last_taken: Instant::now() });
        }
        Attachment { hub: Arc::clone(self), number, chunks, closes_stdin: stdin && self.stdin_once }
    }

    /// Writes to stdin; waits while the process does not read. Bytes for a closed stdin are dropped, as a shell does.
    pub(crate) async fn write_stdin(&self, bytes: &[u8]) {
        let mut stdin = self.stdin.subscribe();
        let open = stdin.wait_for(|stdin| !matches!(stdin, Stdin::Waiting)).await;
        let Some(Stdin::Open(fd)) = open.ok().map(|stdin| stdin.clone()) else { return };
        if write_all(&fd, bytes).await.is_err() {
            // EPIPE: the process reads no more.
            self.close_stdin();
        }
    }

    /// Closes stdin. A terminal stays: it ends with its process.
    pub(crate) fn close_stdin(&self) {
        self.stdin.send_if_modified(|stdin| {
            let pipe = matches!(stdin, Stdin::Open(fd) if !rustix::termios::isatty(fd.get_ref()));
            if pipe {
                *stdin = Stdin::Closed;
            }
            pipe
        });
    }

    /// Opens the log file anew.
    ///
    /// # Errors
    /// A sentence with the path; `None` there is no log.
    pub(crate) fn reopen_log(&self) -> Option<Result<(), String>> {
        self.state().log.as_mut().map(Log::reopen)
    }
}

impl Attachment {
    /// The next output; `None`: at its end, or cut off. Safe to drop before it is ready.
    pub(crate) async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.recv().await?;
        let mut state = self.hub.state();
        if let Some(client) = state.clients.iter_mut().find(|client| client.number == self.number) {
            client.queued -= chunk.1.len().min(client.queued);
            client.last_taken = Instant::now();
        }
        drop(state);
        self.hub.taken.notify_waiters();
        Some(chunk)
    }

    /// Whether the client was too slow; to be asked when there is no next output.
    pub(crate) fn was_cut_off(&self) -> bool {
        self.hub.state().cut_off.contains(&self.number)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.clients.retain(|client| client.number != self.number);
        state.cut_off.retain(|number| *number != self.number);
        drop(state);
        self.hub.taken.notify_waiters();
        if self.closes_stdin {
            self.hub.close_stdin();
        }
    }
}
