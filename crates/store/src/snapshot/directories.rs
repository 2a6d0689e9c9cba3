//! The numbered directories of a snapshotter: `<root>/snapshots/<number>/{fs,work}`.
//!
//! A directory is made before its row and deleted after it. What has no row and is not staged by this process is
//! garbage; it is renamed to `<root>/trash/` first, so that a number is never seen half deleted.

use crate::{Error, Result, remove::remove_tree};
use rustix::fs::{AtFlags, Gid, IFlags, Mode, OFlags, Uid};
use std::{
    collections::HashSet,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a new snapshot's files go on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Near the other snapshots: for one that gets few files, such as a container's.
    Near,
    /// Away from them: for a layer that is unpacked.
    ///
    /// ext4 puts new files near their directory and searches past every inode there that was deleted within the
    /// last five minutes (`recently_deleted` in fs/ext4/ialloc.c): after the removal of an image, unpacking
    /// 50,000 files took 20 s instead of 1.5. Layers that are unpacked at once do not share a group's lock either.
    Spread,
}

/// The directories below one root.
#[derive(Debug)]
pub struct Directories {
    root: PathBuf,
    /// Of the running kernel.
    boot: String,
    snapshots: OwnedFd,
    trash: OwnedFd,
    next: AtomicU64,
    /// Numbers whose row may not be visible yet.
    staged: Mutex<HashSet<u64>>,
}

impl Directories {
    pub(super) fn open(root: &Path) -> Result<Arc<Self>> {
        make_private(root)?;
        let snapshots = root.join("snapshots");
        let trash = root.join("trash");
        make_private(&snapshots)?;
        make_private(&trash)?;
        let directories = Self {
            root: root.to_path_buf(),
            boot: super::deferred::boot_id()?,
            snapshots: open_path(&snapshots)?,
            trash: open_path(&trash)?,
            next: AtomicU64::new(0),
            staged: Mutex::new(HashSet::new()),
        };
        let last = directories.numbers()?.into_iter().max().unwrap_or(0);
        directories.next.store(last + 1, Ordering::Relaxed);
        Ok(Arc::new(directories))
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Numbers in use by rows: new ones are above all of them, whatever is on disk.
    pub(super) fn reserve(&self, used: impl IntoIterator<Item = u64>) {
        let last = used.into_iter().max().unwrap_or(0);
        self.next.fetch_max(last + 1, Ordering::Relaxed);
    }

    pub(super) fn path(&self, id: u64) -> PathBuf {
        self.root.join("snapshots").join(id.to_string())
    }

    /// `<number>/fs`, as a directory.
    pub(super) fn open_fs(&self, id: u64) -> Result<OwnedFd> {
        rustix::fs::openat(&self.snapshots, format!("{id}/fs"), DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("open snapshot directory", self.path(id).join("fs").display(), errno))
    }

    /// Makes `<number>/fs` (0755) and, for a writable overlay, `<number>/work` (0711).
    pub(super) fn stage(self: &Arc<Self>, work: bool, placement: Placement) -> Result<StagedDirectory> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock_staged().insert(id);
        let staged = StagedDirectory { owner: self.clone(), id, kept: AtomicBool::new(false) };
        self.make(id, work, placement)?;
        Ok(staged)
    }

    /// Makes the directories of a number, also after a power cut took them from an active snapshot.
    pub(super) fn make(&self, id: u64, work: bool, placement: Placement) -> Result<()> {
        let failed = |errno| Error::io("make snapshot directory", self.path(id).display(), errno);
        let made = |outcome: rustix::io::Result<()>| match outcome {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            other => other.map_err(failed),
        };
        made(rustix::fs::mkdirat(&self.snapshots, id.to_string(), Mode::from_raw_mode(0o700)))?;
        if placement == Placement::Spread {
            self.spread(id).map_err(failed)?;
        }
        made(rustix::fs::mkdirat(&self.snapshots, format!("{id}/fs"), Mode::from_raw_mode(0o755)))?;
        // The umask of the process is not known here.
        let fs = rustix::fs::openat(&self.snapshots, format!("{id}/fs"), DIRECTORY, Mode::empty())
            .map_err(failed)?;
        rustix::fs::fchmod(&fs, Mode::from_raw_mode(0o755)).map_err(failed)?;
        if work {
            made(rustix::fs::mkdirat(&self.snapshots, format!("{id}/work"), Mode::from_raw_mode(0o711)))?;
        }
        Ok(())
    }

