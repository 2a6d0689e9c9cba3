//! The metadata database: one redb file with typed tables, multi-table transactions and group commit.
//!
//! # Contract
//! - [`Metadata::update`] returns after its changes survive a power cut. Concurrent callers share one fsync.
//! - A transaction may touch every table; it happens whole or not at all.
//! - [`Metadata::read`] sees one consistent state and never waits for an fsync of a writer. It may see changes
//!   whose writer has not been answered yet; whatever is written because of them becomes durable after them.
//! - After a failed commit (full disk) the file is opened again at its last durable state; callers whose changes
//!   were lost get the error.
//!
//! The format is in `docs/formats/metadata.md`. Not here: what rows mean to garbage collection ([`crate::gc`])
//! and to snapshotters ([`crate::snapshot`]).

mod backend;
mod database;
mod rows;
mod tables;
#[cfg(test)]
mod tests;
mod typed;

pub use backend::FileBackend;
pub use database::{Metadata, MetadataOptions};
pub use rows::{
    ContainerRow, ContentInfo, ImageRow, LeaseResource, LeaseRow, NamespaceRow, SandboxRow, SnapshotRow,
};
pub use tables::{ReadTx, WriteTx};
pub use typed::Tables;

pub(crate) use tables::Table;

/// The version of the schema that this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;
/// File name of the database below the root directory.
pub const FILE_NAME: &str = "metadata.redb";
