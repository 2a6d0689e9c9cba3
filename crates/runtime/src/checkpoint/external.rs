//! What a container has from outside of itself, as CRIU is told: bind mounts, devices, masked files, namespaces.
//!
//! CRIU knows an external mount by a name, which is its place in the container here; at the restore the name is given a
//! path of the host. Both sides must find the same place: it is looked up in the root file system alone, where a
//! component that is missing stands for itself.

use super::{message::Message, rpc};
use crate::{
    During, Error, Result,
    cgroup::Cgroup,
    plan::{Kind, MountKind, Plan},
    prepare,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    fs::{FileType, Mode, OFlags, makedev},
};
use tare_sys::{Context, RootDir};

/// A mount from outside.
#[derive(Debug)]
struct Mount {
    /// In the container; its name, too.
    place: String,
    /// On the host.
    source: String,
}

/// Refuses what CRIU would bring back otherwise than it was.
pub(super) fn check(plan: &Plan) -> Result<()> {
    if plan.caller.ordinary {
        return Err(Error::unimplemented("checkpoint and restore for an ordinary user"));
    }
    if !plan.namespaces.has(Kind::Mount) {
        return Err(Error::unimplemented("checkpoint and restore without a mount namespace"));
    }
    match plan.mounts.iter().find(|mount| mount.is_idmapped()) {
        Some(mount) => {
            let name = mount.destination.to_string_lossy();
            Err(Error::unimplemented(format!("checkpoint and restore with the idmapped mount {name:?}")))
        }
        None => Ok(()),
    }
}

/// Names the mounts of a container that is dumped.
pub(super) fn name_for_dump(options: &mut Message, plan: &Plan, cgroup: &Cgroup, pid: i32) -> Result<()> {
    let named = mounts(plan, cgroup)?;
    for mount in &named {
        options.nested(rpc::option::EXT_MNT, rpc::pair(&mount.place, &mount.place));
    }
    let root = RootDir::open_ambient(&format!("/proc/{pid}/root")).during("open the container's root")?;
    for masked in &plan.masked {
        let path = masked.to_string_lossy();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        // A directory is masked by a file system of the container; what is missing is not masked.
        let is_file = root.open(&path, OFlags::PATH, Mode::empty()).is_ok()
            && root.open(&path, flags, Mode::empty()).is_err();
        if is_file {
            options.nested(rpc::option::EXT_MNT, rpc::pair(&path, NULL));
        }
    }
    name_devices(options, plan);
    Ok(())
}

/// Gives the names of a dump paths of this host.
pub(super) fn find_for_restore(options: &mut Message, plan: &Plan, cgroup: &Cgroup) -> Result<()> {
    for mount in mounts(plan, cgroup)? {
        options.nested(rpc::option::EXT_MNT, rpc::pair(&mount.place, &mount.source));
    }
    if !plan.masked.is_empty() {
        options.nested(rpc::option::EXT_MNT, rpc::pair(NULL, NULL));
    }
    name_devices(options, plan);
    Ok(())
}

/// Stands for the mounts over masked files.
const NULL: &str = "/dev/null";

fn name_devices(options: &mut Message, plan: &Plan) {
    // Nodes that the container made for itself are no mounts; only those of the host are found by this.
    for device in plan.devices.iter().filter_map(|device| device.bind.as_deref()) {
        options.nested(rpc::option::EXT_MNT, rpc::pair(device, device));
    }
}

fn mounts(plan: &Plan, cgroup: &Cgroup) -> Result<Vec<Mount>> {
    let root = RootDir::open_ambient(&plan.rootfs).during("open the root file system")?;
    let top = path_of(&root)?;
    let mut mounts = Vec::new();
    for mount in &plan.mounts {
        let destination = mount.destination.to_string_lossy();
        match &mount.kind {
            MountKind::Bind(bind) => {
                mounts.push(Mount { place: place(&root, &top, &destination)?, source: bind.source.clone() });
            }
            // In a cgroup namespace, and in version 2, these are file systems for CRIU.
            MountKind::Cgroup(_) if !cgroup.is_v2() && !plan.namespaces.is_new(Kind::Cgroup) => {
                let below = place(&root, &top, &destination)?;
                for (name, directory) in prepare::cgroup_places(cgroup) {
                    mounts.push(Mount { place: format!("{below}/{name}"), source: directory.to_string() });
                }
            }
            _ => {}
        }
    }
    Ok(mounts)
}

