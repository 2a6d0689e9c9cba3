//! The messages of one streaming call, the same on both sides: a sender and a receiver.

use bytes::Bytes;
use prost::Message;
use tare_types::ErrorKind;
use tokio::sync::mpsc;

use super::connection::FrameWriter;
use super::frame::{FLAG_CLOSED, FLAG_NO_DATA, MessageKind};
use crate::status::Status;

/// Received messages a stream holds before its connection is not read any further.
pub(super) const RECEIVED: usize = 16;

/// What the connection hands to a stream; the channel's end is the peer's end of sending.
pub(super) type Item = Result<Bytes, Status>;

/// Both directions of a streaming call.
#[derive(Debug)]
pub struct Stream {
    /// To the peer; may be cloned.
    pub sender: StreamSender,
    /// From the peer.
    pub receiver: StreamReceiver,
}

/// Sends messages of a stream.
#[derive(Debug, Clone)]
pub struct StreamSender {
    pub(super) writer: FrameWriter,
    pub(super) id: u32,
}

impl StreamSender {
    /// Sends one message; waits while the peer does not read.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone, `ResourceExhausted` when the message is too large.
    pub async fn send<M: Message>(&self, message: &M) -> Result<(), Status> {
        self.writer.send(self.id, MessageKind::Data, 0, Some(message)).await
    }

    /// Says that nothing more will be sent from this side. A server's handler just returns instead.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone.
    pub async fn close(&self) -> Result<(), Status> {
        self.writer.send(self.id, MessageKind::Data, FLAG_CLOSED | FLAG_NO_DATA, None::<&()>).await
    }
}

/// Receives messages of a stream.
#[derive(Debug)]
pub struct StreamReceiver {
    pub(super) items: mpsc::Receiver<Item>,
    /// A client's stream keeps the connection open though the client itself is dropped.
    pub(super) _connection: Option<super::Client>,
}

impl StreamReceiver {
    /// The next message; `None` when the peer sends no more. Safe to drop before it is ready.
    ///
    /// # Errors
    /// The status the peer ended the call with, `Unavailable` when the connection is gone,
    /// `InvalidArgument` for bytes that are not a `M`.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        match self.items.recv().await {
            None => Ok(None),
            Some(Err(status)) => Err(status),
            Some(Ok(bytes)) => M::decode(bytes).map(Some).map_err(|error| {
                Status::new(ErrorKind::InvalidArgument, format!("ttrpc: unmarshal: {error}"))
            }),
        }
    }
}
