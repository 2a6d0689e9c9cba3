//! What an ingest is asked for, what it reports, and what is kept beside its bytes.

use crate::filters::Fields;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tare_types::{Digest, LeaseId, Namespace, Timestamp};

/// How an ingest is opened.
#[derive(Debug, Clone)]
pub struct IngestOptions<'a> {
    /// The client's name for the work; one writer at a time per (namespace, reference).
    pub reference: &'a str,
    /// Digest that is expected, when it is known. Content that is there already is answered by `AlreadyExists`.
    pub expected: Option<&'a Digest>,
    /// Size that is expected in bytes; 0 for unknown.
    pub total: u64,
    /// A lease that keeps the ingest and, later, the content. Without one an ingest expires a day after its last
    /// opening.
    pub lease: Option<&'a LeaseId>,
    /// Now.
    pub now: Timestamp,
}

/// How far an ingest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestStatus {
    /// The client's name for the work.
    pub reference: String,
    /// Bytes written.
    pub offset: u64,
    /// Bytes expected; 0 for unknown.
    pub total: u64,
    /// Digest expected.
    pub expected: Option<Digest>,
    /// When it began.
    pub started_at: Timestamp,
    /// When bytes came last.
    pub updated_at: Timestamp,
}

impl Fields for IngestStatus {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["ref"] => Some(Cow::Borrowed(&self.reference)),
            _ => None,
        }
    }
}

/// The file `info.json` of an ingest (`docs/formats/content.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IngestInfo {
    pub(super) namespace: Namespace,
    pub(super) reference: String,
    #[serde(default)]
    pub(super) total: u64,
    #[serde(default)]
    pub(super) expected: Option<Digest>,
    pub(super) started_at: Timestamp,
    /// Garbage collection may take it after this time when no lease keeps it.
    pub(super) expires_at: Timestamp,
}

impl IngestInfo {
    /// How long an ingest without a lease is kept, in seconds (containerd's 24 hours).
    pub(super) const LIFETIME: i64 = 24 * 3600;

    pub(super) fn new(namespace: &Namespace, options: &IngestOptions<'_>) -> Self {
        let expires = options.now.seconds.saturating_add(Self::LIFETIME);
        Self {
            namespace: namespace.clone(),
            reference: options.reference.to_string(),
            total: options.total,
            expected: options.expected.cloned(),
            started_at: options.now,
            expires_at: Timestamp::new(expires, 0),
        }
    }

    /// Name of the directory: SHA-256 of namespace, NUL and reference, since a reference may hold anything.
    pub(super) fn directory(namespace: &Namespace, reference: &str) -> String {
        Digest::of_bytes(format!("{namespace}\0{reference}").as_bytes()).hex().to_string()
    }

    pub(super) fn status(&self, offset: u64, updated_at: Timestamp) -> IngestStatus {
        IngestStatus {
            reference: self.reference.clone(),
            offset,
            total: self.total,
            expected: self.expected.clone(),
            started_at: self.started_at,
            updated_at,
        }
    }
}
