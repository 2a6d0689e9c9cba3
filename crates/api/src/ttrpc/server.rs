//! The answering side of a connection: one task per call, dropped with the connection.
//!
//! A service that must finish what a caller has asked for, although the caller is gone, starts that work in a task of
//! its own when it is called: [`Service::unary`] is called as soon as a request is read.

use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tare_types::ErrorKind;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection::{FrameWriter, split};
use super::frame::{FLAG_CLOSED, FLAG_NO_DATA, Frame, MessageKind};
use super::stream::{Item, RECEIVED, Stream, StreamReceiver, StreamSender};
use crate::status::Status;
use crate::ttrpc_wire::{Request, Response};

/// Calls in flight on one connection; a shim's `Wait`s are the many.
const MAX_CALLS: usize = 8192;

/// How a method exchanges messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One request, one response.
    Unary,
    /// Messages both ways.
    Streaming,
}

/// A future of a handler.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// What is served on a connection. One value answers for all its services.
pub trait Service: Send + Sync + 'static {
    /// How a method is called; `None`: there is none (answered `Unimplemented`).
    fn method(&self, service: &str, method: &str) -> Option<Method>;

    /// Answers a unary call with the encoded response. Called when the request is read; the answer is dropped with the
    /// connection or at the call's deadline.
    fn unary(self: Arc<Self>, call: Call) -> Reply<Vec<u8>>;

    /// Serves a streaming call; its return ends the stream.
    fn streaming(self: Arc<Self>, call: Call, stream: Stream) -> Reply<()> {
        drop(stream);
        Box::pin(async move { Err(Status::unimplemented(&call.method)) })
    }
}

/// One call as it was received.
#[derive(Debug, Clone)]
pub struct Call {
    /// Full name of the service.
    pub service: String,
    /// Name of the method.
    pub method: String,
    /// The encoded request; empty for a streaming call.
    pub payload: Bytes,
    /// Metadata in the order received.
    pub metadata: Vec<(String, String)>,
    /// What the caller allows; the server drops the handler at its end.
    pub timeout: Option<Duration>,
}

impl Call {
    /// The request as a message.
    ///
    /// # Errors
    /// `InvalidArgument` for bytes that are not a `M`.
    pub fn message<M: Message + Default>(&self) -> Result<M, Status> {
        M::decode(self.payload.clone()).map_err(|error| {
            Status::new(
                ErrorKind::InvalidArgument,
                format!("ttrpc: request of {}/{}: {error}", self.service, self.method),
            )
        })
    }

    /// The first value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Serves one connection until the peer closes it; all its handlers are dropped then.
///
/// # Errors
/// The error of reading the socket.
pub async fn serve_connection<S: Service>(stream: UnixStream, service: Arc<S>) -> io::Result<()> {
    let (mut reader, writer) = split(stream);
    let mut connection =
        Connection { service, writer, streams: HashMap::new(), tasks: JoinSet::new(), last_id: 0 };
    loop {
        tokio::select! {
            frame = reader.next() => match frame? {
                Some(frame) => connection.receive(frame).await,
                None => return Ok(()),
            },
            Some(done) = connection.tasks.join_next() => {
                // A panicking handler has no id here: its caller runs into its deadline.
                if let Ok(id) = done {
                    connection.streams.remove(&id);
                }
            }
        }
    }
}

struct Connection<S> {
    service: Arc<S>,
    writer: FrameWriter,
    /// Where the data frames of streaming calls go.
    streams: HashMap<u32, mpsc::Sender<Item>>,
    /// Each task ends with its stream id.
    tasks: JoinSet<u32>,
    last_id: u32,
}

impl<S: Service> Connection<S> {
    async fn receive(&mut self, frame: Frame) {
        let id = frame.stream;
        match frame.kind {
            MessageKind::Request => {
                if let Err(status) = self.request(frame) {
                    // Fails only when the connection is gone, which the next read reports.
                    respond(&self.writer, id, Err(status)).await.unwrap_or_default();
                }
            }
            MessageKind::Data => {
                let (closed, empty) = (frame.flags & FLAG_CLOSED != 0, frame.flags & FLAG_NO_DATA != 0);
                if let Some(sender) = self.streams.get(&id)
                    && !empty
                {
                    // Fails when the handler reads no more: the rest is not wanted.
                    sender.send(frame.into_data()).await.unwrap_or_default();
                }
                if closed {
                    self.streams.remove(&id);
                }
            }
            // Types of later versions must be ignored.
            MessageKind::Response | MessageKind::Other(_) => {}
        }
    }

