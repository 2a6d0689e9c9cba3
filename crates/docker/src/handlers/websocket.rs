//! Attach over a websocket (RFC 6455): for browsers, and for docker-py. Output goes out in binary frames as it comes,
//! both streams alike; what comes in frames of either kind is input.

use crate::body::{self, Handled, Reply};
use crate::detach::Detacher;
use crate::door::Docker;
use crate::error::ApiError;
use crate::handlers::attach;
use crate::hijack::{self, Connection, Session};
use crate::request::Request;
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use sha1::Digest as _;
use tare_engine::attach::{AttachOutput, AttachStdin, Attachment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// What a server adds to a client's key before it hashes it (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes read from a client at once.
const READ_SIZE: usize = 32 << 10;
/// The longest payload of a frame that is no data.
const CONTROL_LIMIT: u64 = 125;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// `GET /containers/{name}/attach/ws`.
pub(crate) async fn attach(door: &Docker, request: Request, name: &str) -> Handled {
    let is_upgrade = request.header("Upgrade").is_some_and(|text| text.eq_ignore_ascii_case("websocket"));
    let key = request.header("Sec-WebSocket-Key").map(str::to_owned);
    let Some(key) = key.filter(|_| is_upgrade && request.header("Sec-WebSocket-Version") == Some("13"))
    else {
        return Err(ApiError::bad_parameter("not a websocket request of version 13"));
    };
    let session = attach::open(door, &request, name).await?;
    let reply = upgraded(&key)?;
    door.tasks().spawn(async move {
        match hijack::take(request.upgrade).await {
            Ok(connection) => run(connection, session).await,
            Err(error) => tracing::debug!(%error, "a client asked to attach and went away"),
        }
    });
    Ok(reply)
}

fn accept(key: &str) -> String {
    let hash = sha1::Sha1::new().chain_update(key).chain_update(GUID).finalize();
    base64::engine::general_purpose::STANDARD.encode(hash)
}

fn upgraded(key: &str) -> Result<Reply, ApiError> {
    let accept =
        HeaderValue::from_str(&accept(key)).map_err(|error| ApiError::internal(error.to_string()))?;
    let mut reply = body::status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

/// Carries frames both ways until the output ends, the client closes or is gone, or the keys detach.
async fn run(connection: Connection, session: Session) {
    let (mut reader, mut writer, early) = connection.into_parts();
    let Session { attachment, close_stdin, detacher, .. } = session;
    let Attachment { stdin, output, .. } = attachment;
    let (pongs, wanted) = mpsc::channel(4);
    let input = Input { stdin, close_stdin, detacher, pongs };
    tokio::select! {
        () = send(&mut writer, output, wanted) => {}
        () = input.receive(&mut reader, early) => {}
    }
    // The client may be gone; then there is nobody to tell.
    let _ = writer.shutdown().await;
}

/// A frame as a server sends it: whole, and not masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => bytes.push(u8::try_from(short).expect("invariant: at most 125")),
        length => match u16::try_from(length) {
            Ok(length) => {
                bytes.push(126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        },
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Output to the client, and answers to its pings; then the end.
async fn send(writer: &mut OwnedWriteHalf, mut output: AttachOutput, mut pongs: mpsc::Receiver<Vec<u8>>) {
    loop {
        let bytes = tokio::select! {
            chunk = output.next() => match chunk {
                Some(Ok(chunk)) => frame(BINARY, &chunk.bytes),
                Some(Err(error)) => {
                    tracing::debug!(%error, "an attached client was cut off");
                    return;
                }
                None => break,
            },
            Some(payload) = pongs.recv() => frame(PONG, &payload),
        };
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // 1000: all is well. A client that is gone does not read it.
    let _ = writer.write_all(&frame(CLOSE, &1000u16.to_be_bytes())).await;
}

struct Input {
    stdin: Option<AttachStdin>,
    close_stdin: bool,
    detacher: Option<Detacher>,
    pongs: mpsc::Sender<Vec<u8>>,
}

impl Input {
    /// Ends when the client closes, breaks the protocol or detaches.
    async fn receive(mut self, reader: &mut OwnedReadHalf, early: Bytes) {
        let mut frames = Frames::default();
        let mut pending = early;
        loop {
            for event in frames.feed(&pending) {
                match event {
                    Event::Data(bytes) => {
                        if self.pass(bytes).await {
                            return;
                        }
                    }
                    // A client that does not read its pongs gets no more of them.
                    Event::Ping(payload) => drop(self.pongs.try_send(payload)),
                    Event::Close | Event::Broken => return self.end().await,
                }
            }
            let mut buffer = BytesMut::with_capacity(READ_SIZE);
            match reader.read_buf(&mut buffer).await {
                Ok(read) if read > 0 => pending = buffer.freeze(),
                Ok(_) | Err(_) => return self.end().await,
            }
        }
    }

    /// Gives input to the process; whether the keys detached.
    async fn pass(&mut self, bytes: Vec<u8>) -> bool {
        let (bytes, detached) = match &mut self.detacher {
            Some(detacher) => detacher.feed(&bytes),
            None => (bytes, false),
        };
        if let Some(stdin) = &self.stdin
            && !bytes.is_empty()
            && stdin.write(bytes.into()).await.is_err()
        {
            // The process does not read any more; what the client sends is dropped.
            self.stdin = None;
        }
        detached
    }

    async fn end(self) {
        if let Some(stdin) = self.stdin.filter(|_| self.close_stdin) {
            // A process that is gone has no stdin to close.
            let _ = stdin.close().await;
        }
    }
}

/// What frames of a client say.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Close,
    /// No frame of a client.
    Broken,
}

/// Reads the frames of a client from pieces of any size. Data is passed on as it comes, whatever its frame promises.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    opcode: u8,
    mask: [u8; 4],
    left: u64,
    position: usize,
    /// Payload of a frame that is no data.
    control: Vec<u8>,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() || self.current.as_ref().is_some_and(|current| current.left == 0) {
            let Some(current) = &mut self.current else {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                match parse(&self.head) {
                    Head::Short => {}
                    Head::Broken => {
                        events.push(Event::Broken);
                        return events;
                    }
                    Head::Whole(current) => {
                        self.head.clear();
                        self.current = Some(current);
                    }
                }
                continue;
            };
            let count = usize::try_from(current.left).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(count);
            bytes = rest;
            let plain: Vec<u8> = piece
                .iter()
                .enumerate()
                .map(|(at, byte)| byte ^ current.mask[(current.position + at) % 4])
                .collect();
            current.position = (current.position + count) % 4;
            current.left -= count as u64;
            if current.opcode >= CLOSE {
                current.control.extend(plain);
            } else if !plain.is_empty() {
                events.push(Event::Data(plain));
            }
            if current.left == 0 {
                match current.opcode {
                    CLOSE => events.push(Event::Close),
                    PING => events.push(Event::Ping(std::mem::take(&mut current.control))),
                    _ => {}
                }
                self.current = None;
            }
        }
        events
    }
}

enum Head {
    Short,
    Whole(Current),
    Broken,
}

/// The head of a frame: two bytes, a longer length, and the mask that a client must use.
fn parse(head: &[u8]) -> Head {
    let [first, second, rest @ ..] = head else { return Head::Short };
    let opcode = first & 0x0f;
    let masked = second & 0x80 != 0;
    let known = matches!(opcode, 0..=BINARY | CLOSE..=PONG);
    // Reserved bits belong to extensions, and none was agreed on.
    if first & 0x70 != 0 || !masked || !known {
        return Head::Broken;
    }
    let size = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(size) else { return Head::Short };
    let [a, b, c, d] = rest else { return Head::Short };
    let left = match size {
        0 => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    if opcode >= CLOSE && left > CONTROL_LIMIT {
        return Head::Broken;
    }
    Head::Whole(Current { opcode, mask: [*a, *b, *c, *d], left, position: 0, control: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(opcode, payload);
        bytes[1] |= 0x80;
        let at = bytes.len() - payload.len();
        let mask = [1, 2, 3, 4];
        let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
        bytes.truncate(at);
        bytes.extend(mask);
        bytes.extend(payload);
        bytes
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_key_is_answered() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_read_from_pieces_of_any_size() {
        let long = vec![7u8; 70_000];
        let mut stream = masked(1, b"hello");
        stream.extend(masked(BINARY, &long));
        stream.extend(masked(PING, b"are you there"));
        stream.extend(masked(PING, b""));
        stream.extend(masked(CLOSE, &1000u16.to_be_bytes()));
        for size in [1, 2, 3, 1000, stream.len()] {
            let mut frames = Frames::default();
            let events: Vec<Event> = stream.chunks(size).flat_map(|piece| frames.feed(piece)).collect();
            let (mut data, mut others) = (Vec::new(), Vec::new());
            for event in events {
                match event {
                    Event::Data(bytes) => data.extend(bytes),
                    other => others.push(other),
                }
            }
            assert_eq!(data, [&b"hello"[..], &long].concat());
            let pings = [Event::Ping(b"are you there".to_vec()), Event::Ping(Vec::new()), Event::Close];
            assert_eq!(others, pings, "{size}");
        }
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        let table = [
            ("not masked", frame(1, b"x")),
            ("a reserved bit", vec![0xc1, 0x80]),
            ("an unknown opcode", vec![0x83, 0x80]),
            ("a long ping", masked(PING, &[0; 126])),
        ];
        for (what, bytes) in table {
            assert_eq!(Frames::default().feed(&bytes).first(), Some(&Event::Broken), "{what}");
        }
    }
}
