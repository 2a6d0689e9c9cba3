//! Snapshots: named states of a file system, stacked.
//!
//! # State machine (containerd's)
//! `prepare` → Active ── `commit` ──► Committed; `view` → View. Active and View are removed by `remove`;
//! a Committed one too, when nothing stands on it. Only a Committed snapshot may be a parent.
//!
//! # Rows and directories
//! The row in the database is the truth. Directories are made before their row and removed after it, so a crash
//! leaves at most directories without a row; [`Snapshotter::cleanup`] removes those and runs at start-up.
//!
//! Not here: mounting. Mounts are data for whoever starts the container.

mod deferred;
mod directories;
mod native;
mod overlay;
mod records;
mod types;
mod usage;

use directories::Directories;
pub use directories::Removed;
pub(crate) use directories::make_private;
pub use native::Native;
pub use overlay::{Overlay, OverlayOptions};
pub use types::{ApplyTarget, CommitOptions, Kind, PrepareRequest, SnapshotInfo, Staged, Usage};
pub use usage::of_directory as usage_of;

use crate::{Filters, Labels, Metadata, Result, WriteTx};
use std::{
    fmt::Debug,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
};
use tare_types::{Mount, Namespace, SnapshotKey, Timestamp};

/// One way to keep snapshots. All methods are safe to call at once from many threads.
///
/// Keys are unique per (snapshotter, namespace). Errors: `NotFound`, `AlreadyExists`, `FailedPrecondition`
/// (wrong kind, has children), `InvalidArgument`.
pub trait Snapshotter: Send + Sync + Debug {
    /// `overlayfs`, `native`.
    fn name(&self) -> &str;

    /// Makes the directories of a new active or read-only snapshot. Nothing is visible until
    /// [`Staged::record`] has run in a transaction; dropping the value before that removes the directories.
    ///
    /// So the row of a container and that of its snapshot become durable in one commit.
    fn stage(&self, kind: Kind, request: &PrepareRequest<'_>) -> Result<Staged>;

    /// The mounts that give a snapshot as a file system. Of an active or read-only snapshot only.
    fn mounts(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<Vec<Mount>>;

    /// Turns the active snapshot `key` into the committed `name` inside a transaction.
    ///
    /// [`CommitOptions::parent`] puts a snapshot that was prepared without a parent on top of one: layers can be
    /// unpacked at the same time and committed in order. A snapshotter whose directories hold the parent's content
    /// ([`Snapshotter::can_rebase`] is false) refuses that.
    fn commit_in(
        &self,
        tx: &WriteTx,
        namespace: &Namespace,
        name: &SnapshotKey,
        key: &SnapshotKey,
        options: &CommitOptions,
    ) -> Result<()>;

    /// Removes the row inside a transaction. After the commit [`Removed::discard`] deletes the directories; when
    /// that never runs, the next [`Snapshotter::cleanup`] does.
    fn remove_in(&self, tx: &WriteTx, namespace: &Namespace, key: &SnapshotKey) -> Result<Removed> {
        let row = records::remove(tx, self.name(), namespace, key)?;
        Ok(self.directories().removed(row.id))
    }

    /// One snapshot.
    fn stat(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<SnapshotInfo> {
        Ok(records::get(&self.metadata().read()?, "stat", namespace, self.name(), key)?.info)
    }

    /// Changes labels: `paths` as in containerd, `labels` or `labels.<key>`; empty replaces all labels.
    fn update(
        &self,
        namespace: &Namespace,
        key: &SnapshotKey,
        labels: &Labels,
        paths: &[String],
        now: Timestamp,
    ) -> Result<SnapshotInfo> {
        records::update(self.metadata(), self.name(), namespace, key, labels, paths, now)
    }

    /// All snapshots of a namespace that pass the filters, by key.
    fn list(&self, namespace: &Namespace, filters: &Filters) -> Result<Vec<SnapshotInfo>> {
        records::list(self.metadata(), self.name(), namespace, filters)
    }

    /// What a snapshot itself takes on disk, without its parents. Of a committed one as counted at commit.
    fn usage(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<Usage> {
        let row = records::get(&self.metadata().read()?, "usage", namespace, self.name(), key)?;
        match row.info.kind {
            Kind::Committed => Ok(row.usage),
            Kind::Active | Kind::View => {
                usage::of_directory(self.directories().open_fs(row.id)?, key.as_str())
            }
        }
    }

    /// Removes directories that no row names: what a crash left, and what waits to be deleted.
    /// Returns how many. Runs at start-up and after garbage collection; never touches staged ones.
    fn cleanup(&self) -> Result<usize> {
        self.directories().cleanup(|| records::used_numbers(self.metadata(), self.name()))
    }

    /// Whether `commit` can set a parent ([`CommitOptions::parent`]).
    fn can_rebase(&self) -> bool;

    /// Where a layer is unpacked to: the directory of an active snapshot, and those of its parents.
    fn apply_target(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<ApplyTarget>;

    /// The directories of committed parents for a rebase, topmost first: to complete what a layer applied without
    /// its parent left open ([`crate::layer::Applied::settle`]).
    fn lower_dirs(&self, namespace: &Namespace, parent: &SnapshotKey) -> Result<Vec<OwnedFd>>;

    /// Makes the files of snapshots durable that were committed with [`CommitOptions::deferred`], and says so in their
    /// rows: one `syncfs`, one durable commit, and neither when there are none. Returns how many there were.
    ///
    /// After a failure they stay marked: nothing can stand on them until it succeeds.
    fn sync_deferred(&self) -> Result<usize> {
        deferred::sync(self.metadata(), self.name(), self.root())
    }

    /// The directory that holds everything.
    fn root(&self) -> BorrowedFd<'_> {
        self.directories().root()
    }

    /// The database that holds the rows.
    fn metadata(&self) -> &Metadata;

    #[doc(hidden)]
    fn directories(&self) -> &Arc<Directories>;

    /// Makes an active snapshot: a durable commit of its own.
    fn prepare(&self, request: &PrepareRequest<'_>) -> Result<Vec<Mount>> {
        self.make(Kind::Active, request)
    }

    /// Makes a read-only snapshot of a committed one.
    fn view(&self, request: &PrepareRequest<'_>) -> Result<Vec<Mount>> {
        self.make(Kind::View, request)
    }

    #[doc(hidden)]
    fn make(&self, kind: Kind, request: &PrepareRequest<'_>) -> Result<Vec<Mount>> {
        let staged = self.stage(kind, request)?;
        self.metadata().update(|tx| staged.record(tx))?;
        self.mounts(request.namespace, request.key)
    }

    /// Syncs, then commits in a durable transaction of its own; [`CommitOptions::deferred`] is not for this.
    fn commit(
        &self,
        namespace: &Namespace,
        name: &SnapshotKey,
        key: &SnapshotKey,
        options: &CommitOptions,
    ) -> Result<()> {
        let mut options = options.clone();
        if options.usage.is_none() {
            // Counted here, outside the transaction.
            options.usage = Some(self.usage(namespace, key)?);
        }
        options.deferred = false;
        // What it stands on must not be less durable than itself.
        if self.sync_deferred()? == 0 {
            crate::sync::sync_filesystems([self.root()])?;
        }
        self.metadata().update(|tx| self.commit_in(tx, namespace, name, key, &options))
    }

    /// Removes a snapshot and its directories: a durable commit, then the deletion outside of any lock.
    fn remove(&self, namespace: &Namespace, key: &SnapshotKey) -> Result<()> {
        let removed = self.metadata().update(|tx| self.remove_in(tx, namespace, key))?;
        removed.discard()
    }
}