/// Where a destination is in the root file system, symbolic links followed.
fn place(root: &RootDir, top: &str, destination: &str) -> Result<String> {
    let Some((parent, name)) = destination.trim_end_matches('/').rsplit_once('/') else {
        return Ok(String::new());
    };
    match root.open(destination, OFlags::PATH, Mode::empty()) {
        Ok(found) => {
            let path = path_of(&found)?;
            let below = path.strip_prefix(top.trim_end_matches('/')).filter(|below| below.starts_with('/'));
            Ok(below.unwrap_or(destination).to_string())
        }
        Err(_) => Ok(format!("{}/{name}", place(root, top, parent)?)),
    }
}

/// The path of the host by which the kernel knows an open file.
pub(super) fn path_of(fd: impl rustix::fd::AsFd) -> Result<String> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let path = rustix::fs::readlink(link.as_str(), Vec::new())
        .on("readlink", || link.as_str())
        .during("find a path")?;
    path.into_string().map_err(|_| Error::invalid("root.path", "a path below it is not UTF-8"))
}

/// Names the namespaces that the container was given: CRIU leaves them out of the dump.
pub(super) fn name_namespaces(options: &mut Message, plan: &Plan, pid: i32) -> Result<()> {
    for (kind, _) in plan.namespaces.joined() {
        if let Some(key) = key(*kind) {
            let path = format!("/proc/{pid}/ns/{}", kind.file());
            let stat =
                rustix::fs::stat(path.as_str()).on("stat", || path.as_str()).during("find a namespace")?;
            options.text(rpc::option::EXTERNAL, &format!("{}[{}]:{key}", kind.file(), stat.st_ino));
        }
    }
    Ok(())
}

/// Gives the restored processes the namespaces that the configuration names: those of [`name_namespaces`] by
/// descriptors, the others by paths.
pub(super) fn find_namespaces(
    options: &mut Message,
    plan: &Plan,
    opened: &[(Kind, BorrowedFd<'_>)],
) -> Result<()> {
    for (kind, path) in plan.namespaces.joined() {
        let fd = opened.iter().find(|(opened, _)| opened == kind).map(|(_, fd)| fd.as_raw_fd());
        match (key(*kind), fd) {
            (Some(key), Some(fd)) => options.nested(rpc::option::INHERIT_FD, rpc::inherit(key, fd)),
            _ if *kind == Kind::Cgroup => {
                return Err(Error::unimplemented("restore into a cgroup namespace that exists"));
            }
            _ => options.nested(rpc::option::JOIN_NS, rpc::pair(kind.file(), path)),
        }
    }
    Ok(())
}

/// What CRIU and the images call an external namespace (runc's words: an image of either is restored by both).
fn key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Network => Some("extRootNetNS"),
        Kind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

/// The null devices of the host that the container's processes have as standard streams, by CRIU's names: a file of a
/// mount that the container does not have could not be dumped.
pub(super) fn null_devices(processes: &[i32], first: i32) -> Result<Vec<String>> {
    let mounts = tare_sys::file::read_text(&format!("/proc/{first}/mountinfo"), 16 << 20)
        .during("read the container's mounts")?;
    let has = |id: u32| mounts.lines().any(|line| line.split(' ').next() == Some(id.to_string().as_str()));
    let mut names = Vec::new();
    for file in processes.iter().flat_map(|pid| (0..3).map(move |number| (pid, number))) {
        let (pid, number) = file;
        // A process or a stream that is gone needs nothing.
        let Ok(stat) = rustix::fs::stat(format!("/proc/{pid}/fd/{number}").as_str()) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == makedev(1, 3);
        let Some(mount) = null.then(|| mount_of(*pid, number)).flatten() else { continue };
        let name = format!("{FILE}{mount:x}:{:x}]", stat.st_ino);
        if !has(mount) && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// How the names of [`null_devices`] begin.
pub(super) const FILE: &str = "file[";

fn mount_of(pid: i32, number: i32) -> Option<u32> {
    let info = tare_sys::file::read_once(&format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}
