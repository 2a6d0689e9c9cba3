//! A registry that does what a script tells it: the real protocol over real sockets, with faults on demand.
//!
//! Faults that a real registry cannot be asked for: stalls, resets in the middle of a body, wrong bytes, ignored
//! ranges, redirects to strangers. For the good case use [`crate::docker_registry`].

mod serve;

use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tare_types::Digest;
use tokio::{net::TcpListener, task::JoinHandle};

/// What a matching request gets instead of the right answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// This answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Header lines.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// The right headers and the first bytes of the body, then silence.
    StallAfter(usize),
    /// Nothing at all: no header, no end.
    Silence,
    /// The right headers and the first bytes of the body, then the connection breaks.
    ResetAfter(usize),
    /// Only the first bytes, with a `Content-Length` that says so.
    Truncate(usize),
    /// One wrong byte.
    Corrupt,
    /// The whole body whatever range was asked for.
    IgnoreRange,
    /// Of an upload's body only the first bytes are kept, and the answer is 503.
    TakeThenFail(usize),
    /// The right answer without the header.
    Without(&'static str),
}

/// How the registry wants its clients to prove themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Everybody may.
    Open,
    /// Basic with this name and password.
    Basic(String, String),
    /// Bearer with a token of the service at this URL.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The token that is accepted.
        token: String,
    },
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

struct Rule {
    method: Method,
    part: String,
    times: usize,
    act: Act,
}

/// Everything the registry holds and was told.
#[derive(Default)]
pub(crate) struct Content {
    blobs: HashMap<String, Bytes>,
    /// (repository, tag or digest) → (media type, bytes)
    manifests: HashMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    guard: Option<Guard>,
    token_answer: Option<(u16, String)>,
}

/// A running registry; it ends with this value.
pub struct FakeRegistry {
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRegistry").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRegistry {
    /// Starts an empty registry on a free port of 127.0.0.1, in the current tokio runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let content = Arc::new(Mutex::new(Content::default()));
        let task = tokio::spawn(serve::serve(listener, content.clone()));
        Ok(Self { address, content, task })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `127.0.0.1:port`: the registry's name in references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Stores a blob.
    pub fn put_blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of_bytes(&bytes);
        self.content().blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Stores a document under a tag and its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of_bytes(&bytes);
        let mut content = self.content();
        for name in [tag.to_string(), digest.to_string()] {
            content.manifests.insert((repository.to_string(), name), (media_type.to_string(), bytes.clone()));
        }
        digest
    }

    /// Stores an image with all its blobs; the digest of its manifest.
    pub fn put_image(&self, repository: &str, tag: &str, image: &crate::image::TestImage) -> Digest {
        for blob in image.layers.iter().chain([&image.config]) {
            self.put_blob(blob.bytes.clone());
        }
        let manifest = &image.manifest;
        self.put_manifest(repository, tag, &manifest.descriptor.media_type, manifest.bytes.clone())
    }

    /// The next `times` requests with this method whose path contains `part` get `act`.
    pub fn script(&self, method: Method, part: &str, times: usize, act: Act) {
        self.content().rules.push(Rule { method, part: part.to_string(), times, act });
    }

    /// From now on clients must prove themselves.
    pub fn guard(&self, guard: Guard) {
        self.content().guard = Some(guard);
    }

    /// What `/token` answers from now on.
    pub fn token_answer(&self, status: u16, body: &str) {
        self.content().token_answer = Some((status, body.to_string()));
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.content().seen.clone()
    }

    /// The requests whose path contains `part`.
    pub fn seen_at(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.target.contains(part)).collect()
    }

    /// A stored blob.
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.content().blobs.get(digest.as_str()).cloned()
    }

    /// A stored document: media type and bytes.
    pub fn manifest(&self, repository: &str, object: &str) -> Option<(String, Bytes)> {
        self.content().manifests.get(&(repository.to_string(), object.to_string())).cloned()
    }
}
