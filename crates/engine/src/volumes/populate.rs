//! Copy-up: an empty volume gets what the image has under its mount point, with owners and modes.

use crate::{
    Engine, Error, Result,
    entry::Entry,
    record::{MountKind, MountPoint},
    rootfs::{self, Access},
};
use rustix::fs::{Mode, OFlags};
use std::{os::fd::OwnedFd, path::Path, sync::Arc};
use tare_sys::RootDir;
use tare_types::ErrorKind;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Fills the empty volumes of a new container from its image. Nothing is mounted when there is nothing to do.
pub(crate) async fn populate(engine: &Engine, entry: &Arc<Entry>) -> Result<()> {
    let record = entry.record();
    let mounts = record.engine.iter().flat_map(|fields| &fields.mounts);
    let wanted: Vec<MountPoint> = mounts.filter(|mount| wants_content(mount)).cloned().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    rootfs::with(engine, entry, Access::Image, move |root| {
        wanted.iter().try_for_each(|mount| fill(root, mount))
    })
    .await
}

fn wants_content(mount: &MountPoint) -> bool {
    // Another file system is filled by whoever made it.
    let no_copy = mount.device.is_some()
        || !mount.subpath.is_empty()
        || mount.options.iter().any(|option| option == "nocopy");
    mount.kind == MountKind::Volume && !no_copy && is_empty(Path::new(&mount.source))
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn fill(root: &RootDir, mount: &MountPoint) -> Result<()> {
    // The image names the path: resolved below its own root (CVE-2022-23648).
    let from = match root.open(&mount.target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Ok(from) => from,
        // The image has no such directory; the volume stays empty.
        Err(error) if error.is_not_found() || error.errno() == tare_sys::Errno::NOTDIR => return Ok(()),
        Err(error) => return Err(failed(mount, error)),
    };
    let to: OwnedFd = rustix::fs::open(mount.source.as_str(), DIRECTORY, Mode::empty())
        .map_err(|errno| failed(mount, std::io::Error::from(errno)))?;
    tare_store::tree::copy_tree(&from, &to).map_err(|error| {
        let detail = format!("copying {} of the image", mount.target);
        Error::new(error.kind(), "fill", "volume", &mount.name, detail).with_source(error)
    })
}

fn failed(mount: &MountPoint, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Internal, "fill", "volume", &mount.name, &mount.target).with_source(source)
}
