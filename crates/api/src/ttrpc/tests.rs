//! The codec against itself and against malformed frames. Go's side is tested in `crates/shim/tests/it`.

use super::connection::split;
use super::frame::{Decoder, FLAG_CLOSED, HEADER, encode};
use super::*;
use crate::status::Status;
use crate::tare::shim::v1::{ReleasePortsRequest as Text, TerminalSize};
use bytes::BytesMut;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tare_types::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Echo;

impl Service for Echo {
    fn method(&self, service: &str, method: &str) -> Option<Method> {
        match (service, method) {
            ("test.Echo", "Say" | "Fail" | "Hang" | "Big" | "Meta") => Some(Method::Unary),
            ("test.Echo", "Talk" | "Break") => Some(Method::Streaming),
            _ => None,
        }
    }

    fn unary(self: Arc<Self>, call: Call) -> Reply<Vec<u8>> {
        Box::pin(async move {
            match call.method.as_str() {
                "Fail" => Err(Status::new(ErrorKind::NotFound, "no such thing")),
                "Hang" => std::future::pending().await,
                "Big" => Ok(vec![0; MAX_MESSAGE]),
                "Meta" => Ok(Text { id: call.metadata("k").unwrap_or("none").to_owned() }.encode_to_vec()),
                _ => Ok(call.message::<Text>()?.encode_to_vec()),
            }
        })
    }

    fn streaming(self: Arc<Self>, call: Call, mut stream: Stream) -> Reply<()> {
        Box::pin(async move {
            while let Some(message) = stream.receiver.next::<Text>().await? {
                if call.method == "Break" {
                    return Err(Status::new(ErrorKind::Aborted, "broken"));
                }
                stream.sender.send(&message).await?;
            }
            Ok(())
        })
    }
}

fn pair() -> Client {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(serve_connection(theirs, Arc::new(Echo)));
    Client::new(ours)
}

fn raw() -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(serve_connection(theirs, Arc::new(Echo)));
    ours
}

async fn say(client: &Client, method: &str, text: &str, options: &CallOptions) -> Result<String, Status> {
    client.call::<_, Text>("test.Echo", method, &Text { id: text.into() }, options).await.map(|t| t.id)
}

#[tokio::test]
async fn unary_calls_answer_and_fail() {
    let client = pair();
    let none = CallOptions::default();
    assert_eq!(say(&client, "Say", "a", &none).await.unwrap(), "a");
    assert_eq!(
        say(&client, "Fail", "a", &none).await.unwrap_err(),
        Status::new(ErrorKind::NotFound, "no such thing")
    );
    assert_eq!(say(&client, "Nothing", "a", &none).await.unwrap_err().kind, ErrorKind::Unimplemented);
    let options = CallOptions { metadata: vec![("k".into(), "v".into())], ..none };
    assert_eq!(say(&client, "Meta", "", &options).await.unwrap(), "v");
}

#[tokio::test]
async fn a_thousand_calls_at_once_keep_their_answers() {
    let client = pair();
    let calls: Vec<_> = (0..1000)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { say(&client, "Say", &n.to_string(), &CallOptions::default()).await })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), n.to_string());
    }
}

#[tokio::test]
async fn deadlines_end_a_call_and_free_its_place() {
    let client = pair();
    let options = CallOptions::timeout(Duration::from_millis(20));
    assert_eq!(say(&client, "Hang", "", &options).await.unwrap_err().kind, ErrorKind::DeadlineExceeded);
    assert_eq!(say(&client, "Say", "on", &CallOptions::default()).await.unwrap(), "on");
}

#[tokio::test]
async fn messages_near_the_limit_pass_and_larger_ones_are_refused() {
    let client = pair();
    let none = CallOptions::default();
    let large = "x".repeat(MAX_MESSAGE - 100);
    assert_eq!(say(&client, "Say", &large, &none).await.unwrap(), large);
    let larger = "x".repeat(MAX_MESSAGE + 1);
    assert_eq!(say(&client, "Say", &larger, &none).await.unwrap_err().kind, ErrorKind::ResourceExhausted);
    assert_eq!(say(&client, "Big", "", &none).await.unwrap_err().kind, ErrorKind::ResourceExhausted);
    assert_eq!(say(&client, "Say", "on", &none).await.unwrap(), "on");
}

#[tokio::test]
async fn streams_carry_messages_both_ways_and_end() {
    let client = pair();
    let none = CallOptions::default();
    let mut stream = client.open("test.Echo", "Talk", &none).await.unwrap();
    for n in 0..100 {
        stream.sender.send(&Text { id: n.to_string() }).await.unwrap();
        assert_eq!(stream.receiver.next::<Text>().await.unwrap().unwrap().id, n.to_string());
    }
    stream.sender.close().await.unwrap();
    assert!(stream.receiver.next::<Text>().await.unwrap().is_none());
    let mut broken = client.open("test.Echo", "Break", &none).await.unwrap();
    broken.sender.send(&Text::default()).await.unwrap();
    assert_eq!(broken.receiver.next::<Text>().await.unwrap_err(), Status::new(ErrorKind::Aborted, "broken"));
}

