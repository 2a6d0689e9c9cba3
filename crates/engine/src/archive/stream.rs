//! Chunks between a blocking thread and an asynchronous peer, both ways, each with a deadline: a peer that stands
//! still must not hold a container for ever.

use bytes::{Bytes, BytesMut};
use std::{io, time::Duration};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

/// How long a peer may neither take nor give a byte.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes per chunk.
const CHUNK: usize = 64 << 10;

type Chunk = io::Result<Bytes>;

/// Writes into a channel.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    handle: Handle,
    sender: mpsc::Sender<Chunk>,
    buffer: BytesMut,
}

impl ChunkWriter {
    pub(crate) fn new(handle: Handle, sender: mpsc::Sender<Chunk>) -> Self {
        Self { handle, sender, buffer: BytesMut::with_capacity(CHUNK) }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK);
        // The timer is made inside of the runtime.
        match self.handle.block_on(async { timeout(PATIENCE, self.sender.send(Ok(chunk))).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for 300 s")),
        }
    }
}

impl io::Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Reads from a channel.
#[derive(Debug)]
pub(super) struct ChunkReader {
    handle: Handle,
    receiver: mpsc::Receiver<Chunk>,
}

impl ChunkReader {
    pub(super) fn new(handle: Handle, receiver: mpsc::Receiver<Chunk>) -> Self {
        Self { handle, receiver }
    }

    /// The next chunk; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Chunk> {
        let waited = self.handle.block_on(async { timeout(PATIENCE, self.receiver.recv()).await });
        waited.unwrap_or_else(|_| {
            Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client gave nothing for 300 s")))
        })
    }
}
