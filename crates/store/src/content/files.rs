//! The files of the content store: which exist, which are in use, how they move.

use super::{Ingest, IngestStatus, ingest::modified, ingest_info::IngestInfo};
use crate::{Error, Result, remove::remove_tree, snapshot::make_private};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tare_types::{Digest, Namespace, Timestamp};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// Directories and who uses what in them.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    blobs: [OwnedFd; 2],
    ingests: OwnedFd,
    trash: OwnedFd,
    /// Directories of ingests that have a writer.
    open: Mutex<HashSet<String>>,
    /// Blobs that have their name on disk and may not have a row yet, with the number of users.
    unrecorded: Mutex<HashMap<Digest, usize>>,
}

impl Files {
    pub(super) fn open(root: &Path) -> Result<Arc<Self>> {
        let below = |name: &str| -> Result<OwnedFd> {
            let path = root.join(name);
            make_private(&path)?;
            rustix::fs::open(&path, DIRECTORY, Mode::empty())
                .map_err(|errno| Error::io("open directory", path.display(), errno))
        };
        Ok(Arc::new(Self {
            root: root.to_path_buf(),
            blobs: [below("blobs/sha256")?, below("blobs/sha512")?],
            ingests: below("ingest")?,
            trash: below("trash")?,
            open: Mutex::new(HashSet::new()),
            unrecorded: Mutex::new(HashMap::new()),
        }))
    }

    fn blobs(&self, digest: &Digest) -> &OwnedFd {
        &self.blobs[usize::from(digest.algorithm() == ALGORITHMS[1])]
    }

