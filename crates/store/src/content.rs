//! Blobs by digest.
//!
//! # Layout
//! `<root>/blobs/sha256/<hex>` is a finished blob; `<root>/ingest/<hex of namespace and reference>/` holds one being
//! written (`data`, `info.json`). See `docs/formats/content.md`.
//!
//! # Contract
//! - The digest is computed while the bytes are written; a resumed ingest first hashes what is there.
//! - A blob exists for a namespace when its row exists, and a row exists only over bytes that are on disk: file,
//!   rename and directory are synced before the row is committed.
//! - Bytes are shared between namespaces, rows are not (containerd's policy "shared").
//! - A crash at any line leaves an ingest that can be resumed, or a blob without a row that garbage collection
//!   removes ([`ContentStore::cleanup`]).

mod blob;
mod files;
mod ingest;
mod ingest_info;
mod relabel;
mod store;

pub use blob::BlobReader;
pub use ingest::{Ingest, SealedBlob};
pub use ingest_info::{IngestOptions, IngestStatus};
pub use relabel::extend_labels;
pub use store::ContentStore;