    fn request(&mut self, frame: Frame) -> Result<(), Status> {
        let (id, flags) = (frame.stream, frame.flags);
        let invalid = |message: &str| Err(Status::new(ErrorKind::InvalidArgument, message));
        if id % 2 != 1 {
            return invalid("ttrpc: the stream id of a client must be odd");
        }
        if id <= self.last_id {
            return invalid("ttrpc: the stream id was used before");
        }
        self.last_id = id;
        let request = Request::decode(frame.into_data()?).map_err(|error| {
            Status::new(ErrorKind::InvalidArgument, format!("ttrpc: unmarshal request: {error}"))
        })?;
        if self.tasks.len() >= MAX_CALLS {
            return Err(Status::new(
                ErrorKind::ResourceExhausted,
                "ttrpc: too many calls in flight on one connection",
            ));
        }
        let call = Call {
            service: request.service,
            method: request.method,
            payload: request.payload.into(),
            metadata: request.metadata.into_iter().map(|pair| (pair.key, pair.value)).collect(),
            timeout: u64::try_from(request.timeout_nano).ok().filter(|n| *n > 0).map(Duration::from_nanos),
        };
        match self.service.method(&call.service, &call.method) {
            Some(Method::Unary) => self.unary(id, call),
            Some(Method::Streaming) => self.streaming(id, call, flags & FLAG_CLOSED != 0),
            None => {
                let what = format!("method {}/{}", call.service, call.method);
                return Err(Status::unimplemented(&what));
            }
        }
        Ok(())
    }

    fn unary(&mut self, id: u32, call: Call) {
        let (writer, service) = (self.writer.clone(), Arc::clone(&self.service));
        let limit = call.timeout;
        let reply = service.unary(call);
        self.tasks.spawn(async move {
            let answer = limited(limit, reply).await;
            // Fails only when the connection is gone or the answer is too large; the caller is told of the latter.
            if let Err(status) = respond(&writer, id, answer).await {
                respond(&writer, id, Err(status)).await.unwrap_or_default();
            }
            id
        });
    }

    fn streaming(&mut self, id: u32, call: Call, closed: bool) {
        let (sender, items) = mpsc::channel(RECEIVED);
        if !closed {
            self.streams.insert(id, sender);
        }
        let stream = Stream {
            sender: StreamSender { writer: self.writer.clone(), id },
            receiver: StreamReceiver { items, _connection: None },
        };
        let (end, service) = (stream.sender.clone(), Arc::clone(&self.service));
        self.tasks.spawn(async move {
            let limit = call.timeout;
            let ended = match limited(limit, service.streaming(call, stream)).await {
                Ok(()) => end.close().await,
                Err(status) => respond(&end.writer, id, Err(status)).await,
            };
            // Fails only when the connection is gone.
            ended.unwrap_or_default();
            id
        });
    }
}

async fn limited<T>(limit: Option<Duration>, handler: Reply<T>) -> Result<T, Status> {
    match limit {
        None => handler.await,
        Some(limit) => tokio::time::timeout(limit, handler)
            .await
            .map_err(|_| Status::new(ErrorKind::DeadlineExceeded, "context deadline exceeded"))?,
    }
}

async fn respond(writer: &FrameWriter, id: u32, answer: Result<Vec<u8>, Status>) -> Result<(), Status> {
    let response = match answer {
        Ok(payload) => Response { status: None, payload },
        Err(status) => Response { status: Some(status.into()), payload: Vec::new() },
    };
    writer.send(id, MessageKind::Response, 0, Some(&response)).await
}