#[tokio::test]
async fn an_unread_stream_holds_a_bounded_number_of_messages() {
    let client = pair();
    let stream = client.open("test.Echo", "Talk", &CallOptions::default()).await.unwrap();
    let message = Text { id: "x".repeat(1 << 20) };
    let flood = async {
        for _ in 0..1000 {
            stream.sender.send(&message).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(300), flood).await.is_err(),
        "a gigabyte was taken in"
    );
}

#[tokio::test]
async fn the_peers_end_fails_waiting_calls() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = Client::new(ours);
    let call = tokio::spawn({
        let client = client.clone();
        async move { say(&client, "Say", "", &CallOptions::default()).await }
    });
    let mut theirs = theirs;
    theirs.read_exact(&mut [0; HEADER]).await.unwrap();
    drop(theirs);
    assert_eq!(call.await.unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    client.closed().await;
    assert_eq!(
        say(&client, "Say", "", &CallOptions::default()).await.unwrap_err().kind,
        ErrorKind::Unavailable
    );
}

/// Sends raw bytes and a good call after them; the good call must be answered.
async fn survives(bytes: &[u8]) -> Vec<crate::ttrpc_wire::Response> {
    let mut socket = raw();
    socket.write_all(bytes).await.unwrap();
    let request = crate::ttrpc_wire::Request {
        service: "test.Echo".into(),
        method: "Say".into(),
        payload: Text { id: "good".into() }.encode_to_vec(),
        ..Default::default()
    };
    let good = encode(9, MessageKind::Request, FLAG_CLOSED, Some(&request)).unwrap();
    socket.write_all(&good).await.unwrap();
    let (mut reader, _writer) = split(socket);
    let mut answers = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next());
        let frame = next.await.expect("no answer").unwrap().expect("connection closed");
        let response = crate::ttrpc_wire::Response::decode(frame.data.clone().unwrap()).unwrap();
        answers.push(response);
        if frame.stream == 9 {
            return answers;
        }
    }
}

#[tokio::test]
async fn malformed_frames_fail_alone() {
    let junk = |id: u32, kind: u8, flags: u8, data: &[u8]| {
        let mut frame = (data.len() as u32).to_be_bytes().to_vec();
        frame.extend(id.to_be_bytes());
        frame.extend([kind, flags]);
        frame.extend(data);
        frame
    };
    let code = |answers: &[crate::ttrpc_wire::Response]| answers[0].status.clone().map(|s| s.code);
    assert_eq!(code(&survives(&junk(1, 1, 1, &[0xff; 40])).await), Some(3), "not protobuf");
    assert_eq!(code(&survives(&junk(2, 1, 1, &[])).await), Some(3), "even id");
    assert_eq!(code(&survives(&junk(1, 1, 1, &[])).await), Some(12), "no method");
    assert_eq!(survives(&junk(1, 9, 0xff, b"later version")).await.len(), 1, "unknown type");
    assert_eq!(survives(&junk(7, 3, 0, b"data of nobody")).await.len(), 1, "unknown stream");
    assert_eq!(survives(&junk(7, 2, 0, b"")).await.len(), 1, "response to nobody");
    assert_eq!(code(&survives(&junk(1, 1, 1, &vec![7; MAX_MESSAGE + 1])).await), Some(8), "too large");
    let mut twice = junk(1, 1, 1, &[]);
    twice.extend(junk(1, 1, 1, &[]));
    let answers = survives(&twice).await;
    assert_eq!(answers[1].status.clone().unwrap().code, 3, "id used twice");
}

#[tokio::test]
async fn a_connection_cut_within_a_frame_is_an_error() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let server = tokio::spawn(serve_connection(theirs, Arc::new(Echo)));
    ours.write_all(&[0, 0, 0, 100, 0, 0, 0, 1, 1, 0, 1, 2, 3]).await.unwrap();
    drop(ours);
    assert_eq!(server.await.unwrap().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn frames_survive_every_cut() {
    let message = TerminalSize { width: 80, height: 24 };
    let mut wire = encode(3, MessageKind::Data, 0, Some(&message)).unwrap();
    wire.extend(encode(5, MessageKind::Response, 0, None::<&()>).unwrap());
    for cut in 0..wire.len() {
        let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
        for part in [&wire[..cut], &wire[cut..]] {
            buffer.extend_from_slice(part);
            while let Some(frame) = decoder.next(&mut buffer) {
                frames.push(frame);
            }
        }
        assert_eq!(frames.len(), 2);
        assert_eq!(TerminalSize::decode(frames[0].data.clone().unwrap()).unwrap(), message);
        assert!(buffer.is_empty());
    }
}

#[test]
fn random_bytes_never_panic_and_never_grow_the_buffer() {
    let mut seed = 1u64;
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..64)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            })
            .collect();
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::from(&bytes[..]));
        while decoder.next(&mut buffer).is_some() {}
        assert!(buffer.capacity() <= MAX_MESSAGE + 2 * HEADER + 64);
    }
}
