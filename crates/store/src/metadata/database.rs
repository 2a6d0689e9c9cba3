//! Opening, group commit, and opening again after a failed write.

use super::{FILE_NAME, FileBackend, ReadTx, SCHEMA_VERSION, WriteTx, tables};
use crate::{Error, Result};
use redb::{Database, Durability, ReadableDatabase};
use rustix::fs::FlockOperation;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tare_types::ErrorKind;

/// Writers whose changes wait for one fsync, at most.
const GROUP_LIMIT: usize = 64;
/// How often a waiting writer checks whether anybody is left to flush for it.
const FLUSH_CHECK: Duration = Duration::from_millis(100);

/// How the database is opened.
#[derive(Debug, Clone, Copy)]
pub struct MetadataOptions {
    /// Memory for cached pages, in bytes. redb's own default is 1 GiB.
    pub cache_bytes: usize,
}

impl Default for MetadataOptions {
    /// 2 MiB: an idle daemon stays small, and the kernel caches the file anyway.
    fn default() -> Self {
        Self { cache_bytes: 2 << 20 }
    }
}

/// The metadata database. Share it by `Arc`.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    file: Arc<File>,
    options: MetadataOptions,
    /// The instance in use; replaced after a failed write.
    current: RwLock<Option<Instance>>,
    /// Writers that want `group` and do not have it yet.
    waiting: AtomicUsize,
    group: Mutex<Group>,
    flushed: Condvar,
    commits: AtomicU64,
    generation: AtomicU64,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Instance {
    database: Arc<Database>,
    backend: FileBackend,
    /// Set by a reader that met a failure of the file.
    broken: Arc<AtomicBool>,
}

/// State of group commit. Only writers take its lock, readers never.
#[derive(Debug, Default)]
struct Group {
    /// Counts transactions, over all instances.
    last: u64,
    /// Every transaction of this instance up to this one is durable.
    durable: u64,
    /// Counts instances.
    epoch: u64,
    /// How the instances before ended: the last durable transaction, and why.
    ended: BTreeMap<u64, (u64, String)>,
}

/// Ends that are remembered: a writer asks for its own within moments.
const ENDS: usize = 64;

