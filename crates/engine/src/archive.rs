//! Files in and out of a container's file system as tar streams (`docker cp`), whether it runs or not.
//!
//! Everything below the rootfs is reached by descriptor, resolved by the kernel within that root (CVE-2018-15664,
//! CVE-2026-41568); archives are unpacked in this process, and nothing of the container is executed (CVE-2019-14271,
//! CVE-2026-41567).

mod path;
mod stream;

use crate::{
    ContainerRecord, Engine, Error, Result,
    lifecycle::stop,
    rootfs::{self, Access},
};
use bytes::Bytes;
use path::Location;
use stream::ChunkReader;
pub(crate) use stream::ChunkWriter;
use tare_store::{
    LayerApplier, Limits,
    layer::{ArchiveWriter, UnpackOptions},
};
use tare_sys::RootDir;
use tare_types::{ErrorKind, Namespace, Timestamp};
use tokio::{runtime::Handle, sync::mpsc};

/// Chunks read ahead of the receiver.
const AHEAD: usize = 8;

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
    /// Where a symbolic link leads, as an absolute path in the container; else empty.
    pub link_target: String,
}

/// How [`Archive::put`] writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else and the reverse.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to the container's user, when it has one; otherwise the archive's owners stay (dockerd's
    /// reading of the parameter `copyUIDGID`).
    pub copy_uid_gid: bool,
}

impl Archive {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What a path in a container is. A link at its end is not followed, unless a slash follows.
    ///
    /// # Errors
    /// `NotFound` with `what()` `container` or `path`.
    pub async fn stat(&self, namespace: &Namespace, reference: &str, path: &str) -> Result<PathStat> {
        let entry = self.engine.entry("read from", namespace, reference)?;
        let path = path.to_owned();
        let work = move |root: &RootDir| Location::find(root, &path)?.stat(root);
        rootfs::with(&self.engine, &entry, Access::Whole, work).await
    }

    /// A path of a container as a tar stream; the receiver bounds what is read ahead.
    ///
    /// # Errors
    /// As [`Archive::stat`].
    pub async fn get(
        &self,
        namespace: &Namespace,
        reference: &str,
        path: &str,
    ) -> Result<(PathStat, mpsc::Receiver<std::io::Result<Bytes>>)> {
        let entry = self.engine.entry("read from", namespace, reference)?;
        let (chunks, receiver) = mpsc::channel(AHEAD);
        let (told, mut stat) = mpsc::channel(1);
        let (engine, path, handle) = (self.engine.clone(), path.to_owned(), Handle::current());
        let told_of = entry.clone();
        self.engine.spawn(async move {
            let (tell, failures) = (told.clone(), chunks.clone());
            let work = move |root: &RootDir| {
                let location = Location::find(root, &path)?;
                // The caller may be gone; then the first chunk ends the work.
                drop(tell.try_send(Ok(location.stat(root)?)));
                send(&location, ChunkWriter::new(handle, chunks))
            };
            if let Err(error) = rootfs::with(&engine, &entry, Access::Whole, work).await {
                // Before the stat it is the answer, after it the end of the stream.
                let text = error.to_string();
                if let Err(mpsc::error::TrySendError::Full(_)) = told.try_send(Err(error)) {
                    drop(failures.send(Err(std::io::Error::other(text))).await);
                } else {
                    drop(failures.try_send(Err(std::io::Error::other(text))));
                }
            }
        });
        match stat.recv().await {
            Some(stat) => {
                let stat = stat?;
                self.engine.publish(&told_of, stop::action(&told_of, "archive-path"));
                Ok((stat, receiver))
            }
            None => {
                Err(Error::new(ErrorKind::Internal, "read from", "container", reference, "the work ended"))
            }
        }
    }

