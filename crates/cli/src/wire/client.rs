//! HTTP/1.1 over a unix socket or TCP: JSON in and out, streams, upgrades. A connection whose answer was read whole
//! serves the next request.

use crate::failure::Failure;
use crate::wire::endpoint::Endpoint;
use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// What a request may carry.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// The newest version of the API that this client speaks.
pub(crate) const API_VERSION: &str = "1.47";
/// How long a connection to the daemon may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest JSON document that is read into memory.
const MAX_DOCUMENT: usize = 256 << 20;

/// A client of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
    version: String,
    /// What an older daemon speaks, once that is known.
    lowered: Arc<OnceLock<String>>,
    /// A connection whose last answer was read whole.
    idle: Arc<Mutex<Option<Connection>>>,
}

type Connection = hyper::client::conn::http1::SendRequest<Body>;

/// An upgraded connection, both ways.
pub(crate) type Hijacked = TokioIo<hyper::upgrade::Upgraded>;

impl Client {
    /// A client that speaks the version both sides know. `DOCKER_API_VERSION` has been read by the caller.
    pub(crate) fn new(endpoint: Endpoint, version: Option<String>) -> Self {
        let version = version.unwrap_or_else(|| API_VERSION.to_owned());
        Self { endpoint, version, lowered: Arc::default(), idle: Arc::default() }
    }

    /// Where the daemon is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks whether the daemon is there, and lowers the version to what an older one speaks.
    ///
    /// Not needed before a JSON request: an older daemon refuses the version before anything else, and is asked then.
    pub(crate) async fn negotiate(&self) -> Result<(), Failure> {
        let request = self.request(Method::GET, "/_ping")?.body(empty())?;
        let (response, connection) = self.send(request).await?;
        let offered = response.headers().get("api-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
        if let Some(offered) = offered
            && version_number(&offered) < version_number(&self.version)
        {
            // Two requests at once are told the same.
            let _known = self.lowered.set(offered);
        }
        read_limited(response.into_body()).await?;
        self.keep(connection);
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> Result<http::request::Builder, Failure> {
        let version = self.lowered.get().unwrap_or(&self.version);
        let uri = if path.starts_with("/_ping") { path.to_owned() } else { format!("/v{version}{path}") };
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "docker",
            Endpoint::Tcp(host) => host,
        };
        Ok(Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("tare/", env!("CARGO_PKG_VERSION"))))
    }

    /// Sends a request, on the idle connection where that still lives.
    async fn send(&self, mut request: Request<Body>) -> Result<(Response<Incoming>, Connection), Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut connection) = idle.filter(|connection| !connection.is_closed()) {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                // The daemon closed it meanwhile, before it saw anything of the request.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut connection = self.connect().await?;
        Ok((connection.send_request(request).await?, connection))
    }

    /// Makes the connection of the next request while something else is waited for.
    pub(crate) async fn connect_ahead(&self) {
        // A failure is that request's to find and to tell.
        if let Ok(connection) = self.connect().await {
            self.keep(connection);
        }
    }

    fn keep(&self, connection: Connection) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let connect = async {
            match &self.endpoint {
                Endpoint::Unix(path) => {
                    handshake(UnixStream::connect(path).await.map_err(|e| self.refused(&e))?).await
                }
                Endpoint::Tcp(host) => {
                    handshake(TcpStream::connect(host).await.map_err(|e| self.refused(&e))?).await
                }
            }
        };
        tokio::time::timeout(CONNECT_DEADLINE, connect)
            .await
            .map_err(|_| Failure::new(format!("connect to {}: no answer within 10 s", self.endpoint)))?
    }

    fn refused(&self, error: &std::io::Error) -> Failure {
        let failure =
            Failure::new(format!("Cannot connect to the Tare daemon at {}: {error}", self.endpoint));
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                failure.hint("run this as root, or as a member of the group that owns the socket")
            }
            _ => failure.hint("start it with `tared &`, or as root let `tare run --start-daemon …` do it"),
        }
    }

    /// Sends a request, and once more where the daemon is older than we are.
    async fn exchange(
        &self,
        make: impl Fn() -> Result<Request<Body>, Failure>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let (response, connection) = self.send(make()?).await?;
        if response.status() != StatusCode::BAD_REQUEST || self.lowered.get().is_some() {
            return Ok((check(response).await?, connection));
        }
        let refused = check(response).await.map(drop);
        match refused {
            Err(failure) if failure.message.contains("client version") => {
                self.negotiate().await?;
                let (response, connection) = self.send(make()?).await?;
                Ok((check(response).await?, connection))
            }
            other => Err(other.err().unwrap_or_else(|| Failure::new("bad request"))),
        }
    }

    /// Sends a request with an optional JSON body and returns the answer when its status is a success.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, String)],
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        self.exchange(|| {
            let mut request = self.request(method.clone(), path)?;
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            Ok(match body {
                Some(value) => request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(full(serde_json::to_vec(value)?))?,
                None => request.body(empty())?,
            })
        })
        .await
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (response, connection) = self.call(method, path, body, &[]).await?;
        let answer = json(response).await?;
        self.keep(connection);
        Ok(answer)
    }

    /// Sends a body of bytes as it is.
    pub(crate) async fn upload(&self, path: &str, content_type: &str, body: Body) -> Result<(), Failure> {
        let request =
            self.request(Method::PUT, path)?.header(header::CONTENT_TYPE, content_type).body(body)?;
        let (response, _connection) = self.send(request).await?;
        check(response).await.map(|_| ())
    }

    /// Sends a body of bytes as it is, with a streaming answer.
    pub(crate) async fn post_body(
        &self,
        path: &str,
        content_type: &str,
        body: Body,
    ) -> Result<Chunks, Failure> {
        let request =
            self.request(Method::POST, path)?.header(header::CONTENT_TYPE, content_type).body(body)?;
        let (response, _connection) = self.send(request).await?;
        Ok(Chunks { body: check(response).await?.into_body(), rest: BytesMut::new() })
    }

    /// GET with a JSON answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None).await
    }

    /// POST with a JSON answer; `null` for an empty one.
    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.json(Method::POST, path, body).await
    }

    /// DELETE with a JSON answer; `null` for an empty one.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::DELETE, path, None).await
    }

    /// HEAD: the answer's headers.
    pub(crate) async fn head(&self, path: &str) -> Result<http::HeaderMap, Failure> {
        let (response, _connection) = self.call(Method::HEAD, path, None, &[]).await?;
        Ok(response.into_parts().0.headers)
    }

    /// A streaming answer.
    pub(crate) async fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<Chunks, Failure> {
        let (response, _connection) = self.call(method, path, None, headers).await?;
        Ok(Chunks { body: response.into_body(), rest: BytesMut::new() })
    }

    /// Takes over the connection: attach and exec. The answer is `101` or, from old daemons, `200`.
    pub(crate) async fn hijack(&self, path: &str, body: Option<&Value>) -> Result<Hijacked, Failure> {
        let request = self
            .request(Method::POST, path)?
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(|| Ok(empty()), |body| serde_json::to_vec(body).map(full))?)?;
        let (response, _connection) = self.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = check(response).await?;
            return Err(Failure::new(format!(
                "the daemon answered {} where the connection should have been handed over",
                response.status()
            )));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the last use of the connection: when the answer was read or the upgrade is dropped.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// An answer's body, chunk by chunk or line by line.
