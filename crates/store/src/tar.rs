//! tar archives: a strict push parser and a writer. ustar, PAX (POSIX.1-2001), GNU long names, GNU and PAX sparse.
//!
//! Where old formats leave room, the reading is that of Go's archive/tar, which Docker and containerd use: two
//! programs that read one archive differently are a way to smuggle files (RUSTSEC-2025-0110, -0111).
//!
//! Pure: no I/O. Not here: what entries mean for a layer ([`crate::layer`]).

mod entry;
mod header;
mod parser;
mod pax;
mod sparse;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use entry::{Entry, EntryKind, Fault, Time};
pub(crate) use parser::{Parser, Visitor};
pub(crate) use writer::{Member, Writer};

/// Everything in an archive is a multiple of this.
pub(crate) const BLOCK: usize = 512;
