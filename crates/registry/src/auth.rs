//! Proving who we are to one endpoint: Basic, and Bearer tokens from a token service
//! (distribution's token authentication specification and its OAuth 2 form).
//!
//! One `Authorizer` belongs to one endpoint and holds at most the one credential that was given for it.

use crate::{
    Error, Result,
    challenge::Challenge,
    credentials::{Credential, Secret},
    endpoint::TlsOptions,
    exchange::{empty, full, parse_error_body},
    location::{Origin, encode, with_query},
    transport::{ReadError, RequestBody, Transport, read_all},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};
use tare_types::ErrorKind;
use tokio::sync::Mutex;

/// The largest answer of a token service, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;
/// How long a token without `expires_in` is good (token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(5);
const CLIENT_ID: &str = "tare";

/// The credentials and tokens for one endpoint.
#[derive(Debug)]
pub(crate) struct Authorizer {
    origin: Origin,
    /// The endpoint's own TLS settings, for a token service on the same host.
    tls: TlsOptions,
    credential: Option<Credential>,
    // Held across the fetch of a token, so that layers in parallel ask for it once; the fetch has deadlines.
    state: Mutex<State>,
    refusals: StdMutex<HashMap<String, String>>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: HashMap<String, Token>,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What a token service gave.
#[derive(Debug)]
pub(crate) struct Granted {
    token: Secret,
    life: Duration,
    /// For `docker login`: replaces the password from now on.
    pub(crate) refresh: Option<Secret>,
}

impl Authorizer {
    pub(crate) fn new(origin: Origin, tls: TlsOptions, credential: Option<Credential>) -> Self {
        Self { origin, tls, credential, state: Mutex::default(), refusals: StdMutex::default() }
    }

    /// What to send without having been asked: what worked before.
    pub(crate) async fn current(&self, scope: &str, transport: &Transport) -> Result<Option<HeaderValue>> {
        if let Some(Credential::RegistryToken(token)) = &self.credential {
            return bearer(token).map(Some);
        }
        let mut state = self.state.lock().await;
        match state.challenge.clone() {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(),
            Some(challenge) => match state.tokens.get(scope).filter(|token| token.until > Instant::now()) {
                Some(token) => Ok(Some(token.header.clone())),
                // The service is known: a second round trip to be told so again is not needed.
                None => self.renew(&mut state, &challenge, scope, transport).await,
            },
        }
    }

    /// Answers the challenges of a 401; `None` when there is nothing (new) to answer with.
    pub(crate) async fn answer(
        &self,
        challenges: &[Challenge],
        sent: Option<&HeaderValue>,
        scope: &str,
        transport: &Transport,
    ) -> Result<Option<HeaderValue>> {
        if matches!(self.credential, Some(Credential::RegistryToken(_))) {
            return Ok(None);
        }
        let mut state = self.state.lock().await;
        // Another request may have fetched a token while this one was on its way.
        if let Some(token) = state.tokens.get(scope)
            && sent != Some(&token.header)
            && token.until > Instant::now()
        {
            return Ok(Some(token.header.clone()));
        }
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        if let Some(challenge) = bearer {
            state.tokens.remove(scope);
            let header = self.renew(&mut state, challenge, scope, transport).await?;
            return Ok(header.filter(|header| sent != Some(header)));
        }
        if challenges.contains(&Challenge::Basic) {
            let header = self.basic()?.filter(|header| sent != Some(header));
            if header.is_some() {
                state.challenge = Some(Challenge::Basic);
            }
            return Ok(header);
        }
        Ok(None)
    }

    /// Why the token service gave no token, for the message of the 401 that follows.
    pub(crate) fn refusal(&self, scope: &str) -> Option<String> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }

    fn basic(&self) -> Result<Option<HeaderValue>> {
        match &self.credential {
            Some(Credential::Basic { username, password }) => basic_header(username, password).map(Some),
            _ => Ok(None),
        }
    }

