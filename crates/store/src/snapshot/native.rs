//! Snapshots as full copies: works on every file system, costs the whole size per snapshot.

use super::{
    ApplyTarget, CommitOptions, Kind, PrepareRequest, Snapshotter, Staged, deferred,
    directories::Directories, overlay::staged, records,
};
use crate::{Error, Metadata, Result, Tables, WhiteoutFormat, WriteTx, copy::copy_tree};
use std::{os::fd::OwnedFd, path::Path, sync::Arc};
use tare_types::{Mount, Namespace, SnapshotKey};

/// The snapshotter `native`: a new snapshot is a copy of its parent (by reflink where the file system can).
#[derive(Debug)]
pub struct Native {
    metadata: Arc<Metadata>,
    directories: Arc<Directories>,
}

const NAME: &str = "native";

impl Native {
    /// Opens or creates the snapshotter below `root` and removes what a crash left.
    pub fn open(root: &Path, metadata: Arc<Metadata>) -> Result<Self> {
        let native = Self { metadata, directories: Directories::open(root)? };
        native.directories.reserve(records::used_numbers(&native.metadata, NAME)?);
        deferred::forget_lost(&native.metadata, NAME, native.directories.boot())?;
        native.cleanup()?;
        Ok(native)
    }
}

impl Snapshotter for Native {
    fn name(&self) -> &str {
        NAME
    }

    fn stage(&self, kind: Kind, request: &PrepareRequest<'_>) -> Result<Staged> {
        let directory = self.directories.stage(false, super::overlay::placement(request.key))?;
        if let Some(parent) = request.parent {
            let row = self.metadata.read()?.snapshot(request.namespace, NAME, parent)?;
            let row =
                row.ok_or_else(|| Error::not_found("prepare", format_args!("parent snapshot {parent}")))?;
            if row.info.kind == Kind::Committed {
                if row.unsynced.is_some() {
                    self.sync_deferred()?;
                }
                let from = self.directories.open_fs(row.id)?;
                let to = self.directories.open_fs(directory.id())?;
                copy_tree(&from, &to)?;
            }
        }
        Ok(staged(NAME, kind, request, directory))
    }

    fn mounts(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<Vec<Mount>> {
        let row = records::get(&self.metadata.read()?, "mounts", namespace, NAME, key)?;
        let mode = match row.info.kind {
            Kind::Active => "rw",
            Kind::View => "ro",
            Kind::Committed => {
                let detail = "it is committed; prepare or view one on top of it";
                return Err(Error::precondition("mounts", format_args!("snapshot {key}"), detail));
            }
        };
        Ok(vec![Mount {
            kind: "bind".to_string(),
            source: self.directories.path(row.id).join("fs").to_string_lossy().into_owned(),
            target: String::new(),
            options: vec!["rbind".to_string(), mode.to_string()],
        }])
    }

    fn commit_in(
        &self,
        tx: &WriteTx,
        namespace: &Namespace,
        name: &SnapshotKey,
        key: &SnapshotKey,
        options: &CommitOptions,
    ) -> Result<()> {
        if options.parent.is_some() {
            let row = records::get(tx, "commit", namespace, NAME, key)?;
            if row.info.parent != options.parent {
                return Err(Error::unimplemented("put on another parent", format_args!("snapshot {key}")));
            }
        }
        records::commit(tx, NAME, namespace, name, key, options, self.directories.boot())
    }

    fn can_rebase(&self) -> bool {
        false
    }

    fn apply_target(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<ApplyTarget> {
        let row = records::get(&self.metadata.read()?, "apply", namespace, NAME, key)?;
        if row.info.kind != Kind::Active {
            return Err(Error::precondition("apply", format_args!("snapshot {key}"), "it is not active"));
        }
        Ok(ApplyTarget {
            root: self.directories.open_fs(row.id)?,
            path: self.directories.path(row.id).join("fs"),
            whiteouts: WhiteoutFormat::Remove,
            lowers: Vec::new(),
        })
    }

    fn lower_dirs(&self, _namespace: &Namespace, _parent: &SnapshotKey) -> Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn directories(&self) -> &Arc<Directories> {
        &self.directories
    }
}
