//! What an ingest is asked for and what it reports.

use crate::filters::Fields;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tare_types::{Digest, LeaseId, Timestamp};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