    /// The whole file system of a container as a tar stream, without its volumes (`docker export`).
    ///
    /// # Errors
    /// `NotFound`; later ones end the stream.
    pub async fn export(
        &self,
        namespace: &Namespace,
        reference: &str,
    ) -> Result<mpsc::Receiver<std::io::Result<Bytes>>> {
        let entry = self.engine.entry("export", namespace, reference)?;
        let (chunks, receiver) = mpsc::channel(AHEAD);
        let (engine, handle) = (self.engine.clone(), Handle::current());
        self.engine.spawn(async move {
            let failures = chunks.clone();
            let work = move |root: &RootDir| {
                let directory =
                    root.open(".", path::DIRECTORY, path::NO_MODE).map_err(|e| path::failed("/", e))?;
                let mut archive = ArchiveWriter::new(ChunkWriter::new(handle, chunks));
                archive.add_children(directory, b"")?;
                let mut writer = archive.finish()?;
                std::io::Write::flush(&mut writer)
                    .map_err(|error| tare_store::Error::io("send", "archive", error))?;
                Ok(())
            };
            match rootfs::with(&engine, &entry, Access::Frozen, work).await {
                Ok(()) => engine.publish(&entry, stop::action(&entry, "export")),
                // A receiver that left needs no error.
                Err(error) => drop(failures.send(Err(std::io::Error::other(error.to_string()))).await),
            }
        });
        Ok(receiver)
    }

    /// Unpacks a tar stream (plain, gzip or zstd) into a directory of a container.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for a read-only rootfs or volume; `InvalidArgument` for a hostile archive.
    pub async fn put(
        &self,
        namespace: &Namespace,
        reference: &str,
        path: &str,
        options: PutOptions,
        archive: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<()> {
        let entry = self.engine.entry("write to", namespace, reference)?;
        let owner = owner(&entry.record(), options)?;
        let (path, mut reader) = (path.to_owned(), ChunkReader::new(Handle::current(), archive));
        let work = move |root: &RootDir| {
            let base = path::directory(root, &path)?;
            let options = UnpackOptions {
                base: base.into_bytes(),
                owner,
                keep_kinds: options.no_overwrite_dir_non_dir,
                limits: Limits::default(),
            };
            let root =
                root.open(".", path::DIRECTORY, path::NO_MODE).map_err(|error| path::failed(&path, error))?;
            let unpacked = unpack(LayerApplier::for_archive(root, options)?, &mut reader);
            unpacked
                .map_err(|error| Error::new(error.kind(), "unpack into", "path", &path, error.to_string()))
        };
        rootfs::with(&self.engine, &entry, Access::Whole, work).await?;
        self.engine.publish(&entry, stop::action(&entry, "extract-to-dir"));
        Ok(())
    }
}

fn unpack(mut applier: LayerApplier, reader: &mut ChunkReader) -> tare_store::Result<()> {
    while let Some(chunk) = reader.next() {
        let chunk = chunk.map_err(|error| tare_store::Error::io("receive", "archive", error))?;
        applier.write(&chunk)?;
    }
    applier.finish().map(drop)
}

fn send(location: &Location, writer: ChunkWriter) -> Result<()> {
    let mut archive = ArchiveWriter::new(writer);
    let sent = archive
        .add(location.parent(), location.name(), location.archived())
        .and_then(|()| archive.finish())
        .and_then(|mut writer| {
            std::io::Write::flush(&mut writer)
                .map_err(|error| tare_store::Error::io("send", "archive", error))
        });
    sent.map_err(|error| Error::new(error.kind(), "read", "path", location.shown(), "").with_source(error))
}

/// The owner that `copyUIDGID` asks for: the user of the container's specification.
fn owner(record: &ContainerRecord, options: PutOptions) -> Result<Option<(u32, u32)>> {
    let user = record.engine.as_ref().map_or("", |fields| fields.process.user.as_str());
    if !options.copy_uid_gid || user.is_empty() {
        return Ok(None);
    }
    let spec: tare_types::spec::Spec = serde_json::from_slice(&record.spec.value).map_err(|error| {
        Error::new(ErrorKind::DataLoss, "read specification of", "container", record.id.as_str(), "")
            .with_source(error)
    })?;
    Ok(spec.process.map(|process| (process.user.uid, process.user.gid)))
}
