//! One repository: names to digests, digests to documents and blobs, through mirrors in order.

use crate::{
    BlobStream, Document, Endpoint, Error, Result,
    document::{ACCEPT, check_document, refuse_schema1},
    exchange::{Peer, Question, empty},
    location::encode,
    transport::{ReadError, read_all},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use std::sync::Arc;
use tare_types::{Descriptor, Digest, ErrorKind, Reference};

/// A repository on its registry and mirrors, with one caller's credentials. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    domain: String,
    path: String,
    peers: Vec<Peer>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Type, digest and size of the document.
    pub descriptor: Descriptor,
    /// The document itself, when the registry had to be asked for it anyway.
    pub body: Option<Bytes>,
}

/// What an endpoint is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Pull,
    Resolve,
    Push,
}

impl Repository {
    pub(crate) fn new(reference: &Reference, peers: Vec<Peer>) -> Self {
        let (domain, path) = (reference.domain().to_string(), reference.path().to_string());
        Self { inner: Arc::new(Inner { domain, path, peers }) }
    }

    /// The registry's name: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.inner.domain
    }

    /// The repository below the registry.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// The endpoints in the order they are tried.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.inner.peers.iter().map(|peer| peer.endpoint.as_ref())
    }

    pub(crate) fn peers_for(&self, need: Need) -> Vec<&Peer> {
        let able = |peer: &&Peer| {
            let capabilities = peer.endpoint.capabilities;
            match need {
                Need::Pull => capabilities.pull,
                Need::Resolve => capabilities.resolve,
                Need::Push => capabilities.push,
            }
        };
        self.inner.peers.iter().filter(able).collect()
    }

    /// The token scope for reading, or for reading and writing.
    pub(crate) fn scope(&self, push: bool) -> String {
        format!("repository:{}:{}", self.inner.path, if push { "pull,push" } else { "pull" })
    }

    /// The URL of `rest` below the repository; a mirror is told which registry is meant.
    pub(crate) fn uri(&self, peer: &Peer, rest: &str, query: &str) -> Uri {
        let mut query = query.to_string();
        if !peer.endpoint.origin {
            let mark = if query.is_empty() { "" } else { "&" };
            query.push_str(&format!("{mark}ns={}", encode(&self.inner.domain)));
        }
        peer.endpoint.uri(&format!("/{}/{rest}", self.inner.path), &query)
    }

    /// `localhost:5000/app@sha256:…` or `localhost:5000/app:tag` for messages.
    pub(crate) fn shown(&self, object: &str) -> String {
        let mark = if object.contains(':') { '@' } else { ':' };
        format!("{}/{}{mark}{object}", self.inner.domain, self.inner.path)
    }

    /// The error after all endpoints failed: that of the last (the registry itself), the others as notes.
    pub(crate) fn all_failed(
        &self,
        what: &'static str,
        object: &str,
        mut errors: Vec<(String, Error)>,
    ) -> Error {
        let Some((_, last)) = errors.pop() else {
            let detail = "no endpoint in hosts.toml has the capability";
            return Error::new(ErrorKind::FailedPrecondition, what, self.shown(object), detail);
        };
        errors
            .into_iter()
            .fold(last, |error, (host, other)| error.with_note(format!("mirror {host}: {}", other.detail())))
    }

    /// Turns a tag or digest into a descriptor: HEAD, then GET where HEAD does not tell.
    ///
    /// # Errors
    /// NotFound, Unauthenticated and the like as the registry answered; Unimplemented for schema 1;
    /// DataLoss when the digest that the registry names is not that of the bytes it sends.
    pub async fn resolve(&self, object: &str) -> Result<Resolved> {
        let mut errors = Vec::new();
        for peer in self.peers_for(Need::Resolve) {
            match self.resolve_at(peer, object).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => {
                    tracing::debug!(host = peer.endpoint.host(), %error, "resolve failed");
                    errors.push((peer.endpoint.host().to_string(), error));
                }
            }
        }
        Err(self.all_failed("resolve", object, errors))
    }

    async fn resolve_at(&self, peer: &Peer, object: &str) -> Result<Resolved> {
        let shown = self.shown(object);
        let scope = self.scope(false);
        let mut question = self.document_question(peer, "resolve", object, &shown, &scope);
        question.method = Method::HEAD;
        question.also = &[StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        let (_, answer) = peer.ask(&question).await?;
        if answer.status().is_success()
            && let Some(descriptor) = descriptor_of_head(answer.headers())
        {
            refuse_schema1(&descriptor.media_type)?;
            if object.contains(':') && descriptor.digest.as_str() != object {
                return Err(mismatch("resolve", &shown, object, descriptor.digest.as_str()));
            }
            return Ok(Resolved { descriptor, body: None });
        }
        let (descriptor, body) = self.get_document(peer, "resolve", object).await?;
        Ok(Resolved { descriptor, body: Some(body) })
    }

    /// Fetches a document by its descriptor: size, digest, media type and shape are checked.
    ///
    /// # Errors
    /// DataLoss for other bytes than the descriptor promises; ResourceExhausted beyond the size limit.
    pub async fn fetch_document(&self, descriptor: &Descriptor) -> Result<(Bytes, Document)> {
        let object = descriptor.digest.as_str();
        let mut errors = Vec::new();
        for peer in self.peers_for(Need::Pull) {
            let fetched = self.get_document(peer, "fetch manifest", object).await;
            let checked = fetched.and_then(|(found, body)| {
                if found.size != descriptor.size {
                    let detail = format!("it has {} bytes and {} were promised", found.size, descriptor.size);
                    return Err(Error::new(
                        ErrorKind::DataLoss,
                        "fetch manifest",
                        self.shown(object),
                        detail,
                    ));
                }
                // The type the descriptor promised decides, whatever the header says now.
                let document = check_document(&descriptor.media_type, &body)?;
                Ok((body, document))
            });
            match checked {
                Ok(done) => return Ok(done),
                Err(error) => errors.push((peer.endpoint.host().to_string(), error)),
            }
        }
        Err(self.all_failed("fetch manifest", object, errors))
    }

    fn document_question<'a>(
        &self,
        peer: &Peer,
        what: &'static str,
        object: &str,
        shown: &'a str,
        scope: &'a str,
    ) -> Question<'a> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let uri = self.uri(peer, &format!("manifests/{object}"), "");
        Question {
            what,
            object: shown,
            method: Method::GET,
            uri,
            headers,
            body: &empty,
            scope,
            also: &[],
            retry: true,
        }
    }

    async fn get_document(
        &self,
        peer: &Peer,
        what: &'static str,
        object: &str,
    ) -> Result<(Descriptor, Bytes)> {
        let shown = self.shown(object);
        let scope = self.scope(false);
        let question = self.document_question(peer, what, object, &shown, &scope);
        let options = &peer.transport.options;
        let mut attempts = options.retries.attempts.max(1);
        let (headers, body) = loop {
            let (_, mut answer) = peer.ask(&question).await?;
            match read_all(answer.body_mut(), options.document_limit, options.deadlines.progress).await {
                Ok(body) => break (answer.headers().clone(), Bytes::from(body)),
                Err(ReadError::TooLarge) => {
                    let detail =
                        format!("the document is larger than the limit of {} bytes", options.document_limit);
                    return Err(Error::new(ErrorKind::ResourceExhausted, what, shown, detail));
                }
                Err(ReadError::Broken(detail)) => {
                    attempts -= 1;
                    if attempts == 0 {
                        return Err(Error::new(ErrorKind::Unavailable, what, shown, detail));
                    }
                }
            }
        };
        let media_type = media_type_of(&headers).unwrap_or_default();
        refuse_schema1(&media_type)?;
        let digest = match Digest::parse(object) {
            Ok(wanted) => verify(what, &shown, &wanted, &body)?,
            Err(_) => Digest::of_bytes(&body),
        };
        if let Some(claimed) = digest_of(&headers) {
            verify(what, &shown, &claimed, &body)?;
        }
        Ok((Descriptor::new(media_type, digest, body.len() as u64), body))
    }

    /// A blob from byte `offset` on. It goes on after breaks by itself; the bytes are not hashed here.
    ///
    /// # Errors
    /// OutOfRange when `offset` is behind the end. Connecting happens with the first piece.
    pub fn fetch_blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream> {
        BlobStream::new(self.clone(), descriptor.clone(), offset)
    }
}

fn media_type_of(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase())
}

fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get("docker-content-digest")?.to_str().ok()?).ok()
}

/// All three facts or nothing: a HEAD without them is no answer.
fn descriptor_of_head(headers: &HeaderMap) -> Option<Descriptor> {
    let size = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok().filter(|size| *size > 0)?;
    Some(Descriptor::new(media_type_of(headers)?, digest_of(headers)?, size))
}

fn verify(what: &'static str, shown: &str, wanted: &Digest, body: &[u8]) -> Result<Digest> {
    let found = match wanted.algorithm() {
        "sha512" => {
            Digest::parse(&format!("sha512:{}", hex(&sha512(body)))).expect("invariant: 128 hex digits")
        }
        _ => Digest::of_bytes(body),
    };
    if found == *wanted { Ok(found) } else { Err(mismatch(what, shown, wanted.as_str(), found.as_str())) }
}

fn sha512(body: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha512::digest(body).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mismatch(what: &'static str, shown: &str, wanted: &str, found: &str) -> Error {
    let detail = format!("wrong digest: the bytes have {found}, expected {wanted}");
    Error::new(ErrorKind::DataLoss, what, shown, detail)
}