    pub(super) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self.blobs(digest), digest.hex(), flags, Mode::empty()) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::NOENT) => Err(Error::not_found("read content", digest)),
            Err(errno) => Err(Error::io("open content", digest, errno)),
        }
    }

    /// Takes the ingest for one writer and opens its file; the directory is made when it is new.
    pub(super) fn lock_ingest(self: &Arc<Self>, info: &IngestInfo) -> Result<(IngestLock, File, IngestInfo)> {
        let name = IngestInfo::directory(&info.namespace, &info.reference);
        let lock = self.lock(&name, &info.reference)?;
        let failed = |errno| Error::io("open ingest", &info.reference, errno);
        match rustix::fs::mkdirat(&self.ingests, &name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = format!("{name}/data");
        let file = rustix::fs::openat(&self.ingests, path, flags, Mode::from_raw_mode(0o600));
        let file = File::from(file.map_err(failed)?);
        let kept = match self.read_info(&name) {
            // Bytes for another digest are of no use.
            Some(old)
                if info.expected.is_none() || old.expected.is_none() || old.expected == info.expected =>
            {
                IngestInfo {
                    total: if info.total == 0 { old.total } else { info.total },
                    expected: info.expected.clone().or(old.expected),
                    started_at: old.started_at,
                    ..info.clone()
                }
            }
            _ => {
                file.set_len(0).map_err(|error| Error::io("truncate ingest", &info.reference, error))?;
                info.clone()
            }
        };
        self.write_info(&name, &kept)?;
        Ok((lock, file, kept))
    }

    fn lock(self: &Arc<Self>, name: &str, reference: &str) -> Result<IngestLock> {
        if !lock(&self.open).insert(name.to_string()) {
            return Err(Error::new(
                tare_types::ErrorKind::Unavailable,
                "open ingest",
                reference,
                "another writer has it open",
            ));
        }
        Ok(IngestLock { files: self.clone(), name: name.to_string(), published: None })
    }

    /// The record beside the bytes. A damaged one counts as none: the ingest starts again.
    fn read_info(&self, name: &str) -> Option<IngestInfo> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = format!("{name}/info.json");
        let file = File::from(rustix::fs::openat(&self.ingests, path, flags, Mode::empty()).ok()?);
        serde_json::from_reader(std::io::BufReader::new(file)).ok()
    }

    /// Written beside and renamed, so that a crash never leaves half of it.
    fn write_info(&self, name: &str, info: &IngestInfo) -> Result<()> {
        use std::io::Write;
        let failed = |error: std::io::Error| Error::io("write ingest record", &info.reference, error);
        let bytes = serde_json::to_vec(info).map_err(|error| failed(error.into()))?;
        let (path, new) = (format!("{name}/info.json"), format!("{name}/info.json.new"));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.ingests, &new, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed(errno.into()))?;
        File::from(file).write_all(&bytes).map_err(failed)?;
        rustix::fs::renameat(&self.ingests, &new, &self.ingests, &path).map_err(|errno| failed(errno.into()))
    }

    /// Every ingest on disk: directory, record, status.
    pub(super) fn ingests(&self) -> Result<Vec<(String, IngestInfo, IngestStatus)>> {
        let mut found = Vec::new();
        for name in names(&self.ingests, &self.root)? {
            let Some(info) = self.read_info(&name) else { continue };
            if let Some(status) = self.status(&name, &info) {
                found.push((name, info, status));
            }
        }
        found.sort_by(|a, b| a.2.reference.cmp(&b.2.reference));
        Ok(found)
    }

    pub(super) fn ingest(
        &self,
        namespace: &Namespace,
        reference: &str,
    ) -> Option<(IngestInfo, IngestStatus)> {
        let name = IngestInfo::directory(namespace, reference);
        let info = self.read_info(&name)?;
        let status = self.status(&name, &info)?;
        Some((info, status))
    }

    fn status(&self, name: &str, info: &IngestInfo) -> Option<IngestStatus> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.ingests, format!("{name}/data"), flags, Mode::empty()).ok()?;
        let file = File::from(file);
        Some(info.status(file.metadata().ok()?.len(), modified(&file)))
    }

    /// Removes an ingest that nobody writes.
    pub(super) fn remove_ingest(self: &Arc<Self>, name: &str, reference: &str) -> Result<()> {
        self.lock(name, reference)?.remove()
    }

    /// Removes an ingest also under its writer, who learns of it when it commits.
    pub(super) fn abort_ingest(self: &Arc<Self>, name: &str, reference: &str) -> Result<()> {
        match self.lock(name, reference) {
            Ok(lock) => lock.remove(),
            Err(_) => remove_tree(self.ingests.as_fd(), name),
        }
    }

    /// Removes ingest directories without a readable record and a writer: a crash in the first microseconds.
    pub(super) fn remove_broken_ingests(self: &Arc<Self>) -> Result<usize> {
        let mut count = 0;
        for name in names(&self.ingests, &self.root)? {
            if self.read_info(&name).is_none() && self.remove_ingest(&name, &name).is_ok() {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Gives the bytes of an ingest the name of their digest. Not durable yet.
    pub(super) fn publish(&self, ingest: &mut Ingest, digest: &Digest) -> Result<()> {
        let failed = |errno| Error::io("commit content", digest, errno);
        // Marked before the file appears: from here nobody deletes it.
        *lock(&self.unrecorded).entry(digest.clone()).or_insert(0) += 1;
        ingest.lock.published = Some(digest.clone());
        rustix::fs::fchmod(&ingest.file, Mode::from_raw_mode(0o444)).map_err(failed)?;
        let from = format!("{}/data", ingest.lock.name);
        match rustix::fs::renameat(&self.ingests, from, self.blobs(digest), digest.hex()) {
            // Its client has aborted it meanwhile.
            Err(Errno::NOENT) => {
                return Err(Error::not_found("commit content", format_args!("ingest of {digest}")));
            }
            other => other.map_err(failed)?,
        }
        remove_tree(self.ingests.as_fd(), &ingest.lock.name)
    }

    /// Makes blobs and their names durable.
    pub(super) fn sync<'a>(&self, blobs: impl Iterator<Item = (&'a File, &'a Digest)>) -> Result<()> {
        let failed = |digest: &Digest, errno| Error::io("sync content", digest, errno);
        // One digest of each algorithm that has a new name.
        let mut named = HashMap::new();
        for (file, digest) in blobs {
            rustix::fs::fdatasync(file).map_err(|errno| failed(digest, errno))?;
            named.insert(digest.algorithm(), digest);
        }
        for digest in named.into_values() {
            rustix::fs::fsync(self.blobs(digest)).map_err(|errno| failed(digest, errno))?;
        }
        Ok(())
    }

    /// A blob without a row, left by a crash between its name and its row, becomes the bytes of this ingest:
    /// they are hashed again and nothing is fetched twice.
    pub(super) fn adopt(
        &self,
        ingest: &mut Ingest,
        digest: &Digest,
        has_row: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let unrecorded = lock(&self.unrecorded);
        if unrecorded.contains_key(digest) || has_row()? {
            return Ok(false);
        }
        let to = format!("{}/data", ingest.lock.name);
        match rustix::fs::renameat(self.blobs(digest), digest.hex(), &self.ingests, &to) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(Error::io("adopt content", digest, errno)),
        }
        drop(unrecorded);
        let failed = |errno| Error::io("adopt content", digest, errno);
        let readable = rustix::fs::openat(
            &self.ingests,
            &to,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        rustix::fs::fchmod(&readable.map_err(failed)?, Mode::from_raw_mode(0o600)).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.ingests, &to, flags, Mode::empty()).map_err(failed)?;
        ingest.file = File::from(file);
        Ok(true)
    }

    /// Deletes the bytes of a blob unless somebody is about to give it a row, or has. The check and the rename to
    /// the trash are one step for [`Files::publish`]; the deletion itself holds nothing.
    pub(super) fn remove_blob(
        &self,
        digest: &Digest,
        has_row: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let name = format!("{}-{}", digest.algorithm(), digest.hex());
        {
            let unrecorded = lock(&self.unrecorded);
            if unrecorded.contains_key(digest) || has_row()? {
                return Ok(false);
            }
            match rustix::fs::renameat(self.blobs(digest), digest.hex(), &self.trash, &name) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(Error::io("delete content", digest, errno)),
            }
        }
        remove_tree(self.trash.as_fd(), &name)?;
        Ok(true)
    }

    pub(super) fn empty_trash(&self) -> Result<()> {
        names(&self.trash, &self.root)?.iter().try_for_each(|name| remove_tree(self.trash.as_fd(), name))
    }

    /// Digests of all files that have a blob's name, with the time they changed last.
    pub(super) fn blobs_on_disk(&self) -> Result<Vec<(Digest, Timestamp)>> {
        let mut found = Vec::new();
        for (directory, algorithm) in self.blobs.iter().zip(ALGORITHMS) {
            for name in names(directory, &self.root)? {
                let Ok(digest) = Digest::parse(&format!("{algorithm}:{name}")) else { continue };
                if let Ok(file) = self.open_blob(&digest) {
                    let time = modified(&file);
                    found.push((digest, time));
                }
            }
        }
        Ok(found)
    }
}

/// The right of one writer to an ingest. Dropping it gives the right back and keeps the bytes.
#[derive(Debug)]
pub(super) struct IngestLock {
    files: Arc<Files>,
    name: String,
    /// Set once the bytes have left the ingest for this name.
    published: Option<Digest>,
}

impl IngestLock {
    /// Removes the ingest's directory.
    pub(super) fn remove(&self) -> Result<()> {
        remove_tree(self.files.ingests.as_fd(), &self.name)
    }
}

impl Drop for IngestLock {
    fn drop(&mut self) {
        lock(&self.files.open).remove(&self.name);
        let Some(digest) = &self.published else { return };
        let mut unrecorded = lock(&self.files.unrecorded);
        if let Some(users) = unrecorded.get_mut(digest) {
            *users -= 1;
            if *users == 0 {
                unrecorded.remove(digest);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(directory: &OwnedFd, path: &Path) -> Result<Vec<String>> {
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
