//! Bodies and the small answers.

use crate::error::ApiError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use std::convert::Infallible;

/// Body of an answer: whole, or a stream. A stream has no way to fail but to end.
pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer.
pub(crate) type Reply = Response<Body>;

/// What a handler gives.
pub(crate) type Handled = Result<Reply, ApiError>;

fn never<T>(never: Infallible) -> T {
    match never {}
}

/// An answer of a status alone.
pub(crate) fn status(status: StatusCode) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(never).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// 204.
pub(crate) fn no_content() -> Handled {
    Ok(status(StatusCode::NO_CONTENT))
}

/// Bytes under a content type.
pub(crate) fn bytes(code: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(bytes.into()).map_err(never).boxed_unsync());
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A document; Go ends it with a newline.
pub(crate) fn json(code: StatusCode, document: &impl Serialize) -> Handled {
    let mut text = serde_json::to_vec(document)
        .map_err(|error| ApiError::internal(format!("print the answer: {error}")))?;
    text.push(b'\n');
    Ok(bytes(code, "application/json", text))
}

/// A document with status 200.
pub(crate) fn ok(document: &impl Serialize) -> Handled {
    json(StatusCode::OK, document)
}

/// Chunks as they come. The head of the answer is sent at once, before the first of them.
pub(crate) fn stream(
    content_type: &'static str,
    chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Reply {
    let mut reply = Response::new(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An error as an answer.
pub(crate) fn error(error: &ApiError) -> Reply {
    if error.status() == StatusCode::NOT_MODIFIED {
        return status(StatusCode::NOT_MODIFIED);
    }
    if error.is_plain_text() {
        return bytes(error.status(), "text/plain; charset=utf-8", format!("{}\n", error.message()));
    }
    let document = serde_json::json!({ "message": error.message() }).to_string() + "\n";
    bytes(error.status(), "application/json", document)
}