impl Metadata {
    /// Opens or creates `<root>/metadata.redb`, mode 0600.
    ///
    /// # Errors
    /// `Unavailable` when another process has it open, `DataLoss` when it is damaged, `FailedPrecondition` when a
    /// newer version wrote it. Each names the file.
    pub fn open(root: &Path, options: MetadataOptions) -> Result<Self> {
        let path = root.join(FILE_NAME);
        let file = open_file(&path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => Error::new(
                ErrorKind::Unavailable,
                "open metadata database",
                path.display(),
                "another process uses it",
            ),
            errno => Error::io("lock metadata database", path.display(), errno),
        })?;
        let metadata = Self {
            path,
            file: Arc::new(file),
            options,
            current: RwLock::new(None),
            waiting: AtomicUsize::new(0),
            group: Mutex::new(Group::default()),
            flushed: Condvar::new(),
            commits: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            syncs: Arc::new(AtomicU64::new(0)),
        };
        metadata.reopen()?;
        Ok(metadata)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Durable commits since the database was opened.
    pub fn durable_commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// fdatasync calls on the file since it was opened.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Counts transactions that changed something. Equal numbers around a [`Metadata::read`] and at the start of an
    /// `update` mean that nothing came in between.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// A consistent view of all tables.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn read(&self) -> Result<ReadTx> {
        let mut instance = self.instance()?;
        if instance.broken.load(Ordering::SeqCst) {
            // Only here a reader waits for writers: the file failed under another reader.
            let mut group = self.enter();
            if self.instance()?.broken.load(Ordering::SeqCst) {
                drop(self.give_up(&mut group, &"the file failed while it was read"));
            }
            drop(group);
            instance = self.instance()?;
        }
        let begun = instance.database.begin_read().map_err(|error| {
            instance.broken.store(true, Ordering::SeqCst);
            self.failed("read", error)
        })?;
        Ok(ReadTx::new(begun, instance.broken))
    }

    /// Runs `change` in a transaction and returns when it is durable.
    ///
    /// `change` runs under the writers' lock: it must be short, must not block, and must not call `update` again.
    /// When it fails nothing is changed.
    ///
    /// # Errors
    /// Those of `change`; `ResourceExhausted` on a full disk; `DataLoss` when the device fails.
    pub fn update<T>(&self, change: impl FnOnce(&WriteTx) -> Result<T>) -> Result<T> {
        let mut group = self.enter();
        let outcome = self.run(&mut group, change, None);
        if outcome.is_err() && group.last > group.durable && self.waiting.load(Ordering::SeqCst) == 0 {
            // Others counted on this caller's commit.
            self.flush(&mut group);
        }
        let value = outcome?;
        let (epoch, mine) = (group.epoch, group.last);
        let group = self.wait_durable(group, epoch, mine);
        if group.epoch == epoch {
            return Ok(value);
        }
        // Numbers go on in the next instance, so only the end of its own says what became of this one.
        match group.ended.get(&epoch) {
            Some((durable, _)) if mine <= *durable => Ok(value),
            end => {
                let why = end.map_or("", |(_, why)| why);
                Err(self.failed("commit to", format!("changes were not saved: {why}")))
            }
        }
    }

    /// Runs `change` in a transaction that is visible at once and durable with the next durable one.
    /// A crash of this process before that loses it: for what is rebuilt or repeated anyway.
    ///
    /// # Errors
    /// Those of `change` and of the database.
    pub fn update_relaxed<T>(&self, change: impl FnOnce(&WriteTx) -> Result<T>) -> Result<T> {
        let mut group = self.enter();
        let value = self.run(&mut group, change, Some(Durability::None))?;
        Ok(value)
    }

    fn enter(&self) -> MutexGuard<'_, Group> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        group
    }

    /// One transaction. Without a given durability it is durable when nobody else waits to write, and leaves the
    /// fsync to the next one otherwise.
    fn run<T>(
        &self,
        group: &mut Group,
        change: impl FnOnce(&WriteTx) -> Result<T>,
        durability: Option<Durability>,
    ) -> Result<T> {
        let instance = self.instance()?;
        let begun = instance.database.begin_write();
        let transaction = WriteTx::new(begun.map_err(|error| self.give_up(group, &error))?);
        let value = match change(&transaction) {
            Ok(value) => value,
            Err(error) => {
                if transaction.storage_failed() {
                    self.give_up(group, &error);
                }
                return Err(error);
            }
        };
        let last_one = self.waiting.load(Ordering::SeqCst) == 0
            || group.last.saturating_sub(group.durable) as usize >= GROUP_LIMIT;
        let durability =
            durability.unwrap_or(if last_one { Durability::Immediate } else { Durability::None });
        self.commit(group, transaction, durability)?;
        Ok(value)
    }

    fn commit(&self, group: &mut Group, transaction: WriteTx, durability: Durability) -> Result<()> {
        let mut transaction = transaction.into_inner();
        transaction
            .set_durability(durability)
            .map_err(|error| Error::other(ErrorKind::Internal, "commit", self.path.display(), error))?;
        transaction.commit().map_err(|error| self.give_up(group, &error))?;
        self.generation.fetch_add(1, Ordering::SeqCst);
        group.last += 1;
        if matches!(durability, Durability::Immediate) {
            group.durable = group.last;
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.flushed.notify_all();
        }
        Ok(())
    }

    /// Makes every earlier transaction durable. A failure is recorded in the group.
    fn flush(&self, group: &mut Group) {
        let Ok(instance) = self.instance() else { return };
        match instance.database.begin_write() {
            // The error is in the group: the writers who wait for it return it.
            Ok(transaction) => drop(self.commit(group, WriteTx::new(transaction), Durability::Immediate)),
            Err(error) => drop(self.give_up(group, &error)),
        }
    }

    fn wait_durable<'a>(
        &'a self,
        mut group: MutexGuard<'a, Group>,
        epoch: u64,
        mine: u64,
    ) -> MutexGuard<'a, Group> {
        while group.epoch == epoch && group.durable < mine {
            let (next, timeout) =
                self.flushed.wait_timeout(group, FLUSH_CHECK).unwrap_or_else(PoisonError::into_inner);
            group = next;
            let alone = timeout.timed_out() && self.waiting.load(Ordering::SeqCst) == 0;
            if alone && group.epoch == epoch && group.durable < mine {
                self.flush(&mut group);
            }
        }
        group
    }

    /// After a failed write: what was not durable is lost, and the instance must not be used any more.
    fn give_up(&self, group: &mut Group, error: &dyn std::fmt::Display) -> Error {
        let (epoch, durable) = (group.epoch, group.durable);
        group.ended.insert(epoch, (durable, error.to_string()));
        if group.ended.len() > ENDS {
            group.ended.pop_first();
        }
        group.epoch += 1;
        group.durable = group.last;
        if let Some(instance) = self.write_current().take() {
            instance.backend.retire();
        }
        self.flushed.notify_all();
        self.failed("commit to", error)
    }

    fn failed(&self, verb: &str, error: impl std::fmt::Display) -> Error {
        let text = error.to_string();
        let kind = match text.contains("No space") || text.contains("quota") {
            true => ErrorKind::ResourceExhausted,
            false => ErrorKind::DataLoss,
        };
        let operation = if verb == "read" { "read metadata database" } else { "commit to metadata database" };
        Error::new(kind, operation, self.path.display(), text)
    }

    /// Lets the write (or change of length, or sync) after `count` more of them fail.
    #[cfg(test)]
    pub(super) fn fail_after(&self, count: i64) {
        let instance = self.instance().unwrap();
        instance.backend.faults.store(count, Ordering::SeqCst);
    }

    fn write_current(&self) -> std::sync::RwLockWriteGuard<'_, Option<Instance>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self) -> Result<Instance> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        match current {
            Some(instance) => Ok(instance),
            None => self.reopen(),
        }
    }

    fn reopen(&self) -> Result<Instance> {
        let mut current = self.write_current();
        if let Some(instance) = &*current {
            return Ok(instance.clone());
        }
        let backend = FileBackend::new(self.file.clone(), self.syncs.clone());
        let database = open_database(&self.path, backend.clone(), self.options)?;
        tables::prepare(&database, &self.path, SCHEMA_VERSION)?;
        let instance =
            Instance { database: Arc::new(database), backend, broken: Arc::new(AtomicBool::new(false)) };
        *current = Some(instance.clone());
        Ok(instance)
    }
}

fn open_file(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io("open metadata database", path.display(), error))
}

fn open_database(path: &Path, backend: FileBackend, options: MetadataOptions) -> Result<Database> {
    let damaged = |text: String| {
        let hint = "move the file away and start again: images have to be pulled again, containers are lost";
        Error::data_loss("open metadata database", path.display(), format!("{text}; {hint}"))
    };
    // A damaged file may trip an assertion inside the database library.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Database::builder().set_cache_size(options.cache_bytes).create_with_backend(backend)
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))) => match error.raw_os_error() {
            Some(_) => Err(Error::io("open metadata database", path.display(), error)),
            None => Err(damaged(error.to_string())),
        },
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its structure is damaged".to_string())),
    }
}
