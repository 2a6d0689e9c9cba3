//! The frame: header encoding, limits, and cutting frames out of a growing buffer. Pure.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tare_types::ErrorKind;

use crate::status::Status;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 10;
/// The largest message, in bytes, as containerd's ttrpc has it (4 MiB).
pub const MAX_MESSAGE: usize = 4 << 20;

/// The sender sends nothing more on this stream.
pub(super) const FLAG_CLOSED: u8 = 1;
/// The sender will send data frames on this stream.
pub(super) const FLAG_OPEN: u8 = 2;
/// The frame carries no message (an empty message is a message).
pub(super) const FLAG_NO_DATA: u8 = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Starts a call.
    Request,
    /// Ends a call.
    Response,
    /// One message of a stream.
    Data,
    /// A type of a later version; ignored, as the protocol asks for.
    Other(u8),
}

impl MessageKind {
    fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Data => 3,
            Self::Other(other) => other,
        }
    }
}

/// One frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) stream: u32,
    pub(super) kind: MessageKind,
    pub(super) flags: u8,
    /// `Err` holds the length of a message beyond [`MAX_MESSAGE`] that was dropped.
    pub(super) data: Result<Bytes, usize>,
}

impl Frame {
    /// The message's bytes, or why there are none.
    pub(super) fn into_data(self) -> Result<Bytes, Status> {
        self.data.map_err(|length| {
            Status::new(
                ErrorKind::ResourceExhausted,
                format!("message length {length} exceeds the maximum of {MAX_MESSAGE}"),
            )
        })
    }
}

/// Header and message in one buffer, ready to be written at once.
///
/// # Errors
/// `ResourceExhausted` for a message above [`MAX_MESSAGE`]: the peer would refuse it.
pub(super) fn encode<M: Message>(
    stream: u32,
    kind: MessageKind,
    flags: u8,
    message: Option<&M>,
) -> Result<Vec<u8>, Status> {
    let length = message.map_or(0, Message::encoded_len);
    if length > MAX_MESSAGE {
        return Err(Status::new(
            ErrorKind::ResourceExhausted,
            format!("message length {length} exceeds the maximum of {MAX_MESSAGE}"),
        ));
    }
    let mut frame = Vec::with_capacity(HEADER + length);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.push(kind.to_wire());
    frame.push(flags);
    if let Some(message) = message {
        message.encode(&mut frame).expect("invariant: a Vec grows as the message needs");
    }
    Ok(frame)
}

/// Cuts frames out of received bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The rest of a message that is too large: how many bytes are still to be dropped, and its frame.
    dropping: Option<(usize, Frame)>,
}

impl Decoder {
    /// The next whole frame of `buffer`, whose bytes it consumes; `None`: read more.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        if self.dropping.is_none() {
            let header: [u8; HEADER] = buffer.get(..HEADER)?.try_into().ok()?;
            let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let kind = MessageKind::from_wire(header[8]);
            let mut frame = Frame { stream, kind, flags: header[9], data: Err(length) };
            if length <= MAX_MESSAGE {
                if buffer.len() < HEADER + length {
                    buffer.reserve(HEADER + length - buffer.len());
                    return None;
                }
                buffer.advance(HEADER);
                frame.data = Ok(buffer.split_to(length).freeze());
                return Some(frame);
            }
            buffer.advance(HEADER);
            self.dropping = Some((length, frame));
        }
        let (left, frame) = self.dropping.take()?;
        let here = left.min(buffer.len());
        buffer.advance(here);
        if left > here {
            self.dropping = Some((left - here, frame));
            return None;
        }
        Some(frame)
    }
}
