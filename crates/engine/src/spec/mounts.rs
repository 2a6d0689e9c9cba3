//! Mounts that a user and an image ask for, resolved to paths of the host; and all mounts of a container in order.

use crate::{
    Engine, Error, Result,
    images::Image,
    key::Key,
    record::{EngineFields, MountKind, MountPoint, VolumeDevice},
    request::{CreateContainer, MountRequest, MountSource, NamespaceMode},
    shim::bundle::Bundle,
    volumes::{CreateVolume, Pins, Volume},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path},
};
use tare_types::{ErrorKind, spec::Mount};

/// Options of tmpfs mounts unless the user says otherwise (Docker's).
const TMPFS: [&str; 3] = ["noexec", "nosuid", "nodev"];

/// Resolves what a request and its image ask for: volumes are made and pinned, bind sources checked.
pub(crate) async fn resolve(
    engine: &Engine,
    request: &CreateContainer,
    image: &Image,
    pins: &mut Pins,
) -> Result<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> = Vec::new();
    for text in &request.volumes_from {
        points.extend(from_container(engine, request, text)?);
    }
    let mut targets = BTreeSet::new();
    for mount in &request.mounts {
        let target = clean(&mount.target)?;
        if !targets.insert(target.clone()) {
            return Err(invalid("mount point", &target, "duplicate mount point"));
        }
        points.retain(|point| point.target != target);
        points.push(one(engine, mount, target, pins).await?);
    }
    for target in image.config.config.volumes.keys() {
        let target = clean(target)?;
        if points.iter().any(|point| point.target == target) {
            continue;
        }
        let volume = engine.volumes().create_for_container(CreateVolume::default(), pins).await?;
        points.push(of_volume(volume, target, true, String::new()));
    }
    Ok(points)
}

fn from_container(engine: &Engine, request: &CreateContainer, text: &str) -> Result<Vec<MountPoint>> {
    let (reference, mode) = text.split_once(':').unwrap_or((text, ""));
    if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
        return Err(invalid("mode", mode, &format!("invalid mode: {mode}")));
    }
    let other = engine.entry("use volumes of", &request.namespace, reference)?.record();
    let mut points = other.engine.as_ref().map(|fields| fields.mounts.clone()).unwrap_or_default();
    points.retain(|point| point.kind != MountKind::Tmpfs);
    for point in &mut points {
        point.read_write = point.read_write && mode != "ro";
        // It is the other's to remove.
        point.anonymous = false;
    }
    Ok(points)
}

async fn one(engine: &Engine, mount: &MountRequest, target: String, pins: &mut Pins) -> Result<MountPoint> {
    let propagation = mount.propagation.clone().unwrap_or_default();
    if !["", "private", "rprivate", "shared", "rshared", "slave", "rslave"].contains(&propagation.as_str()) {
        return Err(invalid("mount propagation", &propagation, "it is none that mount(8) knows"));
    }
    match &mount.source {
        MountSource::Bind { path, create, non_recursive } => {
            check_source(path, *create)?;
            let kind = if *non_recursive { "bind" } else { "rbind" };
            Ok(MountPoint {
                kind: MountKind::Bind,
                name: String::new(),
                source: path.clone(),
                target,
                driver: String::new(),
                subpath: String::new(),
                options: vec![kind.to_owned()],
                read_write: !mount.read_only,
                propagation: if propagation.is_empty() { "rprivate".into() } else { propagation },
                anonymous: false,
                device: None,
            })
        }
        MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
            let wanted = CreateVolume {
                name: name.clone(),
                driver: driver.clone(),
                options: driver_options.clone(),
                labels: labels.clone(),
            };
            let volume = engine.volumes().create_for_container(wanted, pins).await?;
            let mut point = of_volume(volume, target, name.is_none(), propagation);
            point.read_write = !mount.read_only;
            if *no_copy {
                point.options.push("nocopy".into());
            }
            if !subpath.is_empty() && point.device.as_ref().is_some_and(|d| d.directory().is_none()) {
                return Err(Error::unimplemented(
                    "mount",
                    "subpath of a volume that is a file system of its own",
                ));
            }
            point.subpath.clone_from(subpath);
            Ok(point)
        }
        MountSource::Tmpfs { size, mode, options } => {
            let mut all: Vec<String> = TMPFS.iter().map(|option| (*option).to_owned()).collect();
            for option in options {
                let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
                all.retain(|known| *known != opposite && known != option);
                all.push(option.clone());
            }
            all.extend(size.map(|size| format!("size={size}")));
            all.extend(mode.map(|mode| format!("mode={mode:o}")));
            Ok(MountPoint {
                kind: MountKind::Tmpfs,
                name: String::new(),
                source: String::new(),
                target,
                driver: String::new(),
                subpath: String::new(),
                options: all,
                read_write: !mount.read_only,
                propagation,
                anonymous: false,
                device: None,
            })
        }
    }
}

