//! The registry client: resolve, authenticate, fetch, push, mirrors (OCI distribution specification 1.1).
//!
//! [`Client`] holds what all transfers share (connections, TLS, deadlines); [`Repository`] is one
//! repository on its registry and mirrors with the credentials of one caller. Content goes into a sink
//! the caller owns: blobs come as a [`BlobStream`], documents (manifests, indexes) as checked bytes.
//!
//! Not here: storage, unpacking, the environment of the process, prompts. A blob's bytes are counted but
//! not hashed: whoever stores them hashes them in the same pass. Documents are hashed here.
//!
//! Credentials are bound to the registry they were given for: they are never sent to a mirror, to the
//! target of a redirect or to a layer's `urls` (CVE-2020-15157), nor to a token service without TLS
//! when the registry itself has TLS.

mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod document;
mod endpoint;
mod error;
mod exchange;
mod hosts;
mod location;
mod options;
mod platform;
mod push;
mod repository;
mod retry;
mod tags;
mod tls;
mod transport;

pub use blob::BlobStream;
pub use client::{Client, Login};
pub use credentials::{Credential, Credentials, Secret};
pub use document::{Document, check_document};
pub use endpoint::{Capabilities, Endpoint};
pub use error::Error;
pub use options::{ClientOptions, Deadlines, Retries};
pub use platform::platform_candidates;
pub use push::{BlobSource, PushOutcome, SourceStream};
pub use repository::{Repository, Resolved};

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
