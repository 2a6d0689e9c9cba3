//! The protocol side of the scripted registry.

use super::{Act, Content, Guard, Seen};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tare_types::Digest;
use tokio::net::TcpListener;

/// A body that can break or stall.
struct Scripted {
    data: Option<Bytes>,
    length: u64,
    end: End,
}

#[derive(PartialEq)]
enum End {
    Good,
    Stall,
    Reset,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match (self.data.take(), &self.end) {
            (Some(data), _) if !data.is_empty() => Poll::Ready(Some(Ok(Frame::data(data)))),
            (_, End::Good) => Poll::Ready(None),
            // Nobody wakes the task again: silence until the client goes.
            (_, End::Stall) => Poll::Pending,
            (_, End::Reset) => Poll::Ready(Some(Err(io::Error::other("scripted reset")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Good && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }
}

pub(super) async fn serve(listener: TcpListener, content: Arc<Mutex<Content>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let content = content.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(content.clone(), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A scripted reset ends a connection with an error: that is its purpose.
            let _ = connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// An answer before any fault.
struct Plain {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Plain {
    fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((HeaderName::from_static(name), value.to_string()));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn error(status: u16, code: &str) -> Self {
        let words = code.to_lowercase().replace('_', " ");
        Self::new(status).body(format!(r#"{{"errors":[{{"code":"{code}","message":"{words}"}}]}}"#))
    }
}

async fn answer(
    content: Arc<Mutex<Content>>,
    request: Request<Incoming>,
) -> Result<Response<Scripted>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen { method: parts.method.clone(), target, headers: parts.headers, body };
    let (plain, act) = {
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        content.seen.push(seen.clone());
        let act = next_act(&mut content, &seen);
        let range = !matches!(act, Some(Act::IgnoreRange));
        match act {
            Some(Act::TakeThenFail(bytes)) => (take_part(&mut content, &seen, bytes), None),
            act => (plain_answer(&mut content, &seen, range), act),
        }
    };
    if matches!(act, Some(Act::Silence)) {
        std::future::pending::<()>().await;
    }
    Ok(with_fault(plain, act, &seen))
}

fn next_act(content: &mut Content, seen: &Seen) -> Option<Act> {
    let rule = content
        .rules
        .iter_mut()
        .find(|rule| rule.times > 0 && rule.method == seen.method && seen.target.contains(&rule.part))?;
    rule.times -= 1;
    Some(rule.act.clone())
}

fn with_fault(mut plain: Plain, act: Option<Act>, seen: &Seen) -> Response<Scripted> {
    let mut length = plain.body.len() as u64;
    let mut end = End::Good;
    match act {
        Some(Act::Answer { status, headers, body }) => {
            plain = Plain::new(status).body(body);
            length = plain.body.len() as u64;
            plain.headers =
                headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect();
        }
        Some(Act::StallAfter(bytes)) => {
            plain.body.truncate(bytes);
            end = End::Stall;
        }
        Some(Act::ResetAfter(bytes)) => {
            plain.body.truncate(bytes);
            end = End::Reset;
        }
        Some(Act::Truncate(bytes)) => {
            plain.body.truncate(bytes);
            length = plain.body.len() as u64;
        }
        Some(Act::Corrupt) => {
            let mut bytes = plain.body.to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            plain.body = bytes.into();
        }
        Some(Act::Without(name)) => plain.headers.retain(|(header, _)| header.as_str() != name),
        Some(Act::IgnoreRange | Act::Silence | Act::TakeThenFail(_)) | None => {}
    }
    let head = seen.method == Method::HEAD;
    let data = (!head).then_some(plain.body);
    let mut response = Response::new(Scripted { data, length: if head { 0 } else { length }, end });
    *response.status_mut() = plain.status;
    for (name, value) in plain.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    if head {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn plain_answer(content: &mut Content, seen: &Seen, range: bool) -> Plain {
    let path = seen.target.split('?').next().unwrap_or_default().to_string();
    if path == "/token" {
        let (status, body) = content.token_answer.clone().unwrap_or((200, r#"{"token":"t"}"#.to_string()));
        return Plain::new(status).body(body);
    }
    if let Some(refusal) = refuse(content.guard.as_ref(), seen) {
        return refusal;
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return Plain::error(404, "NOT_FOUND") };
    if rest.is_empty() {
        return Plain::new(200).body("{}");
    }
    for (kind, serve) in [
        ("/manifests/", manifests as fn(&mut Content, &Seen, &str, &str, bool) -> Plain),
        ("/blobs/uploads/", uploads),
        ("/blobs/", blobs),
        ("/tags/", tags),
    ] {
        if let Some((repository, object)) = rest.split_once(kind) {
            return serve(content, seen, repository, object, range);
        }
    }
    Plain::error(404, "NOT_FOUND")
}

fn refuse(guard: Option<&Guard>, seen: &Seen) -> Option<Plain> {
    let sent = seen.header("authorization");
    let refusal = || Plain::error(401, "UNAUTHORIZED");
    match guard? {
        Guard::Open => None,
        Guard::Basic(name, password) => {
            let good = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            (sent != good).then(|| refusal().with("www-authenticate", "Basic realm=\"fake\""))
        }
        Guard::Bearer { realm, token } => (sent != format!("Bearer {token}")).then(|| {
            refusal().with("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"fake\""))
        }),
    }
}

fn manifests(content: &mut Content, seen: &Seen, repository: &str, object: &str, _: bool) -> Plain {
    if seen.method == Method::PUT {
        let digest = Digest::of_bytes(&seen.body);
        let media_type = seen.header("content-type").to_string();
        for name in [object.to_string(), digest.to_string()] {
            content.manifests.insert((repository.to_string(), name), (media_type.clone(), seen.body.clone()));
        }
        return Plain::new(201).with("docker-content-digest", digest);
    }
    match content.manifests.get(&(repository.to_string(), object.to_string())) {
        Some((media_type, bytes)) => Plain::new(200)
            .with("content-type", media_type)
            .with("docker-content-digest", Digest::of_bytes(bytes))
            .body(bytes.clone()),
        None => Plain::error(404, "MANIFEST_UNKNOWN"),
    }
}

/// Two at a time, whatever was asked for: who lists tags has to turn pages.
fn tags(content: &mut Content, seen: &Seen, repository: &str, _: &str, _: bool) -> Plain {
    let known = content.manifests.keys().filter(|(of, name)| of == repository && !name.contains(':'));
    let mut all: Vec<&str> = known.map(|(_, name)| name.as_str()).collect();
    all.sort_unstable();
    let last = seen.target.split(['?', '&']).find_map(|part| part.strip_prefix("last=")).unwrap_or_default();
    let left: Vec<&str> = all.into_iter().filter(|tag| *tag > last).collect();
    let page: Vec<String> = left.iter().take(2).map(|tag| format!("\"{tag}\"")).collect();
    let body = format!(r#"{{"name":"{repository}","tags":[{}]}}"#, page.join(","));
    let answer = Plain::new(200).body(body);
    match left.len() > 2 {
        true => answer.with("link", format!("</v2/{repository}/tags/list?last={}>; rel=\"next\"", left[1])),
        false => answer,
    }
}

fn blobs(content: &mut Content, seen: &Seen, _: &str, object: &str, range: bool) -> Plain {
    let Some(bytes) = content.blobs.get(object) else { return Plain::error(404, "BLOB_UNKNOWN") };
    let asked = seen.header("range").strip_prefix("bytes=").and_then(|text| text.strip_suffix('-'));
    match asked.and_then(|start| start.parse::<usize>().ok()).filter(|_| range) {
        Some(start) if start >= bytes.len() => Plain::error(416, "RANGE_INVALID"),
        Some(start) => Plain::new(206)
            .with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes.slice(start..)),
        None => Plain::new(200).body(bytes.clone()),
    }
}

fn take_part(content: &mut Content, seen: &Seen, bytes: usize) -> Plain {
    let id = seen.target.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    if let Some(upload) = content.uploads.get_mut(id) {
        upload.extend_from_slice(&seen.body[..bytes.min(seen.body.len())]);
    }
    Plain::error(503, "UNAVAILABLE")
}

fn uploads(content: &mut Content, seen: &Seen, repository: &str, object: &str, _: bool) -> Plain {
    let parameter = |name: &str| {
        let query = seen.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":")).next()
    };
    if seen.method == Method::POST {
        if let Some(digest) = parameter("mount").filter(|digest| content.blobs.contains_key(digest)) {
            return Plain::new(201).with("docker-content-digest", digest);
        }
        let id = format!("u{}", content.uploads.len());
        content.uploads.insert(id.clone(), Vec::new());
        return Plain::new(202).with("location", format!("/v2/{repository}/blobs/uploads/{id}?_state=x"));
    }
    let Some(upload) = content.uploads.get_mut(object) else {
        return Plain::error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    if seen.method == Method::GET {
        let last = upload.len().saturating_sub(1);
        let location = format!("/v2/{repository}/blobs/uploads/{object}?_state=y");
        return Plain::new(204).with("range", format!("0-{last}")).with("location", location);
    }
    upload.extend_from_slice(&seen.body);
    match parameter("digest") {
        Some(digest) if Digest::of_bytes(upload).as_str() == digest => {
            let bytes = std::mem::take(upload);
            content.uploads.remove(object);
            content.blobs.insert(digest.clone(), bytes.into());
            Plain::new(201).with("docker-content-digest", digest)
        }
        Some(_) => Plain::error(400, "DIGEST_INVALID"),
        None => Plain::new(202)
            .with("range", format!("0-{}", upload.len().saturating_sub(1)))
            .with("location", format!("/v2/{repository}/blobs/uploads/{object}?_state=z")),
    }
}
