//! The mounts of a configuration.

use super::{
    c_string, clean,
    options::{Attributes, Options},
};
use crate::{Error, Result};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::{LinuxIdMapping, Mount};

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Path below the root.
    pub(crate) destination: CString,
    pub(crate) kind: MountKind,
    /// `MS_*` after attaching and whether for all below; (0, false) to leave it.
    pub(crate) propagation: (u32, bool),
    /// Becomes read-only when everything below it has been made.
    pub(crate) readonly_later: bool,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum MountKind {
    Bind(BindPlan),
    Filesystem(FilesystemPlan),
    /// The container's cgroups; what that is depends on the host.
    Cgroup(Attributes),
    /// Changes attributes of what is there already.
    Remount(Attributes),
}

/// A file or directory of the host.
#[derive(Debug)]
pub(crate) struct BindPlan {
    pub(crate) source: String,
    pub(crate) recursive: bool,
    pub(crate) attributes: Attributes,
    /// Those of them that words asked for.
    pub(crate) explicit: Attributes,
    /// For the mount and all below it.
    pub(crate) recursive_attributes: Attributes,
    /// Whether for all below, user ids, group ids; without ids the map is that of the container's user namespace.
    pub(crate) idmap: Option<(bool, Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

/// A new instance of a file system.
#[derive(Debug)]
pub(crate) struct FilesystemPlan {
    pub(crate) kind: CString,
    pub(crate) options: Vec<(CString, Option<CString>)>,
    pub(crate) attributes: u32,
    /// No symbolic link may be on the way to the destination.
    pub(crate) strict: bool,
    pub(crate) copy_up: bool,
}

pub(crate) fn plan(mounts: &[Mount], bundle: &str, rootfs: &str, has_user: bool) -> Result<Vec<MountPlan>> {
    mounts.iter().map(|mount| plan_one(mount, bundle, rootfs, has_user)).collect()
}

/// Gives new file systems an SELinux label (mount(8), `context`). Those that the kernel labels by itself are left, and
/// one that has its own.
pub(super) fn label(mounts: &mut [MountPlan], label: &CString) {
    for mount in mounts {
        if let MountKind::Filesystem(new) = &mut mount.kind
            && !matches!(new.kind.to_bytes(), b"proc" | b"sysfs" | b"mqueue")
            && !new.options.iter().any(|(key, _)| key.as_c_str() == c"context")
        {
            new.options.push((c"context".into(), Some(label.clone())));
        }
    }
}

/// Some callers name a destination by its path on the host; runc takes the root file system's path off, too.
fn strip<'d>(destination: &'d str, rootfs: &str) -> &'d str {
    match destination.strip_prefix(rootfs.trim_end_matches('/')) {
        Some(rest) if rest.starts_with('/') && rootfs != "/" => rest,
        _ => destination,
    }
}

fn plan_one(mount: &Mount, bundle: &str, rootfs: &str, has_user: bool) -> Result<MountPlan> {
    let object = || format!("mount {:?}", mount.destination);
    if mount.destination.is_empty() {
        return Err(Error::invalid("mounts", "a destination is empty"));
    }
    // A relative destination is deprecated and means one below the root (runc warns).
    let destination = clean(strip(&mount.destination, rootfs));
    if destination == "/" {
        return Err(Error::invalid(object(), "the root cannot be mounted over"));
    }
    let options = Options::parse(&mount.options);
    let propagation = options.propagation.unwrap_or((0, false));
    let readonly = options.attributes.is_readonly();
    let is_bind = options.bind.is_some() || mount.kind == "bind";
    let readonly_later = readonly && !is_bind && (destination == "/dev" || mount.kind == "tmpfs");
    let kind = if options.remount {
        MountKind::Remount(options.attributes)
    } else if is_bind {
        MountKind::Bind(bind(mount, &options, bundle, has_user)?)
    } else if mount.kind == "cgroup" || mount.kind == "cgroup2" {
        MountKind::Cgroup(options.attributes)
    } else {
        MountKind::Filesystem(filesystem(mount, &options, &destination, readonly_later)?)
    };
    Ok(MountPlan { destination: c_string(&object(), &destination)?, kind, propagation, readonly_later })
}

fn bind(mount: &Mount, options: &Options, bundle: &str, has_user: bool) -> Result<BindPlan> {
    let object = || format!("mount {:?}", mount.destination);
    if mount.source.is_empty() {
        return Err(Error::invalid(object(), "a bind mount needs a source"));
    }
    if mount.source.contains('\0') {
        return Err(Error::invalid(object(), "its source holds a NUL byte"));
    }
    let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    let idmap = match options.idmap {
        None if !mapped => None,
        recursive => {
            let half = mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty();
            if half || (!mapped && !has_user) {
                return Err(Error::invalid(object(), "idmap needs uidMappings and gidMappings"));
            }
            let recursive = recursive.unwrap_or(false);
            Some((recursive, mount.uid_mappings.clone(), mount.gid_mappings.clone()))
        }
    };
    Ok(BindPlan {
        source: super::absolute(bundle, &mount.source),
        recursive: options.bind.unwrap_or(true),
        attributes: options.of_bind(),
        explicit: options.attributes,
        recursive_attributes: options.recursive,
        idmap,
    })
}

fn filesystem(
    mount: &Mount,
    options: &Options,
    destination: &str,
    readonly_later: bool,
) -> Result<FilesystemPlan> {
    let object = || format!("mount {:?}", mount.destination);
    if mount.kind.is_empty() {
        return Err(Error::invalid(object(), "it has neither a type nor a bind option"));
    }
    let virtual_tree = matches!(mount.kind.as_str(), "proc" | "sysfs");
    if mount.kind == "proc" && destination != "/proc" && destination.starts_with("/proc/") {
        // Below /proc a second instance would hide what is masked there.
        return Err(Error::invalid(object(), "a procfs cannot be mounted inside /proc"));
    }
    let attributes = if readonly_later { options.attributes.without_readonly() } else { options.attributes };
    let mut data = Vec::with_capacity(options.data.len() + 1);
    let source = if mount.source.is_empty() { &mount.kind } else { &mount.source };
    data.push((c_string("source", "source")?, Some(c_string(&object(), source)?)));
    for (key, value) in &options.data {
        let value = value.as_ref().map(|value| c_string(&object(), value)).transpose()?;
        data.push((c_string(&object(), key)?, value));
    }
    // On a real disk the file system itself must not be written; the others share one instance or have no disk.
    let on_disk = !matches!(mount.kind.as_str(), "proc" | "sysfs" | "mqueue" | "devpts" | "tmpfs");
    if attributes.is_readonly() && on_disk {
        data.push((c_string("ro", "ro")?, None));
    }
    Ok(FilesystemPlan {
        kind: c_string(&object(), &mount.kind)?,
        options: data,
        attributes: attributes.set as u32,
        strict: virtual_tree,
        copy_up: options.copy_up,
    })
}

impl MountPlan {
    pub(crate) fn is_idmapped(&self) -> bool {
        matches!(&self.kind, MountKind::Bind(bind) if bind.idmap.is_some())
    }

    /// How messages name it.
    pub(crate) fn name(&self) -> String {
        let destination = self.destination.to_string_lossy();
        match &self.kind {
            MountKind::Bind(bind) => format!("{:?} to rootfs at {destination:?}", bind.source),
            MountKind::Filesystem(new) => {
                format!("{:?} to rootfs at {destination:?}", new.kind.to_string_lossy())
            }
            MountKind::Cgroup(_) => format!("\"cgroup\" to rootfs at {destination:?}"),
            MountKind::Remount(_) => destination.to_string(),
        }
    }
}
