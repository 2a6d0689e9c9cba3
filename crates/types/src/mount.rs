//! The one value that storage hands to execution.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// A mount to make, as containerd's `types.Mount`: `mount -t kind -o options source target`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File system type: `overlay`, `bind`, `tmpfs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Device, directory or a name.
    pub source: String,
    /// Path below the rootfs; empty for the rootfs itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Options in mount(8) form, each `key` or `key=value`.
    #[serde(default)]
    pub options: Vec<String>,
}
