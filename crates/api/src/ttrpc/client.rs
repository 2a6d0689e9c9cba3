//! The calling side of a connection: many calls at once, each with its own stream id.

use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tare_types::ErrorKind;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::connection::{FrameReader, FrameWriter, split};
use super::frame::{FLAG_CLOSED, FLAG_NO_DATA, FLAG_OPEN, Frame, MessageKind, encode};
use super::stream::{Item, RECEIVED, Stream, StreamReceiver, StreamSender};
use crate::status::Status;
use crate::ttrpc_wire::{KeyValue, Request, Response};

/// What goes with a call beside its message.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// The longest time the call may take; sent to the peer and kept here too. `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// Metadata, e.g. `containerd-namespace-ttrpc`.
    pub metadata: Vec<(String, String)>,
}

impl CallOptions {
    /// A call with a deadline and no metadata.
    pub fn timeout(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), metadata: Vec::new() }
    }
}

/// A ttrpc client. Clones share the connection, which closes with the last of them.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Ends the reading task when the last client is dropped.
    _reader: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct Shared {
    writer: FrameWriter,
    calls: Mutex<Calls>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Calls {
    last_id: u32,
    waiting: HashMap<u32, Waiting>,
    /// Why the connection ended.
    ended: Option<String>,
}

#[derive(Debug)]
enum Waiting {
    Unary(oneshot::Sender<Result<Bytes, Status>>),
    Stream(mpsc::Sender<Item>),
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// `Unavailable` with the path and the error of connect.
    pub async fn connect(path: &Path) -> Result<Self, Status> {
        let stream = UnixStream::connect(path).await.map_err(|error| {
            Status::new(ErrorKind::Unavailable, format!("ttrpc: connect {}: {error}", path.display()))
        })?;
        Ok(Self::new(stream))
    }

    /// A client of a connected socket. Must be called within a tokio runtime.
    pub fn new(stream: UnixStream) -> Self {
        let (reader, writer) = split(stream);
        let shared = Arc::new(Shared { writer, calls: Mutex::default(), closed: watch::Sender::new(false) });
        let task = tokio::spawn(receive(reader, Arc::clone(&shared)));
        Self { shared, _reader: Arc::new(AbortOnDrop(task.abort_handle())) }
    }

    /// Calls a unary method.
    ///
    /// # Errors
    /// The peer's status; `DeadlineExceeded` at the deadline; `Unavailable` when the connection is gone.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &Q,
        options: &CallOptions,
    ) -> Result<A, Status> {
        let (sender, receiver) = oneshot::channel();
        let exchange = async {
            let guard = self.send(service, method, Some(request), options, Waiting::Unary(sender)).await?;
            let answer = receiver.await.map_err(|_| self.shared.ended())?;
            drop(guard);
            answer
        };
        let bytes = match options.timeout {
            None => exchange.await?,
            Some(limit) => tokio::time::timeout(limit, exchange).await.map_err(|_| {
                Status::new(
                    ErrorKind::DeadlineExceeded,
                    format!("ttrpc: {service}/{method} did not answer within {limit:?}"),
                )
            })??,
        };
        A::decode(bytes).map_err(|error| {
            Status::new(ErrorKind::DataLoss, format!("ttrpc: answer of {service}/{method}: {error}"))
        })
    }

    /// Starts a streaming call without a first message. A timeout in `options` goes to the peer alone.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone.
    pub async fn open(&self, service: &str, method: &str, options: &CallOptions) -> Result<Stream, Status> {
        let (sender, items) = mpsc::channel(RECEIVED);
        let guard = self.send(service, method, None::<&()>, options, Waiting::Stream(sender)).await?;
        let id = guard.id;
        // The entry stays until the peer ends the stream or the receiver is gone.
        std::mem::forget(guard);
        Ok(Stream {
            sender: StreamSender { writer: self.shared.writer.clone(), id },
            receiver: StreamReceiver { items, _connection: Some(self.clone()) },
        })
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        // The sender lives in `shared`, which `self` holds.
        closed.wait_for(|closed| *closed).await.map(drop).unwrap_or_default();
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    async fn send<Q: Message>(
        &self,
        service: &str,
        method: &str,
        request: Option<&Q>,
        options: &CallOptions,
        waiting: Waiting,
    ) -> Result<Registered<'_>, Status> {
        let flags = match waiting {
            Waiting::Unary(_) => FLAG_CLOSED,
            Waiting::Stream(_) => FLAG_OPEN,
        };
        let message = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: request.map(Message::encode_to_vec).unwrap_or_default(),
            timeout_nano: options.timeout.map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX)),
            metadata: options
                .metadata
                .iter()
                .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
                .collect(),
        };
        // Ids must rise on the wire, so the turn to write comes first.
        let turn = self.shared.writer.lock().await;
        let guard = self.shared.register(waiting)?;
        let frame = encode(guard.id, MessageKind::Request, flags, Some(&message))?;
        turn.write(frame).await?;
        Ok(guard)
    }
}

