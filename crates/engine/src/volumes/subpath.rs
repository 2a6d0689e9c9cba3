//! The part of a volume that a container mounts in the volume's stead.
//!
//! Whoever has the volume can change what a path in it leads to. So the path is resolved by the kernel within the volume
//! once, and it is the descriptor that is mounted: its name below the daemon's /proc directory is the source of the
//! mount, good as long as the descriptor is open.

use crate::{
    Error, Result,
    record::{MountPoint, VolumeDevice},
};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsRawFd, OwnedFd};
use tare_sys::RootDir;
use tare_types::{ErrorKind, spec::Mount};

/// Opens the part of a volume that a mount names, for mounting.
pub(crate) fn open(mount: &MountPoint) -> Result<OwnedFd> {
    let volume = mount.device.as_ref().and_then(VolumeDevice::directory).unwrap_or(&mount.source);
    let opened =
        RootDir::open_ambient(volume).and_then(|root| root.open(&mount.subpath, OFlags::PATH, Mode::empty()));
    opened.map_err(|error| {
        let detail = format!("cannot access path {volume}/{}", mount.subpath);
        Error::new(ErrorKind::InvalidArgument, "mount part of", "volume subpath", &mount.name, detail)
            .with_source(error)
    })
}

/// Has the mounts of a run lead to the parts of volumes that `points` name; the mounts hold as long as the descriptors.
pub(crate) fn apply(points: &[MountPoint], mounts: &mut [Mount]) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    for point in points.iter().filter(|point| !point.subpath.is_empty()) {
        let fd = open(point)?;
        if let Some(mount) = mounts.iter_mut().find(|mount| mount.destination == point.target) {
            mount.source = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        }
        held.push(fd);
    }
    Ok(held)
}
