//! Layers: tar archives with deletions, applied to a directory and written from one.
//!
//! Reading is one pass in push style: compressed bytes → inflate → hash (DiffID) → tar parser → system calls.
//! Everything in an archive is hostile: names go below a root descriptor by `openat2`, sizes and counts have limits,
//! headers are parsed strictly.
//!
//! Not here: snapshots (who owns the directory) and content (where the bytes come from).

mod applier;
mod archive;
mod attributes;
mod diff;
mod extract;
mod inflate;
mod limits;
mod parents;
mod path;
mod pipeline;
mod settle;
mod uncompressed;

pub use applier::{Applied, ApplyOptions, LayerApplier, UnpackOptions, WhiteoutFormat, apply};
pub use archive::ArchiveWriter;
pub use diff::{Written, write_changes, write_upper};
pub use limits::Limits;
pub use pipeline::LayerPipeline;
pub use uncompressed::diff_id_of;
