//! A connection that an answer took over: raw bytes both ways until one side has enough.
//!
//! A client may close its sending half and go on reading (the docker command does so at once when it has no
//! input), so the end of its bytes is not the end of the client; a hang-up is.

use crate::body::{self, Body, Handled, Reply};
use crate::detach::Detacher;
use crate::error::ApiError;
use crate::request::Request;
use crate::stdcopy;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tare_engine::attach::{AttachOutput, AttachStdin, Attachment, Chunk, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes read from a client at once.
const READ_SIZE: usize = 32 << 10;

/// How long the first bytes wait for the head of the answer to be read, in milliseconds.
const HEAD_WAIT_MS: u32 = 50;

/// How long a finished connection waits for its client to close.
const LINGER: Duration = Duration::from_secs(5);

/// How bytes go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As they are: a terminal.
    Raw,
    /// In frames that say the stream.
    Multiplexed,
}

impl Framing {
    /// The content type, which older clients know by one name only.
    pub(crate) fn content_type(self, request: &Request) -> &'static str {
        match self {
            Self::Multiplexed if request.version.at_least(42) => "application/vnd.docker.multiplexed-stream",
            Self::Multiplexed | Self::Raw => "application/vnd.docker.raw-stream",
        }
    }

    /// A chunk as it goes out.
    pub(crate) fn frame(self, chunk: &Chunk) -> Bytes {
        match self {
            Self::Raw => chunk.bytes.clone(),
            Self::Multiplexed => stdcopy::frame(to_frame(chunk.stream), &chunk.bytes),
        }
    }
}

fn to_frame(stream: Stream) -> stdcopy::Stream {
    match stream {
        Stream::Stdout => stdcopy::Stream::Stdout,
        Stream::Stderr => stdcopy::Stream::Stderr,
    }
}

/// One client on one process.
#[derive(Debug)]
pub(crate) struct Session {
    /// The engine's side.
    pub(crate) attachment: Attachment,
    /// How bytes go out.
    pub(crate) framing: Framing,
    /// The end of the client's bytes ends the process's stdin; otherwise it ends the session.
    pub(crate) close_stdin: bool,
    /// Looks for the keys that detach, on a terminal.
    pub(crate) detacher: Option<Detacher>,
}

/// The answer that takes the connection over.
pub(crate) fn upgraded(content_type: &'static str) -> Reply {
    let mut reply = body::status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    reply
}

/// Whether the client asks for the connection.
pub(crate) fn wants_upgrade(request: &Request) -> bool {
    request.headers.contains_key(UPGRADE)
}

/// Takes the connection once the answer went out.
pub(crate) async fn take(upgrade: OnUpgrade) -> Result<Connection, hyper::Error> {
    Ok(Connection::new(upgrade.await?))
}

/// A connection that was taken over, and what came on it already.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    early: Bytes,
}

impl Connection {
    fn new(upgraded: Upgraded) -> Self {
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .expect("invariant: the door serves nothing but unix streams");
        let (reader, writer) = parts.io.into_inner().into_split();
        Self { reader, writer, early: parts.read_buf }
    }

    /// Both halves, and what was read already.
    pub(crate) fn into_parts(self) -> (OwnedReadHalf, OwnedWriteHalf, Bytes) {
        (self.reader, self.writer, self.early)
    }

    /// Says one thing and closes.
    pub(crate) async fn say(mut self, framing: Framing, text: String) -> std::io::Result<()> {
        let chunk = Chunk { stream: Stream::Stdout, bytes: text.into() };
        head_is_read(&self.writer).await;
        self.writer.write_all(&framing.frame(&chunk)).await?;
        self.writer.shutdown().await?;
        drain(&mut self.reader).await;
        Ok(())
    }

    /// Carries bytes both ways until the output ends, the client is gone or the keys detach.
    /// Gives whether they did.
    pub(crate) async fn run(self, session: Session) -> bool {
        let Self { mut reader, mut writer, early } = self;
        let Session { attachment, framing, close_stdin, detacher } = session;
        let Attachment { stdin, output, .. } = attachment;
        let gone = writer.as_ref().as_fd().try_clone_to_owned();
        let input = input(&mut reader, early, stdin, close_stdin, detacher);
        let hang_up = async {
            match gone {
                Ok(fd) => hang_up(fd).await,
                // Without a descriptor to watch, the next write tells.
                Err(_) => std::future::pending().await,
            }
        };
        let detached = tokio::select! {
            () = send(&mut writer, output, framing) => false,
            detached = input => detached,
            () = hang_up => return false,
        };
        // The client may be gone; then there is nobody to tell.
        let _ = writer.shutdown().await;
        drain(&mut reader).await;
        detached
    }
}