    async fn renew(
        &self,
        state: &mut State,
        challenge: &Challenge,
        scope: &str,
        transport: &Transport,
    ) -> Result<Option<HeaderValue>> {
        match self.fetch_token(challenge, scope, transport, false).await {
            Ok(granted) => {
                let header = bearer(&granted.token)?;
                let until = Instant::now() + granted.life.saturating_sub(MARGIN);
                state.challenge = Some(challenge.clone());
                state.tokens.insert(scope.to_string(), Token { header: header.clone(), until });
                Ok(Some(header))
            }
            Err(error)
                if error.kind() == ErrorKind::Unauthenticated
                    || error.kind() == ErrorKind::PermissionDenied =>
            {
                let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                refusals.insert(scope.to_string(), error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the token service named by the registry.
    pub(crate) async fn fetch_token(
        &self,
        challenge: &Challenge,
        scope: &str,
        transport: &Transport,
        offline: bool,
    ) -> Result<Granted> {
        let Challenge::Bearer { realm, service, .. } = challenge else {
            return Err(self.failed(ErrorKind::InvalidArgument, "", "the registry asks for no token"));
        };
        let uri: Uri = realm
            .parse()
            .map_err(|_| self.failed(ErrorKind::InvalidArgument, realm, "the realm is not a URL"))?;
        let target = Origin::of(&uri)
            .ok_or_else(|| self.failed(ErrorKind::InvalidArgument, realm, "the realm is not an http URL"))?;
        if self.origin.is_tls() && !target.is_tls() {
            let detail =
                "the registry has TLS and names a token service without; no credentials are sent there";
            return Err(self.failed(ErrorKind::FailedPrecondition, realm, detail));
        }
        let tls = if target == self.origin { self.tls.clone() } else { TlsOptions::default() };
        if let Some(Credential::IdentityToken(token)) = &self.credential {
            let mut form =
                format!("grant_type=refresh_token&client_id={CLIENT_ID}&service={}", encode(service));
            form.push_str(&format!("&refresh_token={}", encode(token.expose())));
            if !scope.is_empty() {
                form.push_str(&format!("&scope={}", encode(scope)));
            }
            return self.post(&uri, &tls, form, transport).await;
        }
        let mut query = format!("client_id={CLIENT_ID}");
        for (key, value) in [("service", service.as_str()), ("scope", scope)] {
            // Each scope is a parameter of its own.
            for part in value.split(' ').filter(|part| !part.is_empty()) {
                query.push_str(&format!("&{key}={}", encode(part)));
            }
        }
        if let Some(Credential::Basic { username, .. }) = &self.credential {
            query.push_str(&format!("&account={}", encode(username)));
        }
        if offline {
            query.push_str("&offline_token=true");
        }
        let uri = with_query(&uri, &query)
            .ok_or_else(|| self.failed(ErrorKind::InvalidArgument, realm, "bad realm"))?;
        let mut request = Request::new(empty());
        *request.uri_mut() = uri;
        if let Some(value) = self.basic()? {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.granted(request, &tls, transport).await
    }

    async fn post(
        &self,
        uri: &Uri,
        tls: &TlsOptions,
        form: String,
        transport: &Transport,
    ) -> Result<Granted> {
        let mut request = Request::new(full(form.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, form);
        self.granted(request, tls, transport).await
    }

    async fn granted(
        &self,
        mut request: Request<RequestBody>,
        tls: &TlsOptions,
        transport: &Transport,
    ) -> Result<Granted> {
        let service = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        if let Ok(agent) = HeaderValue::from_str(&transport.options.user_agent) {
            request.headers_mut().insert(header::USER_AGENT, agent);
        }
        // Redirects of a token service are not followed: the realm is what the credential is bound to.
        let mut answer = transport.send(tls, request, "fetch token from", &service).await?;
        let deadline = transport.options.deadlines.progress;
        let body = read_all(answer.body_mut(), TOKEN_LIMIT, deadline).await.map_err(|error| match error {
            ReadError::Broken(detail) => self.failed(ErrorKind::Unavailable, &service, &detail),
            ReadError::TooLarge => {
                self.failed(ErrorKind::ResourceExhausted, &service, "the answer is larger than 1 MiB")
            }
        })?;
        if !answer.status().is_success() {
            return Err(self.refused(&service, answer.status(), &body));
        }
        let parsed: TokenAnswer = serde_json::from_slice(&body).map_err(|e| {
            self.failed(ErrorKind::InvalidArgument, &service, &format!("the answer is not a token: {e}"))
        })?;
        let token = [parsed.token, parsed.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token
            .ok_or_else(|| self.failed(ErrorKind::InvalidArgument, &service, "the answer has no token"))?;
        let life =
            parsed.expires_in.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        Ok(Granted {
            token: Secret::new(token),
            life: life.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs(seconds.min(86_400))),
            refresh: parsed.refresh_token.filter(|token| !token.is_empty()).map(Secret::new),
        })
    }

    fn refused(&self, service: &str, status: StatusCode, body: &[u8]) -> Error {
        let kind = match status.as_u16() {
            // OAuth 2 answers 400 to a refresh token that is no longer good.
            400 | 401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::PermissionDenied,
            429 => ErrorKind::ResourceExhausted,
            _ => ErrorKind::Unavailable,
        };
        let (code, message) = parse_error_body(body);
        let words = message.or_else(|| code.clone()).map(|words| format!(": {words}")).unwrap_or_default();
        self.failed(kind, service, &format!("it answered {status}{words}")).with_status(status, code)
    }

    fn failed(&self, kind: ErrorKind, service: &str, detail: &str) -> Error {
        Error::new(kind, "fetch token from", service, detail)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<i64>,
}

fn secret_header(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            "build",
            "authorization header",
            "the token has characters no header may have",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &Secret) -> Result<HeaderValue> {
    secret_header(format!("Bearer {}", token.expose()))
}

fn basic_header(username: &str, password: &Secret) -> Result<HeaderValue> {
    secret_header(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}
