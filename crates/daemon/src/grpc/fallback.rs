//! What is not served: gRPC's own "not implemented", with the name of the method.

use axum::{
    body::Body,
    http::{HeaderValue, Response, Uri, header},
};

/// Answers any path that no service has.
pub(super) async fn unimplemented(uri: Uri) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    let text = format!("unknown service or method {}: not implemented by this daemon", uri.path());
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert("grpc-message", value);
    }
    response
}