/// Reads what the client still sends until it closes: a socket closed over unread bytes resets the connection, and
/// the client would lose output that it has not read yet.
async fn drain(reader: &mut OwnedReadHalf) {
    let drained = async {
        let mut buffer = vec![0; READ_SIZE];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    // A client that keeps its side open has had time to read.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// Waits, a moment at most, until the client has read the head of the answer. The Python client reads the head with
/// a buffer and the stream without it: what comes together with the head it loses.
async fn head_is_read(writer: &OwnedWriteHalf) {
    for _ in 0..HEAD_WAIT_MS {
        if tare_engine::attach::is_read_by_peer(writer.as_ref()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Output to the client, until it ends or the client does not take it.
async fn send(writer: &mut OwnedWriteHalf, mut output: AttachOutput, framing: Framing) {
    let mut first = true;
    while let Some(chunk) = output.next().await {
        if std::mem::take(&mut first) {
            head_is_read(writer).await;
        }
        let sent = match chunk {
            Ok(chunk) if framing == Framing::Multiplexed => {
                let length = u32::try_from(chunk.bytes.len()).expect("invariant: chunks are far below 4 GiB");
                let head = stdcopy::head(to_frame(chunk.stream), length);
                writer.write_all_buf(&mut Buf::chain(&head[..], chunk.bytes)).await
            }
            Ok(chunk) => writer.write_all(&chunk.bytes).await,
            Err(error) => {
                tracing::debug!(%error, "an attached client was cut off");
                break;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Input from the client. Ends with `true` when the keys detach, with `false` when the end of the client's bytes
/// ends the session, and otherwise never: the output decides.
async fn input(
    reader: &mut OwnedReadHalf,
    early: Bytes,
    mut stdin: Option<AttachStdin>,
    close_stdin: bool,
    mut detacher: Option<Detacher>,
) -> bool {
    let had_stdin = stdin.is_some();
    let mut pending = early;
    loop {
        if !pending.is_empty() {
            let (bytes, detached) = match &mut detacher {
                Some(detacher) => {
                    let (passed, detached) = detacher.feed(&pending);
                    (Bytes::from(passed), detached)
                }
                None => (pending, false),
            };
            if let Some(open) = &stdin
                && !bytes.is_empty()
                && open.write(bytes).await.is_err()
            {
                // The process does not read any more; what the client sends is dropped.
                stdin = None;
            }
            if detached {
                return true;
            }
        }
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        match reader.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => pending = buffer.freeze(),
            Ok(_) | Err(_) => break,
        }
    }
    if had_stdin && !close_stdin {
        return false;
    }
    if let Some(stdin) = stdin {
        // A process that is gone has no stdin to close.
        let _ = stdin.close().await;
    }
    std::future::pending().await
}

/// Waits until both directions are closed. The descriptor is a duplicate, so that watching it takes no readiness
/// from those who read and write.
async fn hang_up(fd: OwnedFd) {
    let Ok(watched) = UnixStream::from_std(fd.into()) else { return std::future::pending().await };
    while let Ok(ready) = watched.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Forgets this readiness, so that the next turn waits for a new one.
        let blocked = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
        let _ = watched.try_io(Interest::WRITABLE, blocked);
    }
}

/// For a client that did not ask for the connection: its body is the input, the answer's body the output.
pub(crate) fn without_upgrade(mut body: hyper::body::Incoming, session: Session) -> Handled {
    let Session { attachment, framing, close_stdin, .. } = session;
    let Attachment { stdin, output, .. } = attachment;
    let feed = async move {
        let Some(stdin) = stdin else { return };
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
                && stdin.write(bytes).await.is_err()
            {
                return;
            }
        }
        if close_stdin {
            // A process that is gone has no stdin to close.
            let _ = stdin.close().await;
        }
    };
    let state = (output, Some(Box::pin(feed)));
    let chunks = stream::unfold(state, move |(mut output, mut feed)| async move {
        let chunk = loop {
            match &mut feed {
                None => break output.next().await,
                Some(running) => tokio::select! {
                    chunk = output.next() => break chunk,
                    () = running => feed = None,
                },
            }
        };
        let chunk = chunk?.map(|chunk| framing.frame(&chunk)).map_err(std::io::Error::other);
        Some((chunk, (output, feed)))
    });
    Ok(body::stream("application/vnd.docker.raw-stream", chunks))
}

/// An error of a request for the connection: plain text under the type of the stream, as dockerd sends it.
pub(crate) fn refused(error: &ApiError) -> Reply {
    let mut reply: Response<Body> =
        body::bytes(error.status(), "application/vnd.docker.raw-stream", format!("{}\r\n", error.message()));
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}
