//! The root of a container as a descriptor, whether it runs or not.
//!
//! Of a running container it is the root its first process sees, mounts included. Of a stopped one the same tree is
//! put together in a mount namespace of a thread made for that: nothing of it is ever visible on the host, and it
//! goes with the thread. Everything below is resolved by the kernel within that root.

use crate::{
    ContainerRecord, Engine, Error, Result,
    entry::Entry,
    record::{MountKind, MountPoint},
    volumes::subpath,
};
use rustix::{
    fs::{Mode, OFlags},
    mount::MountAttrFlags,
};
use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};
use tare_sys::{RootDir, mount, mountns, raw::MountAttr};
use tare_types::{ErrorKind, Mount, SnapshotKey};
use tokio::sync::oneshot;

/// What is wanted of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The image's content alone, before anything runs: no volumes.
    Image,
    /// The container's own files as they are now, read-only and without volumes, whether it runs or not.
    Frozen,
    /// All the container has.
    Whole,
}

/// Runs `work` with the root of a container, on a thread of its own. Of a stopped container this is one of its verbs:
/// nobody starts or removes it meanwhile. It goes on when the caller leaves.
pub(crate) async fn with<T: Send + 'static>(
    engine: &Engine,
    entry: &Arc<Entry>,
    access: Access,
    work: impl FnOnce(&RootDir) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (owned, entry) = (engine.clone(), entry.clone());
    engine
        .run("use files of container", async move {
            let mut turn = None;
            if entry.running_task().is_none() {
                turn = Some(entry.turn.lock().await);
            }
            if entry.live().removed {
                return Err(Error::not_found("use files of", "container", entry.key.id.as_str()));
            }
            let pid = entry.running_task().map(|task| task.init.pid()).filter(|pid| *pid != 0);
            let (sender, receiver) = oneshot::channel();
            let record = entry.record();
            let name = entry.key.id.to_string();
            let job = move || {
                let root = match pid {
                    Some(pid) if access == Access::Whole => of_running(&name, pid),
                    _ => of_stopped(&owned, &record, access),
                };
                // The caller is this very task: it waits.
                drop(sender.send(root.and_then(|root| work(&root))));
            };
            let spawned = std::thread::Builder::new().name("container-files".to_owned()).spawn(job);
            spawned.map_err(|error| {
                Error::new(ErrorKind::ResourceExhausted, "start", "thread", "container-files", "")
                    .with_source(error)
            })?;
            let outcome = receiver.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "use files of", "container", "", "the thread ended"))
            });
            drop(turn);
            outcome
        })
        .await
}

/// The root that a process sees. The descriptor of the process shows that the number was not given to another one.
fn of_running(id: &str, pid: u32) -> Result<RootDir> {
    let failed = |source: tare_sys::Error| {
        Error::new(ErrorKind::FailedPrecondition, "open root of", "container", id, "").with_source(source)
    };
    let number = i32::try_from(pid).unwrap_or(0);
    let process = tare_sys::process::open(number).map_err(failed)?;
    let root = RootDir::open_ambient(&format!("/proc/{pid}/root")).map_err(failed)?;
    if tare_sys::process::has_ended(std::os::fd::AsFd::as_fd(&process), 0).map_err(failed)? {
        let detail = "it has just ended";
        return Err(Error::new(ErrorKind::FailedPrecondition, "open root of", "container", id, detail));
    }
    Ok(root)
}

