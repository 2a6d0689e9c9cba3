//! Fetch-side pipeline: one pass from network bytes to a stored blob and an unpacked layer.

use super::{
    Applied, LayerApplier,
    applier::Unpacker,
    inflate::{CHUNK, Inflater},
};
use crate::{Error, Ingest, Result, SealedBlob};
use std::{
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::JoinHandle,
};
use tare_types::{Descriptor, ErrorKind};

/// Pieces between the two threads: 4 × 256 KiB per layer.
const QUEUE: usize = 4;

/// Takes compressed bytes in order; stores and hashes them, inflates and applies them.
///
/// It blocks: call it from a thread that may, fed by a bounded channel. Hashing and inflating happen on the calling
/// thread, hashing the archive and applying it on a thread of its own with a bounded queue between them.
/// Dropping it stops that thread; the ingest keeps what came so far.
#[derive(Debug)]
pub struct LayerPipeline {
    ingest: Ingest,
    inflater: Option<Inflater>,
    compressed: u64,
    worker: Worker,
}

impl LayerPipeline {
    /// Joins an ingest and an applier. When the ingest is resumed, what it holds is applied first.
    ///
    /// # Errors
    /// Those of starting a thread, and of applying what is there.
    pub fn new(ingest: Ingest, applier: LayerApplier) -> Result<Self> {
        let (inflater, unpacker) = applier.into_parts();
        let held = ingest.status().offset;
        let worker = Worker::start(unpacker)?;
        let mut pipeline = Self { ingest, inflater: Some(inflater), compressed: 0, worker };
        let mut piece = vec![0; CHUNK];
        while pipeline.compressed < held {
            let count = pipeline.ingest.read_at(&mut piece, pipeline.compressed)?;
            if count == 0 {
                let detail = "the bytes of the ingest have gone";
                return Err(Error::data_loss("resume layer", &pipeline.ingest.status().reference, detail));
            }
            pipeline.inflate(&piece[..count])?;
        }
        Ok(pipeline)
    }

    /// Offset in the blob from which bytes are needed next.
    pub fn offset(&self) -> u64 {
        self.ingest.status().offset
    }

    /// Digest of the compressed bytes so far.
    pub fn digest(&self) -> tare_types::Digest {
        self.ingest.digest()
    }

    /// The next compressed bytes. An error of the applying side is returned by one of the next calls.
    ///
    /// # Errors
    /// Those of [`Ingest::write`] and [`LayerApplier::write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.ingest.write(bytes)?;
        self.inflate(bytes)
    }

    fn inflate(&mut self, bytes: &[u8]) -> Result<()> {
        self.compressed += bytes.len() as u64;
        let Self { inflater, compressed, worker, .. } = self;
        let Some(inflater) = inflater else { return Ok(()) };
        inflater.push(bytes, &mut |buffer, length| worker.send(buffer, length, *compressed))
    }

    /// The end: checks size and digest against the descriptor, completes the directory.
    ///
    /// A wrong digest is reported before a fault of the archive: damaged bytes are the likelier cause.
    ///
    /// # Errors
    /// Those of [`Ingest::seal`] and [`LayerApplier::finish`].
    pub fn finish(mut self, descriptor: &Descriptor) -> Result<(SealedBlob, Applied)> {
        let mut flushed = Ok(());
        if let Some(inflater) = self.inflater.take() {
            let Self { compressed, worker, .. } = &mut self;
            flushed = inflater.finish(&mut |buffer, length| worker.send(buffer, length, *compressed));
        }
        let sealed = self.ingest.seal(descriptor.size, Some(&descriptor.digest))?;
        flushed?;
        Ok((sealed, self.worker.finish()?))
    }
}

/// A piece of the archive on its way.
#[derive(Debug)]
struct Piece {
    buffer: Vec<u8>,
    length: usize,
    /// Compressed bytes that were read for everything up to its end.
    compressed: u64,
}

/// The thread that applies.
#[derive(Debug)]
struct Worker {
    pieces: Option<SyncSender<Piece>>,
    /// Buffers on their way back.
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<Result<Unpacker>>>,
}

impl Worker {
    fn start(mut unpacker: Unpacker) -> Result<Self> {
        let (pieces, incoming) = sync_channel::<Piece>(QUEUE);
        let (outgoing, empty) = sync_channel(QUEUE + 2);
        let work = move || {
            for Piece { buffer, length, compressed } in incoming {
                unpacker.push(&buffer[..length], compressed)?;
                // A full queue only means that a buffer is made anew.
                drop(outgoing.try_send(buffer));
            }
            Ok(unpacker)
        };
        let thread = std::thread::Builder::new()
            .name("layer-apply".to_string())
            .stack_size(256 << 10)
            .spawn(work)
            .map_err(|error| Error::io("start thread", "layer-apply", error))?;
        Ok(Self { pieces: Some(pieces), empty, thread: Some(thread) })
    }

    /// Hands the buffer over and leaves another one in its place.
    fn send(&mut self, buffer: &mut Vec<u8>, length: usize, compressed: u64) -> Result<()> {
        let next = match self.empty.try_recv() {
            Ok(buffer) => buffer,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => vec![0; CHUNK],
        };
        let piece = Piece { buffer: std::mem::replace(buffer, next), length, compressed };
        match self.pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_ok()) {
            true => Ok(()),
            // The thread ended by an error: fetch it.
            false => Err(self.join().err().unwrap_or_else(|| ended("it ended early"))),
        }
    }

    fn finish(mut self) -> Result<Applied> {
        self.join()?.finish()
    }

    fn join(&mut self) -> Result<Unpacker> {
        self.pieces = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(ended("it panicked")),
            None => Err(ended("it failed before")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; the thread is waited for, so that the directory is quiet afterwards.
        drop(self.join());
    }
}

fn ended(detail: &str) -> Error {
    Error::new(ErrorKind::Internal, "apply layer", "thread layer-apply", detail)
}
