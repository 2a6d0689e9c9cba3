//! The state of a container as the specification's `state` operation and hooks see it.

use super::is_default;
use alloc::{collections::BTreeMap, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};

/// The specification's `state` document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion`.
    #[serde(rename = "ociVersion")]
    pub version: String,
    /// The container.
    pub id: String,
    /// Where it is in its life.
    pub status: ContainerStatus,
    /// First process as the host sees it; absent when there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: i32,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where a container is in its life. `Paused` is not in the specification; every runtime has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerStatus {
    /// Being made.
    Creating,
    /// Made; the user's program waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// The first process has ended.
    Stopped,
}

impl ContainerStatus {
    /// The word in documents and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for ContainerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
