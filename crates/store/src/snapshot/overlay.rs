//! Snapshots as overlayfs layers.

use super::{
    ApplyTarget, CommitOptions, Kind, PrepareRequest, SnapshotInfo, Snapshotter, Staged, deferred,
    directories::{Directories, Placement},
    records,
};
use crate::{Error, Metadata, Result, Tables, WhiteoutFormat, WriteTx};
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};
use tare_types::{Mount, Namespace, SnapshotKey};

/// How overlayfs is used.
#[derive(Debug, Clone, Default)]
pub struct OverlayOptions {
    /// `userxattr`: for mounts made in a user namespace.
    pub userxattr: bool,
    /// Options appended to every mount.
    pub mount_options: Vec<String>,
}

/// The snapshotter `overlayfs`.
///
/// A snapshot is `<root>/snapshots/<number>/fs`, with `work` beside it while it is active.
#[derive(Debug)]
pub struct Overlay {
    metadata: Arc<Metadata>,
    directories: Arc<Directories>,
    options: OverlayOptions,
}

/// Its name at every door.
pub(super) const NAME: &str = "overlayfs";

/// By the name that containerd's clients and the engine give to what they unpack into: `extract-<unique> <chain>`.
pub(super) fn placement(key: &SnapshotKey) -> Placement {
    match key.as_str().starts_with("extract-") {
        true => Placement::Spread,
        false => Placement::Near,
    }
}

impl Overlay {
    /// Opens or creates the snapshotter below `root` and removes what a crash left.
    pub fn open(root: &Path, metadata: Arc<Metadata>, options: OverlayOptions) -> Result<Self> {
        let directories = Directories::open(root)?;
        let overlay = Self { metadata, directories, options };
        overlay.directories.reserve(records::used_numbers(&overlay.metadata, NAME)?);
        deferred::forget_lost(&overlay.metadata, NAME, overlay.directories.boot())?;
        overlay.cleanup()?;
        Ok(overlay)
    }

    fn fs(&self, id: u64) -> PathBuf {
        self.directories.path(id).join("fs")
    }

    fn mounts_of(&self, kind: Kind, id: u64, parents: &[u64]) -> Vec<Mount> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let bind = |source: PathBuf, mode: &str| {
            vec![Mount {
                kind: "bind".to_string(),
                source: text(source),
                target: String::new(),
                options: vec![mode.to_string(), "rbind".to_string()],
            }]
        };
        match (kind, parents) {
            (Kind::Active, []) => return bind(self.fs(id), "rw"),
            (_, []) => return bind(self.fs(id), "ro"),
            (Kind::View, [parent]) => return bind(self.fs(*parent), "ro"),
            _ => {}
        }
        // With the index, a work directory is bound to one set of lower directories, and a lower directory that is
        // in use twice is refused.
        let mut options = vec!["index=off".to_string()];
        if self.options.userxattr {
            options.push("userxattr".to_string());
        }
        if kind == Kind::Active {
            options.push(format!("workdir={}", text(self.directories.path(id).join("work"))));
            options.push(format!("upperdir={}", text(self.fs(id))));
        }
        let lowers: Vec<String> = parents.iter().map(|parent| text(self.fs(*parent))).collect();
        options.push(format!("lowerdir={}", lowers.join(":")));
        options.extend(self.options.mount_options.iter().cloned());
        vec![Mount {
            kind: "overlay".to_string(),
            source: "overlay".to_string(),
            target: String::new(),
            options,
        }]
    }
}

impl Snapshotter for Overlay {
    fn name(&self) -> &str {
        NAME
    }

    fn stage(&self, kind: Kind, request: &PrepareRequest<'_>) -> Result<Staged> {
        let directory = self.directories.stage(kind == Kind::Active, placement(request.key))?;
        if let Some(parent) = request.parent {
            // The top directory of an overlay is that of its topmost layer: who owned it below must own it here. A
            // parent that is not there is told when the row is written.
            let row = self.metadata.read()?.snapshot(request.namespace, NAME, parent)?;
            if let Some(row) = row {
                if row.unsynced.is_some() {
                    self.sync_deferred()?;
                }
                self.directories.copy_owner(row.id, directory.id())?;
            }
        }
        Ok(staged(NAME, kind, request, directory))
    }

    fn mounts(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<Vec<Mount>> {
        let tx = self.metadata.read()?;
        let row = records::get(&tx, "mounts", namespace, NAME, key)?;
        if row.info.kind == Kind::Committed {
            let detail = "it is committed; prepare or view one on top of it";
            return Err(Error::precondition("mounts", format_args!("snapshot {key}"), detail));
        }
        if !self.directories.exists(row.id) {
            // A power cut may keep the row and lose the empty directories: they were not synced.
            self.directories.make(row.id, row.info.kind == Kind::Active, Placement::Near)?;
        }
        let parents = records::chain(&tx, "mounts", namespace, NAME, row.info.parent.as_ref())?;
        Ok(self.mounts_of(row.info.kind, row.id, &parents))
    }

    fn commit_in(
        &self,
        tx: &WriteTx,
        namespace: &Namespace,
        name: &SnapshotKey,
        key: &SnapshotKey,
        options: &CommitOptions,
    ) -> Result<()> {
        records::commit(tx, NAME, namespace, name, key, options, self.directories.boot())
    }

    fn can_rebase(&self) -> bool {
        true
    }

    fn apply_target(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<ApplyTarget> {
        let tx = self.metadata.read()?;
        let row = records::get(&tx, "apply", namespace, NAME, key)?;
        if row.info.kind != Kind::Active {
            let detail = "it is not active";
            return Err(Error::precondition("apply", format_args!("snapshot {key}"), detail));
        }
        let parents = records::chain(&tx, "apply", namespace, NAME, row.info.parent.as_ref())?;
        Ok(ApplyTarget {
            root: self.directories.open_fs(row.id)?,
            path: self.fs(row.id),
            whiteouts: WhiteoutFormat::Overlay { userxattr: self.options.userxattr },
            lowers: parents.into_iter().map(|id| self.directories.open_fs(id)).collect::<Result<_>>()?,
        })
    }

    fn lower_dirs(&self, namespace: &Namespace, parent: &SnapshotKey) -> Result<Vec<OwnedFd>> {
        let chain = records::chain(&self.metadata.read()?, "apply", namespace, NAME, Some(parent))?;
        chain.into_iter().map(|id| self.directories.open_fs(id)).collect()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn directories(&self) -> &Arc<Directories> {
        &self.directories
    }
}

pub(super) fn staged(
    snapshotter: &str,
    kind: Kind,
    request: &PrepareRequest<'_>,
    directory: super::directories::StagedDirectory,
) -> Staged {
    Staged {
        snapshotter: snapshotter.to_string(),
        id: directory.id(),
        namespace: request.namespace.clone(),
        info: SnapshotInfo {
            name: request.key.clone(),
            parent: request.parent.cloned(),
            kind,
            created_at: request.now,
            updated_at: request.now,
            labels: request.labels.clone(),
        },
        lease: request.lease.cloned(),
        directory,
    }
}
