//! A bundle: the directory of one task below the state directory, and what the engine notes in it.
//!
//! `<state>/io.containerd.runtime.v2.task/<namespace>/<id>/` holds `config.json`, `rootfs/` and `task.json`. What is
//! noted here survives kill -9 of every process and not a reboot, which ends the task anyway; so nothing is synced.

use crate::{Error, Result, key::Key, network::EndpointState, tasks::Stdio};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use tare_sys::{RootDir, mount};
use tare_types::{ErrorKind, Timestamp};

/// Directory of all bundles below the state directory (containerd's name).
pub(crate) const TASKS: &str = "io.containerd.runtime.v2.task";

/// A bundle's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    path: PathBuf,
}

/// What a restarted daemon must know of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    /// The shim's binary, to clean up after it.
    pub(crate) binary: PathBuf,
    /// Whether the shim is Tare's.
    pub(crate) native: bool,
    /// Socket of the shim; empty while it is being started.
    pub(crate) address: PathBuf,
    /// Socket of Tare's shim that holds the streams of a foreign one, else empty.
    pub(crate) streams: PathBuf,
    /// Version of the Task service.
    pub(crate) version: u32,
    /// Whether the engine drives the container (not a client of containerd's door).
    pub(crate) driven: bool,
    /// Streams.
    pub(crate) stdio: StdioFacts,
    /// Begin of the run.
    pub(crate) started_at: Option<Timestamp>,
    /// Restarts by policy since the user's start.
    pub(crate) restart_count: u32,
    /// Whether a user asked for the end.
    pub(crate) stopped: bool,
    /// Network of the container.
    pub(crate) endpoint: Option<EndpointState>,
}

/// [`Stdio`] on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StdioFacts {
    stdin: String,
    stdout: String,
    stderr: String,
    terminal: bool,
}

impl From<&Stdio> for StdioFacts {
    fn from(stdio: &Stdio) -> Self {
        let Stdio { stdin, stdout, stderr, terminal } = stdio.clone();
        Self { stdin, stdout, stderr, terminal }
    }
}

impl From<&StdioFacts> for Stdio {
    fn from(facts: &StdioFacts) -> Self {
        let StdioFacts { stdin, stdout, stderr, terminal } = facts.clone();
        Self { stdin, stdout, stderr, terminal }
    }
}

fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation, "bundle", path.display().to_string(), "").with_source(error)
}

/// The fifo to which all shims of Tare's write what is wrong, below the state directory.
pub(crate) const VOICES: &str = "shims.log";
/// The way to it from a bundle.
const OWN_LOG: &str = "../../../shims.log";

impl Bundle {
    /// Where the bundle of a task is.
    pub(crate) fn of(state: &Path, key: &Key) -> Self {
        Self { path: state.join(TASKS).join(key.namespace.as_str()).join(key.id.as_str()) }
    }

    /// Directory of the fifos that Tare's shim holds for a foreign one.
    pub(crate) fn streams(&self) -> PathBuf {
        self.path.join("streams")
    }

    /// Where the /dev/shm of a container is mounted whose IPC others may join.
    pub(crate) fn shared_memory(&self) -> PathBuf {
        self.path.join("shm")
    }

