//! Storing: blobs by mount or upload, and documents (distribution specification, "Push").

use crate::{
    Error, Repository, Result,
    exchange::{Peer, Question, empty, full},
    location::{Origin, encode, resolve_location, with_query},
    repository::Need,
    retry::Backoff,
    transport::{BoxError, RequestBody},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::{io, pin::Pin, sync::Arc};
use tare_types::{Descriptor, Digest, ErrorKind};

/// Bytes of a source from some offset on.
pub type SourceStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where the bytes of a blob to push come from. May be opened several times: a broken upload goes on.
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` on.
    fn open(&self, offset: u64) -> SourceStream;
}

/// How a blob came to be on the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// It was there.
    Existed,
    /// It was taken over from another repository of the registry.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Repository {
    fn push_peer(&self, what: &'static str, object: &str) -> Result<&Peer> {
        // Pushing goes to one place: what a mirror took would not be where people look.
        let found = self.peers_for(Need::Push).into_iter().last();
        found.ok_or_else(|| self.all_failed(what, object, Vec::new()))
    }

    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// As the registry answers, but for "not found".
    pub async fn blob_exists(&self, descriptor: &Descriptor) -> Result<bool> {
        let peer = self.push_peer("look for blob", descriptor.digest.as_str())?;
        self.exists(peer, &format!("blobs/{}", descriptor.digest), descriptor.digest.as_str()).await
    }

    async fn exists(&self, peer: &Peer, rest: &str, object: &str) -> Result<bool> {
        let (shown, scope) = (self.shown(object), self.scope(true));
        let mut question =
            self.question(peer, "look for blob", &shown, &scope, Method::HEAD, self.uri(peer, rest, ""));
        question.also = &[StatusCode::NOT_FOUND];
        question.headers.insert(header::ACCEPT, HeaderValue::from_static(crate::document::ACCEPT));
        let (_, answer) = peer.ask(&question).await?;
        Ok(answer.status().is_success())
    }

    /// Puts a blob on the registry: nothing if it is there, a mount from the repository `from` if that works,
    /// else an upload from `source`. `progress` hears the bytes sent so far.
    ///
    /// # Errors
    /// As the registry answers; DataLoss when it stored something else.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn BlobSource>,
        from: Option<&str>,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<PushOutcome> {
        let peer = self.push_peer("push blob", descriptor.digest.as_str())?;
        if self.blob_exists(descriptor).await? {
            return Ok(PushOutcome::Existed);
        }
        let started = self.start_upload(peer, descriptor, from).await?;
        let Some(mut location) = started else { return Ok(PushOutcome::Mounted) };
        let mut backoff = Backoff::new(&peer.transport.options.retries);
        let upload = Upload { repository: self, peer, descriptor, source: &source, progress: &progress };
        let mut offset = 0;
        loop {
            let error = match upload.send(&location, offset).await {
                Ok(()) => return Ok(PushOutcome::Uploaded),
                Err(error) => error,
            };
            let again = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded);
            let Some(pause) = again.then(|| backoff.next_pause()).flatten() else { return Err(error) };
            tracing::debug!(%error, ?pause, "upload again");
            tokio::time::sleep(pause).await;
            if let Some((next, reached)) = upload.reached(&location).await {
                (location, offset) = (next, reached);
                continue;
            }
            // The session is gone; what is left of it is the registry's own to clean up.
            match self.start_upload(peer, descriptor, None).await? {
                Some(next) => (location, offset) = (next, 0),
                None => return Ok(PushOutcome::Mounted),
            }
        }
    }

    /// Begins an upload; `None` when the registry took the blob over from `from`.
    async fn start_upload(
        &self,
        peer: &Peer,
        descriptor: &Descriptor,
        from: Option<&str>,
    ) -> Result<Option<Uri>> {
        let shown = self.shown(descriptor.digest.as_str());
        let mut scope = self.scope(true);
        let mut query = String::new();
        if let Some(from) = from {
            query = format!("mount={}&from={}", descriptor.digest, encode(from));
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        let uri = self.uri(peer, "blobs/uploads/", &query);
        let mut question = self.question(peer, "push blob", &shown, &scope, Method::POST, uri);
        question.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let (uri, answer) = peer.ask(&question).await?;
        if answer.status() == StatusCode::CREATED {
            return Ok(None);
        }
        self.location(&uri, &answer, &shown).map(Some)
    }

    fn location(&self, base: &Uri, answer: &Response<Incoming>, shown: &str) -> Result<Uri> {
        let text = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        text.and_then(|text| resolve_location(base, text)).ok_or_else(|| {
            let detail =
                format!("the registry answered {} without a usable upload location", answer.status());
            Error::new(ErrorKind::FailedPrecondition, "push blob", shown, detail)
        })
    }

    fn question<'a>(
        &self,
        _peer: &Peer,
        what: &'static str,
        object: &'a str,
        scope: &'a str,
        method: Method,
        uri: Uri,
    ) -> Question<'a> {
        Question {
            what,
            object,
            method,
            uri,
            headers: HeaderMap::new(),
            body: &empty,
            scope,
            also: &[],
            retry: true,
        }
    }

    /// Puts a manifest or index under its digest, and under `tag` if one is given.
    ///
    /// # Errors
    /// As the registry answers; DataLoss when it names another digest for the bytes.
    pub async fn push_document(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        tag: Option<&str>,
    ) -> Result<()> {
        let object = tag.unwrap_or(descriptor.digest.as_str());
        let peer = self.push_peer("push manifest", object)?;
        let (shown, scope) = (self.shown(object), self.scope(true));
        let uri = self.uri(peer, &format!("manifests/{object}"), "");
        let body = move || full(bytes.clone());
        let mut question = self.question(peer, "push manifest", &shown, &scope, Method::PUT, uri);
        question.body = &body;
        let media_type = HeaderValue::from_str(&descriptor.media_type).map_err(|_| {
            Error::new(
                ErrorKind::InvalidArgument,
                "push manifest",
                &shown,
                "the media type is no header value",
            )
        })?;
        question.headers.insert(header::CONTENT_TYPE, media_type);
        let (_, answer) = peer.ask(&question).await?;
        let stored = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match stored.and_then(|text| Digest::parse(text).ok()) {
            Some(stored) if stored != descriptor.digest => {
                let detail = format!("the registry stored {stored}, sent was {}", descriptor.digest);
                Err(Error::new(ErrorKind::DataLoss, "push manifest", shown, detail))
            }
            _ => Ok(()),
        }
    }
}

/// One blob on its way.
struct Upload<'a> {
    repository: &'a Repository,
    peer: &'a Peer,
    descriptor: &'a Descriptor,
    source: &'a Arc<dyn BlobSource>,
    progress: &'a Arc<dyn Fn(u64) + Send + Sync>,
}

impl Upload<'_> {
    fn shown(&self) -> String {
        self.repository.shown(self.descriptor.digest.as_str())
    }

    /// Who is asked: an upload may be sent to another host, and that host gets no credentials of ours.
    fn peer(&self, location: &Uri) -> Peer {
        let mine = Origin::of(location) == Origin::of(&self.peer.endpoint.uri("/", ""));
        if mine { self.peer.clone() } else { self.peer.stranger(location) }
    }

    /// Sends the bytes from `offset` on: all of them in the PUT that closes the session, the rest of a broken
    /// upload in a PATCH before it.
    async fn send(&self, location: &Uri, offset: u64) -> Result<()> {
        let location = match offset {
            0 => location.clone(),
            _ => self.send_rest(location, offset).await?,
        };
        let digest = format!("digest={}", encode(self.descriptor.digest.as_str()));
        let finish = with_query(&location, &digest).ok_or_else(|| {
            let detail = "the upload location takes no query";
            Error::new(ErrorKind::FailedPrecondition, "push blob", self.shown(), detail)
        })?;
        let length = if offset == 0 { self.descriptor.size } else { 0 };
        let range = (0, length);
        self.write(Method::PUT, finish, range, None).await.map(|_| ())
    }

    /// Sends what the registry does not have yet; the next location.
    async fn send_rest(&self, location: &Uri, offset: u64) -> Result<Uri> {
        let size = self.descriptor.size;
        let range = HeaderValue::from_str(&format!("{offset}-{}", size.saturating_sub(1)))
            .expect("invariant: digits");
        let (base, answer) =
            self.write(Method::PATCH, location.clone(), (offset, size - offset), Some(range)).await?;
        self.repository.location(&base, &answer, &self.shown())
    }

    /// One request with `length` bytes of the source from an offset on. It is not sent again by itself: where to go
    /// on is asked first.
    async fn write(
        &self,
        method: Method,
        uri: Uri,
        (offset, length): (u64, u64),
        range: Option<HeaderValue>,
    ) -> Result<(Uri, Response<Incoming>)> {
        let (shown, scope) = (self.shown(), self.repository.scope(true));
        let peer = self.peer(&uri);
        let (source, progress) = (self.source.clone(), self.progress.clone());
        let body = move || match length {
            0 => empty(),
            _ => source_body(source.as_ref(), offset, length, progress.clone()),
        };
        let mut question = self.repository.question(&peer, "push blob", &shown, &scope, method, uri);
        question.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        question.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        question.headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
        question.body = &body;
        question.retry = false;
        question.also = &[StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let (base, mut answer) = peer.ask(&question).await?;
        if answer.status().is_success() {
            return Ok((base, answer));
        }
        // The session is gone or elsewhere: as good as a break.
        let error = peer.refused(&question, &mut answer).await;
        Err(Error::new(ErrorKind::Unavailable, "push blob", shown, error.detail()))
    }

    /// How far a broken upload came, and where it goes on; `None` when it has to begin anew.
    async fn reached(&self, location: &Uri) -> Option<(Uri, u64)> {
        let (shown, scope) = (self.shown(), self.repository.scope(true));
        let peer = self.peer(location);
        let question =
            self.repository.question(&peer, "push blob", &shown, &scope, Method::GET, location.clone());
        // Any failure here only means that the upload begins anew.
        let (base, answer) = peer.ask(&question).await.ok()?;
        let range = answer.headers().get(header::RANGE)?.to_str().ok()?;
        let last: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
        let next = self.repository.location(&base, &answer, &shown).unwrap_or_else(|_| location.clone());
        // "0-0" is also what a registry says of an empty upload; one byte is not worth the difference.
        (last > 0 && last < self.descriptor.size).then_some((next, last + 1))
    }
}

/// Bytes of a source as a request's body; more than promised are an error before the registry sees them.
fn source_body(
    source: &dyn BlobSource,
    offset: u64,
    length: u64,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
) -> RequestBody {
    let mut sent = 0_u64;
    let frames = source.open(offset).map(move |item| {
        let data = item.map_err(|error| Box::new(error) as BoxError)?;
        sent += data.len() as u64;
        if sent > length {
            return Err(format!("the source has more than {} bytes", offset + length).into());
        }
        progress(offset + sent);
        Ok(Frame::data(data))
    });
    StreamBody::new(frames).boxed_unsync()
}
