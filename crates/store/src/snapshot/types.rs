//! Values that go in and out of a snapshotter.

use super::records;
use crate::{Labels, Result, WhiteoutFormat, WriteTx};
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, path::PathBuf};
use tare_types::{LeaseId, Namespace, SnapshotKey, Timestamp};

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Read-only, of a committed one.
    View,
    /// Writable.
    Active,
    /// Immutable; may be a parent.
    Committed,
}

impl Kind {
    /// `view`, `active`, `committed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Active => "active",
            Self::Committed => "committed",
        }
    }
}

/// A snapshot as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its key, or its name once it is committed.
    pub name: SnapshotKey,
    /// The committed snapshot below.
    #[serde(default)]
    pub parent: Option<SnapshotKey>,
    /// What it is.
    pub kind: Kind,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its row changed last.
    pub updated_at: Timestamp,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// Space on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Allocated bytes.
    pub bytes: u64,
    /// Files, directories and all else, hard links counted once.
    pub inodes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// What `prepare` and `view` are asked for.
#[derive(Debug, Clone)]
pub struct PrepareRequest<'a> {
    /// Whose snapshot.
    pub namespace: &'a Namespace,
    /// Its key.
    pub key: &'a SnapshotKey,
    /// The committed snapshot below; `None` for an empty root.
    pub parent: Option<&'a SnapshotKey>,
    /// Labels of the new snapshot.
    pub labels: Labels,
    /// A lease that keeps it.
    pub lease: Option<&'a LeaseId>,
    /// Now.
    pub now: Timestamp,
}

/// What `commit` is asked for.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// Labels of the committed snapshot; those of the active one do not pass over, as in containerd.
    pub labels: Labels,
    /// Stands on this one from now on; only where the active one has no parent.
    pub parent: Option<SnapshotKey>,
    /// Size, when the caller has counted it already.
    pub usage: Option<Usage>,
    /// A lease that keeps it.
    pub lease: Option<LeaseId>,
    /// Its files are not synced yet; [`super::Snapshotter::sync_deferred`] does it later. A power cut before that takes
    /// the snapshot away, whole. Only for what can be made again from stored content.
    pub deferred: bool,
    /// Now.
    pub now: Timestamp,
}

/// Where a layer goes.
#[derive(Debug)]
pub struct ApplyTarget {
    /// The directory that takes the layer's files.
    pub root: OwnedFd,
    /// Its path, for messages.
    pub path: PathBuf,
    /// How deletions are written there.
    pub whiteouts: WhiteoutFormat,
    /// Directories of the parents, topmost first; empty where `root` holds their content.
    pub lowers: Vec<OwnedFd>,
}

/// A new snapshot whose directories exist and whose row does not yet. See [`super::Snapshotter::stage`].
#[derive(Debug)]
pub struct Staged {
    pub(super) snapshotter: String,
    pub(super) id: u64,
    pub(super) namespace: Namespace,
    pub(super) info: SnapshotInfo,
    pub(super) lease: Option<LeaseId>,
    /// Removes the directories unless it is disarmed.
    pub(super) directory: super::directories::StagedDirectory,
}

impl Staged {
    /// Writes the row. When the transaction fails or is lost, dropping `self` removes the directories.
    ///
    /// # Errors
    /// `AlreadyExists` for the key, `NotFound` for the parent, `FailedPrecondition` for a parent that is not
    /// committed.
    pub fn record(&self, tx: &WriteTx) -> Result<()> {
        records::insert(tx, self)?;
        self.directory.keep();
        Ok(())
    }
}
