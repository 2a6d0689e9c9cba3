//! Layers: tar archives with deletions, applied to a directory and written from one.
//!
//! Reading is one pass in push style: compressed bytes → inflate → hash (DiffID) → tar parser → system calls.
//! Everything in an archive is hostile: names go below a root descriptor by `openat2`, sizes and counts have limits,
//! headers are parsed strictly.
//!
//! Not here: snapshots (who owns the directory) and content (where the bytes come from).

mod applier;
mod limits;
mod pipeline;

pub use applier::{Applied, ApplyOptions, LayerApplier, WhiteoutFormat, apply};
pub use limits::Limits;
pub use pipeline::LayerPipeline;
