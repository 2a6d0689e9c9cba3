//! A request as handlers see it.

use crate::error::ApiError;
use crate::query::{Query, quote};
use crate::version::ApiVersion;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// The largest document a client may send, in bytes. A container's configuration with a seccomp profile takes
/// some tens of thousands.
const MAX_DOCUMENT: usize = 4 << 20;

/// What came, without method and path: the route says them.
#[derive(Debug)]
pub(crate) struct Request {
    /// Version that the client speaks.
    pub(crate) version: ApiVersion,
    /// Parameters.
    pub(crate) query: Query,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body, not read yet.
    pub(crate) body: Incoming,
    /// The connection, once the answer says 101.
    pub(crate) upgrade: hyper::upgrade::OnUpgrade,
}

impl Request {
    /// Whether the client sent a body.
    pub(crate) fn has_body(&self) -> bool {
        self.headers.contains_key(TRANSFER_ENCODING)
            || self.header(CONTENT_LENGTH.as_str()).is_some_and(|length| length != "0")
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a document; the zero document without one.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        if !self.has_body() {
            return Ok(T::default());
        }
        self.required_json().await
    }

    /// The body as a document; `None` for `null` and for an empty one.
    pub(crate) async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        self.check_json()?;
        let bytes = self.bytes().await?;
        let text = bytes.trim_ascii();
        if text.is_empty() || text == b"null" {
            return Ok(None);
        }
        crate::wire::parse(text)
            .map(Some)
            .map_err(|error| ApiError::bad_parameter(format!("invalid JSON: {error}")))
    }

    /// The body as a document, which must be there.
    pub(crate) async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        self.check_json()?;
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::bad_parameter("invalid JSON: got EOF while reading request body"));
        }
        crate::wire::parse(&bytes).map_err(|error| {
            if error.to_string().contains("trailing characters") {
                ApiError::bad_parameter("unexpected content after JSON")
            } else {
                ApiError::bad_parameter(format!("invalid JSON: {error}"))
            }
        })
    }

    /// A body is announced as JSON, or there is none.
    pub(crate) fn check_json(&self) -> Result<(), ApiError> {
        let Some(given) = self.header(CONTENT_TYPE.as_str()).filter(|given| !given.is_empty()) else {
            if !self.has_body() {
                return Ok(());
            }
            return Err(ApiError::bad_parameter("malformed Content-Type header (): mime: no media type"));
        };
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(ApiError::bad_parameter(format!(
            "unsupported Content-Type header ({given}): must be 'application/json'"
        )))
    }

    async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        match Limited::new(&mut self.body, MAX_DOCUMENT).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(ApiError::bad_parameter(format!("read the request body: {error}"))),
        }
    }

    /// A platform as OCI JSON, as newer endpoints take it.
    pub(crate) fn json_platform(&self, name: &str) -> Result<Option<tare_types::Platform>, ApiError> {
        let Some(text) = self.query.non_empty(name) else { return Ok(None) };
        let platform: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| ApiError::bad_parameter(format!("failed to parse platform: {error}")))?;
        let part = |name: &str| platform.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (os, architecture, variant) = (part("os"), part("architecture"), part("variant"));
        if os.is_empty() || architecture.is_empty() {
            return Err(ApiError::bad_parameter("both OS and Architecture must be provided"));
        }
        let slash = if variant.is_empty() { "" } else { "/" };
        tare_types::Platform::parse(&format!("{os}/{architecture}{slash}{variant}"))
            .map(Some)
            .map_err(|error| ApiError::bad_parameter(format!("failed to parse platform: {error}")))
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.query
            .non_empty(name)
            .ok_or_else(|| ApiError::bad_parameter(format!("bad parameter: {} cannot be empty", quote(name))))
    }
}
