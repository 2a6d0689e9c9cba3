//! The rows of the tables. Field names are part of the format on disk (`docs/formats/metadata.md`).

use crate::{
    Labels,
    filters::{Fields, label},
    snapshot,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tare_types::{ContainerId, Descriptor, Digest, LeaseId, Namespace, SandboxId, SnapshotKey, Timestamp};

/// A namespace and its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRow {
    /// Its name.
    #[serde(skip, default = "Namespace::default_namespace")]
    pub name: Namespace,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// An image: a name for a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// Full reference, or any other unique text a client chose.
    #[serde(skip)]
    pub name: String,
    /// What it points to.
    pub target: Descriptor,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// When the name came.
    pub created_at: Timestamp,
    /// When the row changed last.
    pub updated_at: Timestamp,
}

/// A container. The engine's record is opaque here; what garbage collection needs stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRow {
    /// Its id.
    pub id: ContainerId,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Snapshotter that holds its root file system; empty for none.
    #[serde(default)]
    pub snapshotter: String,
    /// Key of its snapshot; `None` for none.
    #[serde(default)]
    pub snapshot_key: Option<SnapshotKey>,
    /// Name of its image; empty for none.
    #[serde(default)]
    pub image: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the row changed last.
    pub updated_at: Timestamp,
    /// The engine's serialized record.
    #[serde(skip)]
    pub record: Vec<u8>,
}

/// A sandbox (pod).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRow {
    /// Its id.
    pub id: SandboxId,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the row changed last.
    pub updated_at: Timestamp,
    /// The engine's serialized record.
    #[serde(skip)]
    pub record: Vec<u8>,
}

/// A blob as one namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentInfo {
    /// Its digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// When this namespace got it.
    pub created_at: Timestamp,
    /// When the row changed last.
    pub updated_at: Timestamp,
    /// Labels in this namespace.
    #[serde(default)]
    pub labels: Labels,
}

/// A snapshot as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// Name of its directory.
    pub id: u64,
    /// What clients see.
    #[serde(flatten)]
    pub info: snapshot::SnapshotInfo,
    /// Size at commit time; zero for others.
    #[serde(default)]
    pub usage: snapshot::Usage,
    /// Its files may be in the page cache only: the boot id (`/proc/sys/kernel/random/boot_id`) of the kernel that has
    /// them there. Under any other kernel they are taken for lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsynced: Option<String>,
}

/// A lease: a root of garbage collection with an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Its id.
    pub id: LeaseId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its labels; `containerd.io/gc.expire` ends it.
    #[serde(default)]
    pub labels: Labels,
}

/// One thing that a lease keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseResource {
    /// `content`, `ingests`, `images` or `snapshots/<snapshotter>`.
    pub kind: String,
    /// Digest, ingest reference, image name or snapshot key.
    pub id: String,
}

impl Fields for NamespaceRow {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(self.name.as_str())),
            ["labels", key @ ..] => label(&self.labels, key),
            _ => None,
        }
    }
}

impl Fields for ImageRow {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(&self.name)),
            ["target", "digest"] => Some(Cow::Borrowed(self.target.digest.as_str())),
            ["target", "mediatype"] => Some(Cow::Borrowed(&self.target.media_type)),
            ["labels", key @ ..] => label(&self.labels, key),
            ["annotations", key @ ..] => {
                self.target.annotations.get(&key.join(".")).map(|value| Cow::Borrowed(value.as_str()))
            }
            _ => None,
        }
    }
}

impl Fields for ContentInfo {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["digest"] => Some(Cow::Borrowed(self.digest.as_str())),
            ["size"] => Some(Cow::Owned(self.size.to_string())),
            ["labels", key @ ..] => label(&self.labels, key),
            _ => None,
        }
    }
}

impl Fields for LeaseRow {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(self.id.as_str())),
            ["labels", key @ ..] => label(&self.labels, key),
            _ => None,
        }
    }
}

impl Fields for ContainerRow {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(self.id.as_str())),
            ["image"] => Some(Cow::Borrowed(&self.image)),
            ["labels", key @ ..] => label(&self.labels, key),
            _ => None,
        }
    }
}
