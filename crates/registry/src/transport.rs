//! Connections: one pool for each TLS setting, HTTP/2 where it is offered, a named deadline for each wait.
//!
//! Sends one request and gives the headers of one answer. Redirects, authentication and retries are `exchange`'s.

use crate::{
    Error, Result,
    endpoint::TlsOptions,
    error::chain,
    options::{ClientOptions, Deadlines},
    tls,
};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tare_types::ErrorKind;
use tower::Service;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;
/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;
type Connector = Deadline<HttpsConnector<Deadline<HttpConnector>>>;

/// How many idle connections to one host are kept, and for how long.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The pools.
pub(crate) struct Transport {
    pub(crate) options: ClientOptions,
    clients: Mutex<HashMap<TlsOptions, HttpClient<Connector, RequestBody>>>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self { options, clients: Mutex::new(HashMap::new()) }
    }

    /// Sends one request; `what` and `object` are for the error.
    pub(crate) async fn send(
        &self,
        tls: &TlsOptions,
        request: Request<RequestBody>,
        what: &'static str,
        object: &str,
    ) -> Result<Response<Incoming>> {
        let client = self.client(tls)?;
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let (parts, body) = request.into_parts();
        let activity = Activity::new();
        let body = Watched { inner: body, activity: activity.clone() }.boxed_unsync();
        let deadlines = &self.options.deadlines;
        let answer = client.request(Request::from_parts(parts, body));
        tokio::pin!(answer);
        loop {
            // While a body goes out the clock starts anew with each piece of it.
            let begun = activity.last();
            let limit = deadlines.connect + deadlines.tls + deadlines.response_header;
            tokio::select! {
                result = &mut answer => {
                    return result.map_err(|error| {
                        let kind = if is_deadline(&error) { ErrorKind::DeadlineExceeded } else { ErrorKind::Unavailable };
                        Error::new(kind, what, object, format!("{host}: {}", chain(&error))).with_source(error)
                    });
                }
                () = tokio::time::sleep_until((begun + limit).into()) => {
                    if activity.last() == begun {
                        let detail = format!("{host} sent no response header within {limit:?}");
                        return Err(Error::new(ErrorKind::DeadlineExceeded, what, object, detail));
                    }
                }
            }
        }
    }

    fn client(&self, tls: &TlsOptions) -> Result<HttpClient<Connector, RequestBody>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(tls) {
            return Ok(client.clone());
        }
        let client = build_client(tls, &self.options.deadlines)?;
        clients.insert(tls.clone(), client.clone());
        Ok(client)
    }
}

fn build_client(options: &TlsOptions, deadlines: &Deadlines) -> Result<HttpClient<Connector, RequestBody>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    let tcp = Deadline { inner: tcp, limit: deadlines.connect, wait: "name lookup and connect" };
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client_config(options)?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    let tls = Deadline { inner: tls, limit: deadlines.connect + deadlines.tls, wait: "TLS handshake" };
    Ok(HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(4 << 20)
        .build(tls))
}

/// Whether a wait with a name ran out somewhere below.
fn is_deadline(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TimedOut>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether no connection came to be: trying the same host again at once does not help.
pub(crate) fn is_connect_failure(error: &Error) -> bool {
    let source = StdError::source(error).and_then(|e| e.downcast_ref::<hyper_util::client::legacy::Error>());
    source.is_some_and(|error| error.is_connect())
}

/// A step of connecting that took too long.
#[derive(Debug)]
struct TimedOut(&'static str, Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took longer than {:?}", self.0, self.1)
    }
}

impl StdError for TimedOut {}

/// A connector with a deadline of its own.
#[derive(Clone)]
struct Deadline<S> {
    inner: S,
    limit: Duration,
    wait: &'static str,
}

impl<S> Service<Uri> for Deadline<S>
where
    S: Service<Uri>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connect = self.inner.call(uri);
        let (limit, wait) = (self.limit, self.wait);
        Box::pin(async move {
            match tokio::time::timeout(limit, connect).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(Box::new(TimedOut(wait, limit)) as BoxError),
            }
        })
    }
}

/// When a request's body last moved.
#[derive(Clone)]
struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A body that notes when it is asked for more.
struct Watched {
    inner: RequestBody,
    activity: Activity,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The next piece of an answer's body, within the progress deadline; `None` at its end.
pub(crate) async fn next_data(
    body: &mut Incoming,
    deadline: Duration,
) -> std::result::Result<Option<Bytes>, String> {
    loop {
        match tokio::time::timeout(deadline, body.frame()).await {
            Err(_) => return Err(format!("no progress within {deadline:?}")),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(chain(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole small body.
pub(crate) async fn read_all(
    body: &mut Incoming,
    limit: u64,
    deadline: Duration,
) -> std::result::Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    while let Some(data) = next_data(body, deadline).await.map_err(ReadError::Broken)? {
        if bytes.len() as u64 + data.len() as u64 > limit {
            return Err(ReadError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Why a body could not be read.
pub(crate) enum ReadError {
    /// The connection broke or stalled.
    Broken(String),
    /// It is larger than the limit.
    TooLarge,
}
