//! Files in and out of a container's file system as tar streams (`docker cp`), whether it runs or not.
//!
//! Everything below the rootfs is reached by descriptor (openat2 with RESOLVE_IN_ROOT).

use crate::{Engine, Error, Result};
use bytes::Bytes;
use tare_types::{Namespace, Timestamp};
use tokio::sync::mpsc;

/// The verbs of archives.
#[derive(Debug, Clone)]
pub struct Archive {
    engine: Engine,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Last component.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode`.
    pub mode: u32,
    /// Modification.
    pub modified_at: Timestamp,
    /// Target of a symbolic link, else empty.
    pub link_target: String,
}

/// How [`Archive::put`] writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else and the reverse.
    pub no_overwrite_dir_non_dir: bool,
    /// Keep owners from the archive; otherwise they become the container's user.
    pub copy_uid_gid: bool,
}

impl Archive {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What a path in a container is.
    ///
    /// # Errors
    /// `NotFound` with `what()` `container` or `path`.
    pub async fn stat(&self, _namespace: &Namespace, _reference: &str, _path: &str) -> Result<PathStat> {
        let _ = &self.engine;
        Err(Error::unimplemented("stat", "path"))
    }

    /// A path of a container as a tar stream; the receiver bounds what is read ahead.
    ///
    /// # Errors
    /// As [`Archive::stat`].
    pub async fn get(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _path: &str,
    ) -> Result<(PathStat, mpsc::Receiver<std::io::Result<Bytes>>)> {
        Err(Error::unimplemented("read", "path"))
    }

    /// Unpacks a tar stream (plain, gzip or zstd) into a directory of a container.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for a read-only rootfs or volume; `InvalidArgument` for a hostile archive.
    pub async fn put(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _path: &str,
        _options: PutOptions,
        _archive: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<()> {
        Err(Error::unimplemented("write", "path"))
    }
}