fn of_volume(volume: Volume, target: String, anonymous: bool, propagation: String) -> MountPoint {
    let option = |name: &str| volume.options.get(name).cloned();
    let device = option("device").map(|device| VolumeDevice {
        kind: option("type").unwrap_or_default(),
        device,
        options: option("o")
            .unwrap_or_default()
            .split(',')
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect(),
    });
    MountPoint {
        device,
        kind: MountKind::Volume,
        name: volume.name,
        source: volume.mountpoint.to_string_lossy().into_owned(),
        target,
        driver: volume.driver,
        subpath: String::new(),
        options: Vec::new(),
        read_write: true,
        propagation,
        anonymous,
    }
}

fn check_source(path: &str, create: bool) -> Result<()> {
    if !path.starts_with('/') {
        return Err(invalid("bind mount", path, "invalid mount path: it must be absolute"));
    }
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => fs::create_dir_all(path)
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "make", "bind source", path, "").with_source(error)
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(invalid("bind mount", path, "bind source path does not exist"))
        }
        Err(error) => {
            Err(Error::new(ErrorKind::InvalidArgument, "use", "bind mount", path, "").with_source(error))
        }
    }
}

/// A path in the container without `.`, `..` and double slashes; the root itself is refused.
fn clean(target: &str) -> Result<String> {
    let path = Path::new(target);
    if !path.is_absolute() {
        return Err(invalid("mount path", target, "invalid mount path: mount path must be absolute"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.extend(part.to_str()),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if parts.is_empty() {
        return Err(invalid("mount path", target, "invalid specification: destination can't be '/'"));
    }
    Ok(format!("/{}", parts.join("/")))
}

fn invalid(what: &'static str, name: &str, detail: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "use", what, name, detail)
}

/// Puts the daemon's files and the user's mounts behind the default ones: parents before children, and no default
/// where the user mounts something.
pub(crate) fn assemble(
    defaults: Vec<Mount>,
    fields: &EngineFields,
    directory: &Path,
    readonly: bool,
) -> Vec<Mount> {
    let mut own: Vec<Mount> = fields.mounts.iter().map(mount).collect();
    let taken: BTreeSet<String> = own.iter().map(|mount| mount.destination.clone()).collect();
    for (name, target) in crate::lifecycle::files::FILES {
        if !taken.contains(target) {
            let mode = if readonly { "ro" } else { "rw" };
            own.push(Mount {
                destination: target.to_owned(),
                kind: "bind".into(),
                source: directory.join(name).to_string_lossy().into_owned(),
                options: ["rbind", "rprivate", mode].map(Into::into).into(),
                ..Mount::default()
            });
        }
    }
    own.sort_by_key(|mount| (mount.destination.matches('/').count(), mount.destination.clone()));
    let mut all: Vec<Mount> =
        defaults.into_iter().filter(|mount| !taken.contains(&mount.destination)).collect();
    all.extend(own);
    all
}

fn mount(point: &MountPoint) -> Mount {
    let mode = if point.read_write { "rw" } else { "ro" }.to_owned();
    let destination = point.target.clone();
    if point.kind == MountKind::Tmpfs {
        let mut options = point.options.clone();
        options.push(mode);
        return Mount {
            destination,
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options,
            ..Mount::default()
        };
    }
    if let Some(device) = point.device.as_ref().filter(|device| device.directory().is_none()) {
        let mut options = device.options.clone();
        options.push(mode);
        let (kind, source) = (device.kind.clone(), device.device.clone());
        return Mount { destination, kind, source, options, ..Mount::default() };
    }
    let mut options: Vec<String> =
        point.options.iter().filter(|option| matches!(option.as_str(), "bind" | "rbind")).cloned().collect();
    if options.is_empty() {
        options.push("rbind".into());
    }
    let propagation = if point.propagation.is_empty() { "rprivate" } else { &point.propagation };
    options.extend([mode, propagation.to_owned()]);
    let directory = point.device.as_ref().and_then(VolumeDevice::directory);
    let source = directory.unwrap_or(&point.source).to_owned();
    Mount { destination, kind: "bind".into(), source, options, ..Mount::default() }
}

/// /dev/shm as the IPC mode wants it.
pub(crate) fn shared_memory(mode: &NamespaceMode, size: u64) -> Option<Mount> {
    let destination = "/dev/shm".to_owned();
    match mode {
        NamespaceMode::None => None,
        NamespaceMode::Host => Some(Mount {
            destination,
            kind: "bind".into(),
            source: "/dev/shm".into(),
            options: ["rbind", "rprivate"].map(Into::into).into(),
            ..Mount::default()
        }),
        _ => {
            let mut options: Vec<String> = ["nosuid", "noexec", "nodev", "mode=1777"].map(Into::into).into();
            options.push(format!("size={size}"));
            Some(Mount {
                destination,
                kind: "tmpfs".into(),
                source: "shm".into(),
                options,
                ..Mount::default()
            })
        }
    }
}

/// How often one container's IPC may be another's.
const IPC_DEPTH: usize = 8;

/// Puts the shared memory that goes with an IPC namespace in the place of an own one: that of a container others may
/// join, or of the one that is joined.
pub(crate) fn share_memory(
    engine: &Engine,
    key: &Key,
    mode: &NamespaceMode,
    mounts: &mut [Mount],
) -> Result<()> {
    let mut own = mounts.iter_mut().filter(|mount| mount.destination == "/dev/shm" && mount.source == "shm");
    let Some(mount) = own.next() else { return Ok(()) };
    let (mut key, mut mode) = (key.clone(), mode.clone());
    for _ in 0..IPC_DEPTH {
        let source = match mode {
            NamespaceMode::Shareable => Bundle::of(&engine.config().state, &key).shared_memory(),
            NamespaceMode::Host => "/dev/shm".into(),
            NamespaceMode::Container(reference) => {
                let other = engine.entry("share IPC of", &key.namespace, &reference)?;
                let record = other.record();
                key = other.key.clone();
                mode = record.engine.as_ref().map(|fields| fields.security.ipc.clone()).unwrap_or_default();
                continue;
            }
            NamespaceMode::Default | NamespaceMode::Private | NamespaceMode::None => return Ok(()),
        };
        mount.kind = "bind".into();
        mount.source = source.to_string_lossy().into_owned();
        mount.options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"].map(Into::into).into();
        return Ok(());
    }
    Err(invalid("IPC mode", key.id.as_str(), "containers join each other's IPC in a circle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cleaned_and_the_root_is_refused() {
        assert_eq!(clean("/a//b/../c/./d/").unwrap(), "/a/c/d");
        for bad in ["", "a", "/", "/..", "/a/.."] {
            assert!(clean(bad).is_err(), "{bad}");
        }
    }
}