fn of_stopped(engine: &Engine, record: &ContainerRecord, access: Access) -> Result<RootDir> {
    let failed = |source: tare_sys::Error| {
        let name = record.id.as_str();
        Error::new(ErrorKind::Internal, "mount root of", "container", name, "").with_source(source)
    };
    let snapshotter = engine.stores().snapshotter(&record.snapshotter)?;
    let key = SnapshotKey::new(record.snapshot_key.as_str())?;
    let mounts = snapshotter.mounts(&record.namespace, &key)?;
    let fields = record.engine.as_ref();
    let points: Vec<&MountPoint> = match access {
        Access::Image | Access::Frozen => Vec::new(),
        Access::Whole => fields.iter().flat_map(|fields| &fields.mounts).collect(),
    };
    mountns::unshare_private().map_err(failed)?;
    // Cloned before the place of the root is covered.
    let mut trees = Vec::new();
    for point in points.iter().filter(|point| point.kind != MountKind::Tmpfs) {
        let tree = match &point.device {
            _ if !point.subpath.is_empty() => mount::clone_tree_of(subpath::open(point)?, true),
            None => mount::clone_tree(&point.source, true),
            Some(device) => device_tree(device),
        };
        trees.push((tree.map_err(failed)?, *point));
    }
    trees.sort_by_key(|(_, point)| point.target.matches('/').count());
    let tree = root_tree(&mounts, access == Access::Frozen).map_err(failed)?;
    let place: PathBuf = engine.config().state.clone();
    let place = RootDir::open_ambient(&place.to_string_lossy()).map_err(failed)?;
    mount::attach(&tree, std::os::fd::AsFd::as_fd(&place)).map_err(failed)?;
    let root = RootDir::from_fd(tree);
    for (tree, point) in trees {
        attach(&root, &tree, point).map_err(failed)?;
    }
    if access == Access::Whole && fields.is_some_and(|fields| fields.security.readonly_rootfs) {
        mount::set_attributes(&root, false, &read_only()).map_err(failed)?;
    }
    Ok(root)
}

/// What the options of a volume name, detached.
fn device_tree(device: &crate::record::VolumeDevice) -> tare_sys::Result<OwnedFd> {
    if let Some(directory) = device.directory() {
        return mount::clone_tree(directory, true);
    }
    let options: Vec<(&str, Option<&str>)> = device
        .options
        .iter()
        .map(|option| option.split_once('=').map_or((option.as_str(), None), |(k, v)| (k, Some(v))))
        .collect();
    mount::new_filesystem(&device.kind, Some(&device.device), &options, MountAttrFlags::empty())
}

fn read_only() -> MountAttr {
    MountAttr { set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()), ..MountAttr::default() }
}

fn attach(root: &RootDir, tree: &OwnedFd, point: &MountPoint) -> tare_sys::Result<()> {
    if !point.read_write {
        mount::set_attributes(tree, true, &read_only())?;
    }
    let is_directory = rustix::fs::fstat(tree).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    });
    let target = match is_directory {
        true => root.make_dir_all(&point.target, Mode::from_raw_mode(0o755))?.into_fd(),
        // A file that the container has never had: it is mounted at its first start.
        false => match root.open(&point.target, OFlags::PATH, Mode::empty()) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        },
    };
    mount::attach(tree, std::os::fd::AsFd::as_fd(&target))
}

/// The snapshotter's mount, detached. Frozen, the upper directory is one more layer: the one that a running container
/// has mounted must not be used twice.
fn root_tree(mounts: &[Mount], frozen: bool) -> tare_sys::Result<OwnedFd> {
    let Some(first) = mounts.first().filter(|_| mounts.len() == 1) else {
        return Err(tare_sys::Error::new("fsmount", "rootfs", tare_sys::Errno::INVAL));
    };
    if first.kind == "bind" {
        return mount::clone_tree(&first.source, false);
    }
    let mut options: Vec<(&str, Option<&str>)> = Vec::new();
    if frozen {
        let upper = first.options.iter().find_map(|option| option.strip_prefix("upperdir="));
        options.extend(upper.map(|upper| ("lowerdir+", Some(upper))));
    }
    for option in &first.options {
        match option.split_once('=') {
            Some(("upperdir" | "workdir", _)) if frozen => {}
            // One by one: a parameter of fsconfig is at most 255 bytes long.
            Some(("lowerdir", paths)) => {
                options.extend(paths.split(':').map(|path| ("lowerdir+", Some(path))));
            }
            Some((key, value)) => options.push((key, Some(value))),
            None => options.push((option, None)),
        }
    }
    mount::new_filesystem(&first.kind, Some(&first.source), &options, MountAttrFlags::empty())
}