#[derive(Debug)]
pub(crate) struct Chunks {
    body: Incoming,
    rest: BytesMut,
}

impl Chunks {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next JSON document of a stream of lines.
    pub(crate) async fn next_json(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            let mut documents = serde_json::Deserializer::from_slice(&self.rest).into_iter::<Value>();
            match documents.next() {
                Some(Ok(value)) => {
                    let used = documents.byte_offset();
                    let _consumed = self.rest.split_to(used);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() => return Err(error.into()),
                _ => {}
            }
            match self.next().await? {
                Some(bytes) if self.rest.len() + bytes.len() <= MAX_DOCUMENT => {
                    self.rest.extend_from_slice(&bytes);
                }
                Some(_) => return Err(Failure::new("the daemon sent a JSON document above 256 MiB")),
                None => return Ok(None),
            }
        }
    }
}

async fn check(response: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let status = response.status();
    if status.is_success() || status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let bytes = read_limited(response.into_body()).await?;
    let message = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| value.get("message").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&bytes).trim().to_owned());
    let message = if message.is_empty() { status.to_string() } else { message };
    Err(Failure::from_daemon(status.as_u16(), &message))
}

async fn json(response: Response<Incoming>) -> Result<Value, Failure> {
    let bytes = read_limited(response.into_body()).await?;
    if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
}

async fn read_limited(body: Incoming) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(body, MAX_DOCUMENT);
    let collected = limited.collect().await.map_err(|e| Failure::new(format!("read the answer: {e}")))?;
    Ok(collected.to_bytes())
}

/// A body of nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of bytes in memory.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Self::new(format!("make the request: {error}"))
    }
}

/// `1.47` → (1, 47)
fn version_number(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

/// A path with a query string; values are percent-encoded, `None` values left out.
pub(crate) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut text = path.to_owned();
    let mut separator = '?';
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(separator);
            text.push_str(name);
            text.push('=');
            text.push_str(&percent_encode(value));
            separator = '&';
        }
    }
    text
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `Some("1")` for true: how flags stand in query strings.
pub(crate) fn flag(on: bool) -> Option<String> {
    on.then(|| "1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_and_sparse() {
        let path = with_query("/a", &[("x", Some("1 &=".into())), ("y", None), ("z", flag(true))]);
        assert_eq!(path, "/a?x=1%20%26%3D&z=1");
        assert_eq!(with_query("/a", &[("y", None)]), "/a");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version_number("1.9") < version_number("1.41"));
    }
}
