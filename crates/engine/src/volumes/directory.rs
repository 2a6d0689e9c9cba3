//! Volumes on disk. Everything is made under a hidden name and renamed: a crash leaves a whole volume or a hidden
//! directory, which the next start removes.

use super::{DRIVER, Volume};
use crate::{Error, Result};
use rustix::{
    fs::{Mode, OFlags, RenameFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tare_types::{ErrorKind, Timestamp};

const DATA: &str = "_data";
const DESCRIPTION: &str = "volume.json";
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `<root>/volumes`.
#[derive(Debug)]
pub(super) struct VolumeDirectory {
    path: PathBuf,
    fd: OwnedFd,
    next: AtomicU64,
}

/// `volume.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Description {
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    created_at: Timestamp,
    anonymous: bool,
}

impl VolumeDirectory {
    /// Opens or makes it (0700) and removes what a crash left.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| failed("make", &path, error))?;
        let fd = rustix::fs::open(&path, DIRECTORY, Mode::empty());
        let fd = fd.map_err(|errno| failed("open", &path, errno.into()))?;
        let directory = Self { path, fd, next: AtomicU64::new(0) };
        for name in directory.names()?.iter().filter(|name| name.starts_with('.')) {
            directory.discard(name)?;
        }
        Ok(directory)
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.path.join(name).join(DATA)
    }

    /// Names of everything there.
    fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.path).map_err(|error| failed("list", &self.path, error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &self.path, error))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn list(&self) -> Result<Vec<Volume>> {
        let names = self.names()?.into_iter().filter(|name| super::is_name(name));
        Ok(names.filter_map(|name| self.get(&name)).collect())
    }

    /// One volume. A damaged description (a power cut soon after an anonymous volume was made) costs its labels.
    pub(super) fn get(&self, name: &str) -> Option<Volume> {
        if !super::is_name(name) {
            return None;
        }
        let mountpoint = self.data(name);
        let made = fs::symlink_metadata(&mountpoint).ok().filter(fs::Metadata::is_dir)?;
        let text = fs::read(self.path.join(name).join(DESCRIPTION)).unwrap_or_default();
        let description = serde_json::from_slice(&text).unwrap_or_else(|_| {
            let time = made.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let seconds = time.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0));
            Description { created_at: Timestamp::new(seconds, 0), anonymous: true, ..Description::default() }
        });
        Some(Volume {
            name: name.to_owned(),
            driver: DRIVER.to_owned(),
            mountpoint,
            labels: description.labels,
            options: description.options,
            created_at: description.created_at,
            anonymous: description.anonymous,
        })
    }

    /// Makes a volume. A named one survives a power cut; an anonymous one is its container's.
    pub(super) fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
        anonymous: bool,
        now: Timestamp,
    ) -> Result<Volume> {
        let hidden = self.hidden("new");
        let path = self.path.join(&hidden);
        let describe = Description { labels, options, created_at: now, anonymous };
        let make = || -> std::io::Result<()> {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            let data = path.join(DATA);
            fs::DirBuilder::new().mode(0o755).create(&data)?;
            fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            let mut file = File::create_new(path.join(DESCRIPTION))?;
            file.write_all(&serde_json::to_vec(&describe)?)?;
            if !anonymous {
                file.sync_all()?;
                File::open(&path)?.sync_all()?;
            }
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(&self.fd, &hidden, &self.fd, name, flags)?;
            if !anonymous {
                rustix::fs::fsync(&self.fd)?;
            }
            Ok(())
        };
        if let Err(error) = make() {
            let error = failed("create", &self.path.join(name), error);
            // The first error counts; what stays is removed at the next start.
            self.discard(&hidden).unwrap_or_default();
            return Err(error);
        }
        self.get(name).ok_or_else(|| Error::not_found("create", "volume", name))
    }

    /// Takes a volume out of sight. Its hidden name is for [`VolumeDirectory::discard`].
    pub(super) fn take(&self, name: &str) -> Result<String> {
        let hidden = self.hidden("trash");
        match rustix::fs::renameat(&self.fd, name, &self.fd, &hidden) {
            Ok(()) => Ok(hidden),
            Err(Errno::NOENT) => Err(Error::not_found("remove", "volume", name)),
            Err(errno) => Err(failed("remove", &self.path.join(name), errno.into())),
        }
    }

    /// Deletes a hidden directory. Its content is a container's: no link is followed.
    pub(super) fn discard(&self, hidden: &str) -> Result<()> {
        Ok(tare_store::tree::remove_tree(self.fd.as_fd(), hidden)?)
    }

    /// Bytes of its files.
    pub(super) fn size(&self, name: &str) -> Result<u64> {
        let path = self.data(name);
        let data = rustix::fs::open(&path, DIRECTORY, Mode::empty());
        let data = data.map_err(|errno| failed("measure", &path, errno.into()))?;
        crate::sizes::of_files(data).map_err(|errno| failed("measure", &path, errno.into()))
    }

    fn hidden(&self, kind: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!(".{kind}-{}-{number}", std::process::id())
    }
}

fn failed(operation: &'static str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation, "volume", path.display().to_string(), "").with_source(error)
}
