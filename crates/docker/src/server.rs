//! The socket: connections in, answers out. What an answer says is the handlers' matter.

use crate::body::{self, Reply};
use crate::door::Docker;
use crate::query::{Query, decode};
use crate::request::Request;
use crate::{routes, version};
use http::header::{HeaderValue, SERVER};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// How long open answers may go on after the daemon was told to end; streams have no end of their own.
const GRACE: Duration = Duration::from_secs(2);

impl Docker {
    /// Serves connections until `shutdown`; then open answers get two seconds. The listener's path and mode are
    /// the caller's.
    ///
    /// # Errors
    /// When the listener breaks for good; running out of descriptors is waited out.
    pub async fn serve(self, listener: UnixListener, shutdown: CancellationToken) -> std::io::Result<()> {
        let result = loop {
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let door = self.clone();
                        self.tasks().spawn(door.connection(stream, shutdown.clone()));
                    }
                    Err(error) if is_passing(&error) => {
                        tracing::warn!(%error, "accept a connection of the Docker API");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        self.tasks().close();
        if tokio::time::timeout(GRACE, self.tasks().wait()).await.is_err() {
            tracing::debug!("answers of the Docker API were still open at the end");
        }
        result
    }

    async fn connection(self, stream: UnixStream, shutdown: CancellationToken) {
        let service = service_fn(move |request| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection.with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(GRACE, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            // Clients hang up in the middle of streams; that is how they end them.
            tracing::debug!(%error, "connection of the Docker API");
        }
    }

    /// Answers one request.
    async fn answer(&self, request: hyper::Request<Incoming>) -> Reply {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut reply = match self.route(request).await {
            Ok(reply) => reply,
            Err(error) => {
                let status = error.status().as_u16();
                if status >= 500 && status != 501 {
                    tracing::error!(%method, path, status, message = error.message(), "request failed");
                } else {
                    tracing::debug!(%method, path, status, message = error.message(), "request refused");
                }
                body::error(&error)
            }
        };
        let headers = reply.headers_mut();
        headers.insert("Api-Version", HeaderValue::from_static("1.51"));
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
        headers.insert("Ostype", HeaderValue::from_static("linux"));
        headers.insert(SERVER, self.server_header());
        reply
    }

    async fn route(&self, mut request: hyper::Request<Incoming>) -> body::Handled {
        let path = decode(request.uri().path(), false)?;
        let (version, rest) = version::split(&path)?;
        let Some(route) = routes::resolve(request.method(), rest) else {
            return Err(crate::error::ApiError::no_such_page());
        };
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let request = Request { version, query, headers: parts.headers, body, upgrade };
        if route == routes::Route::NotImplemented {
            return Err(crate::error::ApiError::not_implemented(format!("{} {rest}", parts.method)));
        }
        self.handle(route, request, parts.method == http::Method::HEAD).await
    }
}

/// Errors of accept(2) that belong to one connection or to a shortage that passes.
fn is_passing(error: &std::io::Error) -> bool {
    // ECONNABORTED, and EMFILE, ENFILE, ENOBUFS, ENOMEM by number: std has no kinds for them.
    error.kind() == std::io::ErrorKind::ConnectionAborted
        || matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
