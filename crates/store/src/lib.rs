//! Data at rest: content, snapshots, layers, metadata, leases, garbage collection.
//!
//! - [`Metadata`] is the one database file; [`WriteTx`] changes several tables in one durable commit.
//! - [`ContentStore`] keeps blobs by digest: resumable ingests, checked while written.
//! - [`Snapshotter`] names stacks of layers; [`Overlay`] and [`Native`] are built in.
//! - [`layer`] applies layer archives to directories and writes them from directories.
//! - [`gc`] marks and sweeps what no image, container, lease or label keeps.
//!
//! The crate is synchronous and knows no wire format. It mounts nothing: mounts are handed out as data.
//! It never reads a clock of its own for decisions of garbage collection: the caller hands the time in.

pub mod content;
mod copy;
mod error;
pub mod filters;
pub mod gc;
pub mod labels;
pub mod layer;
pub mod metadata;
mod remove;
pub mod snapshot;
mod sync;
mod tar;

/// Whole trees by descriptors.
pub mod tree {
    pub use crate::{
        copy::copy_tree,
        remove::{remove_tree, remove_tree_bytes},
        snapshot::usage_of,
    };
}

pub use content::{BlobReader, ContentStore, Ingest, IngestOptions, IngestStatus, SealedBlob};
pub use error::{Error, Result};
pub use filters::Filters;
pub use gc::Collector;
pub use labels::Labels;
pub use layer::{Applied, ApplyOptions, LayerApplier, LayerPipeline, Limits, WhiteoutFormat};
pub use metadata::{Metadata, MetadataOptions, ReadTx, Tables, WriteTx};
pub use snapshot::{Native, Overlay, Snapshotter};
