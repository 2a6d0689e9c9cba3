//! One question to one endpoint until there is an answer: headers, redirects, authentication, retries.

use crate::{
    Error, Result,
    auth::Authorizer,
    challenge::parse_challenges,
    endpoint::Endpoint,
    location::{Origin, resolve_location},
    retry::{Backoff, is_transient},
    transport::{RequestBody, Transport, is_connect_failure, read_all},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, LOCATION, USER_AGENT},
};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::Arc;
use tare_types::ErrorKind;

/// How many redirects are followed, as browsers and Go do.
const REDIRECTS: usize = 10;
/// How much of an error's body is read.
const ERROR_BODY_LIMIT: u64 = 64 << 10;

/// Makes the body anew for each attempt.
pub(crate) type BodyMaker<'a> = &'a (dyn Fn() -> RequestBody + Sync);

/// A question.
pub(crate) struct Question<'a> {
    /// For messages: `fetch blob`.
    pub(crate) what: &'static str,
    /// For messages: `localhost:5000/app@sha256:…`.
    pub(crate) object: &'a str,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyMaker<'a>,
    /// What a token must be good for; empty for none.
    pub(crate) scope: &'a str,
    /// Answers other than 2xx that are for the caller to judge.
    pub(crate) also: &'a [StatusCode],
    /// Whether it may be asked again after a failure.
    pub(crate) retry: bool,
}

/// An endpoint with the proof of who we are there.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) transport: Arc<Transport>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) authorizer: Arc<Authorizer>,
    /// A host that others named: nothing is proven to it, whatever it asks for.
    pub(crate) stranger: bool,
}

/// No body.
pub(crate) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body in memory.
pub(crate) fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

impl Peer {
    /// The same transport for a host that is none of ours: no credentials, no headers, no TLS settings.
    pub(crate) fn stranger(&self, uri: &Uri) -> Self {
        let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let mut endpoint = Endpoint::clone(&self.endpoint);
        endpoint.scheme = if uri.scheme_str() == Some("http") { "http" } else { "https" };
        endpoint.authority = host.to_ascii_lowercase();
        endpoint.headers.clear();
        endpoint.tls = crate::endpoint::TlsOptions::default();
        endpoint.origin = false;
        let origin = Origin::of(uri).expect("invariant: callers pass http URLs");
        let authorizer = Arc::new(Authorizer::new(origin, endpoint.tls.clone(), None));
        Self { transport: self.transport.clone(), endpoint: Arc::new(endpoint), authorizer, stranger: true }
    }

