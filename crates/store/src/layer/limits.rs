//! Bounds on what one layer may do to this machine.

use serde::{Deserialize, Serialize};

/// Limits for one archive. Going over one is `ResourceExhausted` and names the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Uncompressed bytes: archive bytes and the apparent size of sparse files.
    pub max_bytes: u64,
    /// Entries of the archive.
    pub max_entries: u64,
    /// Uncompressed bytes (sparse sizes included) per compressed byte, checked above `ratio_floor`.
    pub max_ratio: u64,
    /// Uncompressed bytes below which no ratio is checked.
    pub ratio_floor: u64,
}

impl Default for Limits {
    /// 64 GiB, 4 Mi entries, 2000 : 1 above 1 GiB. gzip cannot exceed 1032 : 1, so the ratio stops zstd bombs and
    /// sparse bombs; the bytes stop the rest.
    fn default() -> Self {
        Self { max_bytes: 64 << 30, max_entries: 4 << 20, max_ratio: 2000, ratio_floor: 1 << 30 }
    }
}
