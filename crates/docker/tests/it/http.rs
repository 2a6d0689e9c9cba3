//! An HTTP/1.1 client as small as the tests need: one request per connection, bytes as they come.

use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The whole head as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The `message` of an error.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends one request and reads the whole answer.
pub(crate) async fn call(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n");
        if let Some(body) = body {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body.unwrap_or_default();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        parse(&bytes)
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("no answer: {method} {path}"))
}

/// Sends an archive and reads the whole answer.
pub(crate) async fn upload(socket: &Path, method: &str, path: &str, archive: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            archive.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(archive).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        parse(&bytes)
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("no answer: {method} {path}"))
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = &bytes[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Answer { status, head, body: if chunked { unchunk(body) } else { body.to_vec() } }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    body
}

/// A connection after the head of its answer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) head: String,
    pub(crate) stream: UnixStream,
}

/// Sends a request and reads the head of its answer, byte by byte: nothing of the stream is taken with it.
pub(crate) async fn open(
    socket: &Path,
    method: &str,
    path: &str,
    upgrade: bool,
    body: Option<&str>,
) -> Opened {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n");
        if upgrade {
            request += "Connection: Upgrade\r\nUpgrade: tcp\r\n";
        }
        if let Some(body) = body {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body.unwrap_or_default();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Opened { head: String::from_utf8(head).unwrap(), stream }
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("no head: {method} {path}"))
}

impl Opened {
    /// Everything until the end.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.stream.read_to_end(&mut bytes);
        tokio::time::timeout(DEADLINE, read).await.expect("the end of the stream").unwrap();
        bytes
    }
}

/// Output and errors of a multiplexed stream.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let part = &rest[..length];
        match stream {
            1 => out.extend_from_slice(part),
            2 => err.extend_from_slice(part),
            other => panic!("stream {other}"),
        }
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "no frame: {bytes:?}");
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}