    /// Asks until there is an answer that counts. The final URL comes with it.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<(Uri, Response<Incoming>)> {
        let mut backoff = Backoff::new(&self.transport.options.retries);
        loop {
            let pause = match self.authorized(question).await {
                Ok((uri, mut answer)) => {
                    let status = answer.status();
                    if status.is_success() || question.also.contains(&status) {
                        return Ok((uri, answer));
                    }
                    let waited = if question.retry && is_transient(status) {
                        backoff.after_answer(answer.headers())
                    } else {
                        Ok(None)
                    };
                    match waited {
                        Ok(Some(pause)) => {
                            tracing::debug!(what = question.what, object = question.object, %status, ?pause, "again");
                            pause
                        }
                        Ok(None) => return Err(self.refused(question, &mut answer).await),
                        Err(asked) => {
                            let error = self.refused(question, &mut answer).await;
                            return Err(error.with_note(format!("it asks to wait {} s", asked.as_secs())));
                        }
                    }
                }
                Err(error) => {
                    let again = question.retry
                        && error.kind() == ErrorKind::Unavailable
                        && !is_connect_failure(&error);
                    match again.then(|| backoff.next_pause()).flatten() {
                        Some(pause) => {
                            tracing::debug!(%error, ?pause, "again");
                            pause
                        }
                        None => return Err(error),
                    }
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt with no proof of who we are: to see which one the endpoint wants.
    pub(crate) async fn ask_without_proof(
        &self,
        question: &Question<'_>,
    ) -> Result<(Uri, Response<Incoming>)> {
        self.redirected(question, None).await
    }

    /// One attempt, with a new token when the registry asks for one.
    async fn authorized(&self, question: &Question<'_>) -> Result<(Uri, Response<Incoming>)> {
        let mine = !self.stranger && Origin::of(&question.uri) == Origin::of(&self.endpoint.uri("/", ""));
        let mut authorization =
            if mine { self.authorizer.current(question.scope, &self.transport).await? } else { None };
        for round in 0..3 {
            let (uri, answer) = self.redirected(question, authorization.as_ref()).await?;
            // A challenge from anybody but the endpoint itself is not answered (CVE-2020-15157).
            let challenged = answer.status() == StatusCode::UNAUTHORIZED && mine;
            if !challenged || Origin::of(&uri) != Origin::of(&question.uri) || round == 2 {
                return Ok((uri, answer));
            }
            let challenges = parse_challenges(answer.headers());
            let answered = self
                .authorizer
                .answer(&challenges, authorization.as_ref(), question.scope, &self.transport)
                .await?;
            match answered {
                Some(value) => authorization = Some(value),
                None => return Ok((uri, answer)),
            }
        }
        unreachable!("invariant: the last round returns")
    }

    /// Follows redirects; what is secret stays with the origin it is for.
    async fn redirected(
        &self,
        question: &Question<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Uri, Response<Incoming>)> {
        let first = Origin::of(&question.uri);
        let mut uri = question.uri.clone();
        for _ in 0..=REDIRECTS {
            let same = Origin::of(&uri) == first;
            let request = self.request(question, &uri, authorization.filter(|_| same), same);
            let tls = if same { self.endpoint.tls.clone() } else { crate::endpoint::TlsOptions::default() };
            let answer = self.transport.send(&tls, request, question.what, question.object).await?;
            let follow = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                && matches!(question.method, Method::GET | Method::HEAD);
            if !follow {
                return Ok((uri, answer));
            }
            let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = target.and_then(|target| resolve_location(&uri, target));
            let next = next.ok_or_else(|| {
                self.failed(question, format!("{} without a usable location", answer.status()))
            })?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                let detail =
                    format!("refused the redirect from TLS to plain HTTP on {}", next.host().unwrap_or("?"));
                return Err(self.failed(question, detail));
            }
            uri = next;
        }
        Err(self.failed(question, format!("more than {REDIRECTS} redirects")))
    }

    fn request(
        &self,
        question: &Question<'_>,
        uri: &Uri,
        authorization: Option<&HeaderValue>,
        same: bool,
    ) -> Request<RequestBody> {
        let mut request = Request::new((question.body)());
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.extend(question.headers.clone());
        if same {
            headers.extend(self.endpoint.headers.clone());
        }
        if let Ok(agent) = HeaderValue::from_str(&self.transport.options.user_agent) {
            headers.insert(USER_AGENT, agent);
        }
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        request
    }

    fn failed(&self, question: &Question<'_>, detail: String) -> Error {
        Error::new(ErrorKind::FailedPrecondition, question.what, question.object, detail)
    }

    /// The error for an answer that does not count.
    pub(crate) async fn refused(&self, question: &Question<'_>, answer: &mut Response<Incoming>) -> Error {
        let deadline = self.transport.options.deadlines.progress;
        // Broken or too large: the status alone is worth reporting.
        let bytes = read_all(answer.body_mut(), ERROR_BODY_LIMIT, deadline).await.unwrap_or_default();
        let status = answer.status();
        let (code, message) = parse_error_body(&bytes);
        let mut detail = format!("{} answered {status}", self.endpoint.host());
        if let Some(message) = message {
            detail.push_str(": ");
            detail.push_str(&message);
        }
        if let Some(code) = &code {
            detail.push_str(&format!(" ({code})"));
        }
        let error =
            Error::new(kind_of(status), question.what, question.object, detail).with_status(status, code);
        // The token service's own words explain a 401 better than the registry's.
        match self.authorizer.refusal(question.scope).filter(|_| status == StatusCode::UNAUTHORIZED) {
            Some(reason) => error.with_note(reason),
            None => error,
        }
    }
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::DeadlineExceeded,
        413 | 429 | 507 => ErrorKind::ResourceExhausted,
        416 => ErrorKind::OutOfRange,
        405 | 501 => ErrorKind::Unimplemented,
        400..=499 => ErrorKind::InvalidArgument,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unknown,
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    /// Docker Hub's token service answers in its own shape.
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Code and message of the first error, shortened: the text is the peer's.
pub(crate) fn parse_error_body(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let clean = |text: &str| -> Option<String> {
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        (!text.is_empty()).then_some(text)
    };
    let Ok(body) = serde_json::from_slice::<ErrorBody>(bytes) else { return (None, None) };
    match body.errors.first() {
        Some(first) => (clean(&first.code), clean(&first.message)),
        None => (None, body.details.as_deref().and_then(clean)),
    }
}
