//! One socket: frames in, frames out. Writing is whole frames under a lock; reading is one owner's.

use bytes::BytesMut;
use prost::Message;
use std::io;
use std::sync::Arc;
use tare_types::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::frame::{Decoder, Frame, MessageKind, encode};
use crate::status::Status;

/// Room that is kept for reading while nothing is received, in bytes; larger messages take more for their time.
const READ_ROOM: usize = 4096;

/// The reading side.
#[derive(Debug)]
pub(super) struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    decoder: Decoder,
}

impl FrameReader {
    /// The next frame; `None` when the peer closed between frames.
    ///
    /// # Errors
    /// The read's error; `UnexpectedEof` when the peer closed within a frame.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer) {
                return Ok(Some(frame));
            }
            let capacity = self.buffer.capacity();
            if self.buffer.is_empty() && !(READ_ROOM / 8..=READ_ROOM * 4).contains(&capacity) {
                // Room for the usual message; a large one leaves no large buffer behind.
                self.buffer = BytesMut::with_capacity(READ_ROOM);
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// The writing side; clones write to the same socket.
#[derive(Debug, Clone)]
pub(super) struct FrameWriter {
    half: Arc<Mutex<OwnedWriteHalf>>,
}

impl FrameWriter {
    /// Writes one frame.
    ///
    /// # Errors
    /// `ResourceExhausted` when the message is too large, `Unavailable` when the connection is gone.
    pub(super) async fn send<M: Message>(
        &self,
        stream: u32,
        kind: MessageKind,
        flags: u8,
        message: Option<&M>,
    ) -> Result<(), Status> {
        let frame = encode(stream, kind, flags, message)?;
        self.lock().await.write(frame).await
    }

    /// The right to write the next frame; who must choose a stream id in the order of the frames needs it first.
    pub(super) async fn lock(&self) -> WriteTurn {
        WriteTurn(Arc::clone(&self.half).lock_owned().await)
    }
}

/// The right to write one frame.
#[derive(Debug)]
pub(super) struct WriteTurn(OwnedMutexGuard<OwnedWriteHalf>);

impl WriteTurn {
    /// Writes the frame.
    ///
    /// A frame cut off in the middle would spoil the connection for all calls, so a write cannot be dropped half
    /// done: what does not fit into the socket at once is finished by a task of its own, which keeps the turn.
    pub(super) async fn write(self, frame: Vec<u8>) -> Result<(), Status> {
        let mut half = self.0;
        let done = match half.try_write(&frame) {
            Ok(done) => done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(closed(&error)),
        };
        if done == frame.len() {
            return Ok(());
        }
        tokio::spawn(async move { half.write_all(&frame[done..]).await })
            .await
            .map_err(|error| Status::new(ErrorKind::Unavailable, format!("ttrpc: write: {error}")))?
            .map_err(|error| closed(&error))
    }
}

fn closed(error: &io::Error) -> Status {
    Status::new(ErrorKind::Unavailable, format!("ttrpc: connection closed: {error}"))
}

/// Both sides of a socket.
pub(super) fn split(stream: UnixStream) -> (FrameReader, FrameWriter) {
    let (read, write) = stream.into_split();
    let reader =
        FrameReader { half: read, buffer: BytesMut::with_capacity(READ_ROOM), decoder: Decoder::default() };
    (reader, FrameWriter { half: Arc::new(Mutex::new(write)) })
}
