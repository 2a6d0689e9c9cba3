//! The file under the database: positioned reads and writes, real allocation, and a switch that makes an
//! abandoned instance harmless.
//!
//! Not here: locking against other processes; [`super::Metadata`] holds one lock for its whole life, so that the
//! database can be opened again in the same process after a failed write.

use rustix::fs::FallocateFlags;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// A database file. Clones share the file.
#[derive(Debug, Clone)]
pub struct FileBackend {
    file: Arc<File>,
    retired: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
    /// Writes until one fails, for tests.
    #[cfg(test)]
    pub(super) faults: Arc<std::sync::atomic::AtomicI64>,
}

impl FileBackend {
    /// A backend on an open file; `syncs` counts its fdatasync calls.
    pub fn new(file: Arc<File>, syncs: Arc<AtomicU64>) -> Self {
        Self {
            file,
            retired: Arc::new(AtomicBool::new(false)),
            syncs,
            #[cfg(test)]
            faults: Arc::new(std::sync::atomic::AtomicI64::new(i64::MAX)),
        }
    }

    /// From now on nothing is written through this instance: a newer one owns the file.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        match self.retired.load(Ordering::SeqCst) {
            true => Err(io::Error::other("this instance of the database was given up after a failed write")),
            false => Ok(()),
        }
    }
}

impl redb::StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        let now = self.file.metadata()?.len();
        if len > now {
            // Blocks are taken here, not at some later page write: a full disk fails before anything changed.
            match rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), now, len - now) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(data, offset)
    }
}
