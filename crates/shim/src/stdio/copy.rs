//! Copying one stream: read what is there, hand it on, wait. Buffers live on the stack for as long as a step
//! takes; only what a full sink did not take is kept, at most one buffer of it.

use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tare_types::logline::Stream;
use tokio::io::unix::AsyncFd;

use super::files::meet;
use super::hub::Hub;

/// A descriptor that is waited on.
pub(crate) type Source = AsyncFd<OwnedFd>;

/// Bytes read at once.
const BUFFER: usize = 16 * 1024;
/// Reads in a row before others have their turn.
const TURN: usize = 16;

/// Where a stream goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// Nowhere.
    Discard,
    /// A fifo, not opened yet: its reader may still come.
    Fifo(OwnedFd),
    /// A pipe of the shim's own, or a fifo that somebody has opened for reading.
    Pipe(Source),
    /// A fifo that nobody has opened for reading in time.
    Unread(Source),
    /// A pipe or terminal that others use too.
    Shared(Arc<Source>),
    /// A file. A full disk loses output, it does not stop the container.
    File(File),
    /// Log and attached clients.
    Hub(Arc<Hub>, Stream),
}

/// How long bytes wait in a fifo that nobody had opened for reading before: closing it would throw them away.
const LINGER: Duration = Duration::from_secs(1);

/// Copies until the source is at its end, or the sink can take nothing any more. Counts the bytes in `copied`.
pub(super) async fn copy(source: Arc<Source>, mut sink: Sink, copied: Arc<AtomicU64>) {
    let mut turn = 0;
    if let Sink::Fifo(place) = &sink {
        let Ok(met) = meet(place).await else { return };
        sink = met;
    }
    loop {
        if let Sink::Hub(hub, _) = &sink {
            hub.room().await;
        }
        let Ok(mut ready) = source.readable().await else { break };
        let step = ready.try_io(|source| step(source.get_ref(), &mut sink, &copied));
        match step {
            Err(_would_block) => continue,
            Ok(Ok(Step::Again)) => {}
            Ok(Ok(Step::Rest(rest))) => {
                let (Sink::Pipe(_) | Sink::Unread(_) | Sink::Shared(_)) = &sink else { continue };
                if write_rest(&sink, &rest).await.is_err() {
                    break;
                }
                copied.fetch_add(rest.len() as u64, Ordering::Relaxed);
            }
            Ok(Ok(Step::End) | Err(_)) => break,
        }
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    match &sink {
        Sink::Hub(hub, stream) => hub.end(*stream),
        Sink::Unread(fifo) => linger(fifo, copied.load(Ordering::Relaxed)).await,
        Sink::Discard | Sink::Fifo(_) | Sink::Pipe(_) | Sink::Shared(_) | Sink::File(_) => {}
    }
}

/// Waits until somebody has read the first byte of what was written. Where that has happened, the reader has the fifo
/// open and the rest stays there for it.
async fn linger(fifo: &Source, written: u64) {
    let deadline = tokio::time::Instant::now() + LINGER;
    let mut pause = Duration::from_millis(1);
    while written > 0
        && rustix::io::ioctl_fionread(fifo.get_ref()).is_ok_and(|unread| unread >= written)
        && tokio::time::Instant::now() < deadline
    {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

enum Step {
    /// There may be more.
    Again,
    /// The sink was full: what it did not take.
    Rest(Vec<u8>),
    /// Nothing will come any more.
    End,
}

fn step(source: &OwnedFd, sink: &mut Sink, copied: &AtomicU64) -> io::Result<Step> {
    let mut buffer = [0; BUFFER];
    let bytes = match rustix::io::read(source, &mut buffer) {
        Ok(0) => return Ok(Step::End),
        Ok(count) => &buffer[..count],
        Err(Errno::INTR) => return Ok(Step::Again),
        // A terminal whose last process has gone.
        Err(Errno::IO) => return Ok(Step::End),
        Err(error) => return Err(error.into()),
    };
    match sink {
        Sink::Discard | Sink::Fifo(_) => {}
        Sink::File(file) => file.write_all(bytes).unwrap_or_default(),
        Sink::Hub(hub, stream) => hub.push(*stream, bytes),
        Sink::Pipe(fd) | Sink::Unread(fd) => return put(fd.get_ref(), bytes, copied),
        Sink::Shared(fd) => return put(fd.get_ref(), bytes, copied),
    }
    copied.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(Step::Again)
}

fn put(fd: &OwnedFd, bytes: &[u8], copied: &AtomicU64) -> io::Result<Step> {
    let written = rustix::io::write(fd, bytes);
    copied.fetch_add(written.unwrap_or(0) as u64, Ordering::Relaxed);
    match written {
        Ok(count) if count == bytes.len() => Ok(Step::Again),
        Ok(count) => Ok(Step::Rest(bytes[count..].to_vec())),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Step::Rest(bytes.to_vec())),
        // Not WouldBlock, which would mean the source.
        Err(_) => Ok(Step::End),
    }
}

async fn write_rest(sink: &Sink, rest: &[u8]) -> io::Result<()> {
    match sink {
        Sink::Pipe(fd) | Sink::Unread(fd) => write_all(fd, rest).await,
        Sink::Shared(fd) => write_all(fd, rest).await,
        Sink::Discard | Sink::Fifo(_) | Sink::File(_) | Sink::Hub(..) => Ok(()),
    }
}

/// Writes all of `bytes`, waiting for room.
pub(super) async fn write_all(fd: &Source, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = fd.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
            Ok(Ok(count)) => bytes = &bytes[count..],
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
    Ok(())
}