    /// Mounts that file system: `size` bytes of memory. It goes with the bundle.
    pub(crate) fn mount_shared_memory(&self, size: u64) -> Result<()> {
        let path = self.shared_memory();
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| failed("make shared memory of", &path, error))?;
        let size = size.to_string();
        let options = [("mode", Some("1777")), ("size", Some(size.as_str()))];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mounted = mount::new_filesystem("tmpfs", Some("shm"), &options, attributes).and_then(|tree| {
            let place = RootDir::open_ambient(&path.to_string_lossy())?;
            mount::attach(&tree, place.as_fd())
        });
        mounted.map_err(|error| failed("mount shared memory of", &path, io::Error::other(error)))
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it with `config.json`, an empty `rootfs` and the first facts. What a dead task left there is replaced.
    ///
    /// The bundle is 0700: a user of the host must not reach a container's files. Its parents are 0711.
    /// Without a spec [`Bundle::write_spec`] follows.
    pub(crate) fn create(&self, spec: Option<&[u8]>, facts: &Facts) -> Result<()> {
        let make = |path: &Path, mode| fs::DirBuilder::new().mode(mode).create(path);
        let made = match make(&self.path, 0o700) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.path.parent().expect("invariant: a bundle lies below the state directory");
                let parents = fs::DirBuilder::new().mode(0o711).recursive(true).create(parent);
                parents.and_then(|()| make(&self.path, 0o700))
            }
            other => other,
        };
        made.map_err(|error| failed("create", &self.path, error))?;
        let fill = || -> Result<()> {
            let rootfs = self.path.join("rootfs");
            make(&rootfs, 0o711).map_err(|error| failed("create", &rootfs, error))?;
            if facts.native {
                // Where containerd's shims have a fifo of their own, Tare's have one for all.
                let log = self.path.join("log");
                symlink(OWN_LOG, &log).map_err(|error| failed("create", &log, error))?;
            }
            if let Some(spec) = spec {
                self.write_spec(spec)?;
            }
            self.note(facts)
        };
        fill().inspect_err(|_| {
            // The first error counts; what stays is removed at the next start of the daemon.
            self.remove().unwrap_or_default();
        })
    }

    /// Writes `config.json`.
    pub(crate) fn write_spec(&self, spec: &[u8]) -> Result<()> {
        write(&self.path.join("config.json"), spec)
    }

    /// Replaces the facts.
    pub(crate) fn note(&self, facts: &Facts) -> Result<()> {
        let bytes = serde_json::to_vec(facts)
            .map_err(|error| failed("write facts of", &self.path, io::Error::other(error)))?;
        self.replace("task.json", &bytes)
    }

    /// Replaces a file whole: a reader sees the old or the new content.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (target, new) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        write(&new, bytes)?;
        fs::rename(&new, &target).map_err(|error| failed("write", &target, error))
    }

    /// The facts, or `None` when there are none that can be read: the task never came to be.
    pub(crate) fn facts(&self) -> Option<Facts> {
        serde_json::from_slice(&fs::read(self.path.join("task.json")).ok()?).ok()
    }

    /// Removes it. One that is gone is removed.
    ///
    /// For Tare's shim nothing is mounted below it in the daemon's mount namespace but shared memory; a foreign shim mounts
    /// the rootfs here and unmounts it on delete, and what it left mounted is let go first so that the removal never
    /// enters it.
    pub(crate) fn remove(&self) -> Result<()> {
        let memory = self.shared_memory();
        if fs::remove_dir(&memory).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            detach(&memory)?;
        }
        let rootfs = self.path.join("rootfs");
        // rmdir, not a walk: whatever is in a root file system belongs to its snapshot.
        match fs::remove_dir(&rootfs) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                detach(&rootfs)?;
                fs::remove_dir(&rootfs).map_err(|error| failed("remove", &rootfs, error))?;
            }
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.path, error)),
            _ => Ok(()),
        }
    }
}

/// Detaches everything mounted at a path.
fn detach(path: &Path) -> Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    for _ in 0..64 {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed("unmount rootfs of", path, errno.into())),
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| io::Write::write_all(&mut file, bytes));
    written.map_err(|error| failed("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tare_types::{ContainerId, Namespace};

    #[test]
    fn a_bundle_is_made_noted_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let key = Key::new(&Namespace::default_namespace(), &ContainerId::new("a").unwrap());
        let bundle = Bundle::of(state.path(), &key);
        let mut facts = Facts { binary: "/bin/shim".into(), ..Facts::default() };
        bundle.create(Some(b"{}"), &facts).unwrap();
        assert_eq!(fs::metadata(bundle.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(bundle.create(Some(b"{}"), &facts).unwrap_err().kind(), ErrorKind::AlreadyExists);
        facts.restart_count = 3;
        bundle.note(&facts).unwrap();
        assert_eq!(bundle.facts().unwrap(), facts);
        bundle.remove().unwrap();
        bundle.remove().unwrap();
        assert!(bundle.facts().is_none());
    }
}