    /// Asks the file system to place the directories in this one for themselves (chattr(1), `T`).
    fn spread(&self, id: u64) -> rustix::io::Result<()> {
        let directory = rustix::fs::openat(&self.snapshots, id.to_string(), DIRECTORY, Mode::empty())?;
        // A wish: file systems other than ext4 do not know it.
        if let Ok(flags) = rustix::fs::ioctl_getflags(&directory) {
            let _ = rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR);
        }
        Ok(())
    }

    /// Gives `fs` of one number the owner that another's has, where that is not root. A missing one is none of root's.
    pub(super) fn copy_owner(&self, from: u64, to: u64) -> Result<()> {
        let (from, to) = (format!("{from}/fs"), format!("{to}/fs"));
        let Ok(stat) = rustix::fs::statat(&self.snapshots, &from, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        if (stat.st_uid, stat.st_gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(&self.snapshots, &to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(
            |errno| Error::io("change owner of snapshot directory", self.root.join(to).display(), errno),
        )
    }

    pub(super) fn exists(&self, id: u64) -> bool {
        let path = format!("{id}/fs");
        rustix::fs::accessat(&self.snapshots, path, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    pub(super) fn removed(self: &Arc<Self>, id: u64) -> Removed {
        Removed { owner: self.clone(), id }
    }

    /// Deletes every number that is not in `used` and not staged. `used` is read after the listing, so that what
    /// became a row in between is safe.
    pub(super) fn cleanup(&self, used: impl FnOnce() -> Result<HashSet<u64>>) -> Result<usize> {
        let numbers = self.numbers()?;
        // Under one lock: a staged number leaves the set only after its row is visible.
        let staged = self.lock_staged().clone();
        let used = used()?;
        let mut count = 0;
        for id in numbers.into_iter().filter(|id| !used.contains(id) && !staged.contains(id)) {
            self.move_to_trash(id)?;
            count += 1;
        }
        for name in list(&self.trash, &self.root)? {
            remove_tree(self.trash.as_fd(), &name).map_err(|error| error.with_note(self.root.display()))?;
        }
        Ok(count)
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.snapshots.as_fd()
    }

    fn discard(&self, id: u64) -> Result<()> {
        match self.move_to_trash(id)? {
            true => remove_tree(self.trash.as_fd(), &id.to_string()),
            false => Ok(()),
        }
    }

    fn move_to_trash(&self, id: u64) -> Result<bool> {
        let name = id.to_string();
        match rustix::fs::renameat(&self.snapshots, &name, &self.trash, &name) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("move snapshot to trash", self.path(id).display(), errno)),
        }
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        let names = list(&self.snapshots, &self.root)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn lock_staged(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Directories of a new snapshot; removed again unless they are kept.
#[derive(Debug)]
pub(super) struct StagedDirectory {
    owner: Arc<Directories>,
    id: u64,
    kept: AtomicBool,
}

impl StagedDirectory {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The row was written into a transaction. Whether that commits is seen when `self` is dropped.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::SeqCst);
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::SeqCst) {
            // A failure leaves a directory without a row, which the next clean-up takes.
            drop(self.owner.discard(self.id));
        }
        self.owner.lock_staged().remove(&self.id);
    }
}

/// A removed snapshot whose directories still exist.
#[derive(Debug)]
pub struct Removed {
    owner: Arc<Directories>,
    id: u64,
}

impl Removed {
    /// Deletes the directories: a rename, then a deletion that follows no link. Only after the transaction has
    /// been committed. Not needed for correctness: [`super::Snapshotter::cleanup`] finds what is left.
    ///
    /// # Errors
    /// Those of the file system; what is left is taken by the next clean-up.
    pub fn discard(self) -> Result<()> {
        self.owner.discard(self.id)
    }
}

/// Makes a directory that only its owner can enter, with its parents.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |error| Error::io("make directory", path.display(), error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode != 0o700 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty())
        .map_err(|errno| Error::io("open directory", path.display(), errno))
}

fn list(directory: &OwnedFd, path: &Path) -> Result<Vec<String>> {
    let failed = |errno| Error::io("list directory", path.display(), errno);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}