impl Shared {
    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waiting: Waiting) -> Result<Registered<'_>, Status> {
        let mut calls = self.calls();
        if calls.ended.is_some() {
            drop(calls);
            return Err(self.ended());
        }
        let id = if calls.last_id == 0 { 1 } else { calls.last_id.wrapping_add(2) };
        if id < calls.last_id {
            return Err(Status::new(
                ErrorKind::ResourceExhausted,
                "ttrpc: stream ids of the connection are used up",
            ));
        }
        calls.last_id = id;
        calls.waiting.insert(id, waiting);
        Ok(Registered { shared: self, id })
    }

    fn ended(&self) -> Status {
        let why = self.calls().ended.clone().unwrap_or_else(|| "closed".to_owned());
        Status::new(ErrorKind::Unavailable, format!("ttrpc: {why}"))
    }
}

/// Takes a call out of the table when it is over or nobody waits for it any more.
#[derive(Debug)]
struct Registered<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.calls().waiting.remove(&self.id);
    }
}

async fn receive(mut reader: FrameReader, shared: Arc<Shared>) {
    let why = loop {
        match reader.next().await {
            Ok(Some(frame)) => dispatch(frame, &shared).await,
            Ok(None) => break "connection closed by the peer".to_owned(),
            Err(error) => break format!("read: {error}"),
        }
    };
    let waiting = {
        let mut calls = shared.calls();
        calls.ended = Some(why);
        std::mem::take(&mut calls.waiting)
    };
    for (_, entry) in waiting {
        if let Waiting::Stream(sender) = entry {
            // A full stream learns it when it has read what it holds: the sender is dropped here.
            sender.try_send(Err(shared.ended())).unwrap_or_default();
        }
    }
    shared.closed.send_replace(true);
}

async fn dispatch(frame: Frame, shared: &Shared) {
    let id = frame.stream;
    match frame.kind {
        MessageKind::Response => {
            let entry = shared.calls().waiting.remove(&id);
            let answer = frame.into_data().and_then(response);
            match entry {
                // A send fails when the caller has gone: nobody wants the answer.
                Some(Waiting::Unary(sender)) => sender.send(answer).unwrap_or_default(),
                Some(Waiting::Stream(sender)) => match answer {
                    Ok(payload) if payload.is_empty() => {}
                    item => sender.send(item).await.unwrap_or_default(),
                },
                None => {}
            }
        }
        MessageKind::Data => {
            let (closed, empty) = (frame.flags & FLAG_CLOSED != 0, frame.flags & FLAG_NO_DATA != 0);
            let sender = match shared.calls().waiting.get(&id) {
                Some(Waiting::Stream(sender)) => Some(sender.clone()),
                _ => None,
            };
            let delivered = match sender {
                Some(sender) if !empty => sender.send(frame.into_data()).await.is_ok(),
                other => other.is_some(),
            };
            if closed || !delivered {
                shared.calls().waiting.remove(&id);
            }
        }
        MessageKind::Request | MessageKind::Other(_) => {}
    }
}

fn response(bytes: Bytes) -> Result<Bytes, Status> {
    let response = Response::decode(bytes)
        .map_err(|error| Status::new(ErrorKind::DataLoss, format!("ttrpc: unmarshal response: {error}")))?;
    match response.status {
        Some(status) if status.code != crate::status::OK => Err(status.into()),
        _ => Ok(response.payload.into()),
    }
}
