//! Mounts: `Binds`, `Mounts`, `Tmpfs` and `Volumes` of a request become one list; resolved ones are reported.

use crate::error::ApiError;
use crate::query::quote;
use crate::wire::StringMap;
use crate::wire::config::Config;
use crate::wire::host_config::HostConfig;
use crate::wire::mount::{Mount, MountPoint, TmpfsOptions};
use std::collections::{BTreeMap, BTreeSet};
use tare_engine::record::{self, MountKind};
use tare_engine::request::{MountRequest, MountSource};

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// All mounts of a request; a target may occur once among binds, mounts and tmpfs.
pub(crate) fn to_requests(config: &Config, host: &HostConfig) -> Result<Vec<MountRequest>, ApiError> {
    let mut requests = Vec::new();
    for bind in host.binds.iter().flatten() {
        requests.push(parse_bind(bind, &host.volume_driver)?);
    }
    for mount in host.mounts.iter().flatten() {
        requests.push(parse_mount(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        requests.push(parse_tmpfs(target, options)?);
    }
    let mut targets = BTreeSet::new();
    for request in &requests {
        if !targets.insert(request.target.clone()) {
            return Err(ApiError::bad_parameter(format!("Duplicate mount point: {}", request.target)));
        }
    }
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let clean = clean_target(target).map_err(|error| {
            error.map_message(|why| format!("invalid volume specification: '{target}': {why}"))
        })?;
        // A volume of the configuration gives way to a mount at the same place.
        if targets.insert(clean.clone()) {
            requests.push(anonymous(clean, &host.volume_driver));
        }
    }
    Ok(requests)
}

fn anonymous(target: String, driver: &str) -> MountRequest {
    MountRequest { source: volume(None, driver), target, read_only: false, propagation: None }
}

fn volume(name: Option<&str>, driver: &str) -> MountSource {
    MountSource::Volume {
        name: name.map(ToOwned::to_owned),
        driver: driver.to_owned(),
        driver_options: BTreeMap::new(),
        labels: BTreeMap::new(),
        no_copy: false,
        subpath: String::new(),
    }
}

/// `/host:/container[:mode]` or `volume:/container[:mode]`.
fn parse_bind(text: &str, driver: &str) -> Result<MountRequest, ApiError> {
    let invalid = || ApiError::bad_parameter(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match parts.as_slice() {
        ["", ..] => return Err(invalid()),
        [target] => (None, *target, ""),
        [_, mode] if Mode::parse(mode).is_some() => return Err(invalid()),
        [source, target] => (Some(*source), *target, ""),
        [source, target, mode] => (Some(*source), *target, *mode),
        _ => return Err(invalid()),
    };
    let mode = Mode::parse(mode).ok_or_else(|| ApiError::bad_parameter(format!("invalid mode: {mode}")))?;
    let target = clean_target(target).map_err(|error| {
        let kind = if source.is_some_and(|source| source.starts_with('/')) { "bind" } else { "volume" };
        error.map_message(|why| {
            format!("invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}")
        })
    })?;
    let source = match source {
        Some(path) if path.starts_with('/') => {
            MountSource::Bind { path: clean(path), create: true, non_recursive: false }
        }
        name => match volume(name, driver) {
            MountSource::Volume { name, driver, driver_options, labels, subpath, .. } => {
                MountSource::Volume { name, driver, driver_options, labels, no_copy: mode.no_copy, subpath }
            }
            other => other,
        },
    };
    Ok(MountRequest { source, target, read_only: mode.read_only, propagation: mode.propagation })
}

/// The third part of a bind: options separated by commas, one of each kind.
#[derive(Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<String>,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        let mut mode = Self::default();
        let mut seen = BTreeSet::new();
        for option in text.split(',').filter(|_| !text.is_empty()) {
            let kind = match option {
                "ro" | "rw" => {
                    mode.read_only = option == "ro";
                    "access"
                }
                "nocopy" => {
                    mode.no_copy = true;
                    "copy"
                }
                // SELinux labels and consistency are taken and mean nothing where they do not exist, as in dockerd.
                "z" | "Z" => "label",
                "consistent" | "cached" | "delegated" => "consistency",
                other if PROPAGATIONS.contains(&other) => {
                    mode.propagation = Some(other.to_owned());
                    "propagation"
                }
                _ => return None,
            };
            if !seen.insert(kind) {
                return None;
            }
        }
        Some(mode)
    }
}

/// One entry of `Mounts`.
fn parse_mount(mount: &Mount) -> Result<MountRequest, ApiError> {
    let invalid = |why: String| {
        ApiError::bad_parameter(format!("invalid mount config for type {}: {why}", quote(&mount.kind)))
    };
    let target = clean_target(&mount.target).map_err(|error| invalid(error.message().to_owned()))?;
    let allowed: &[&str] = match mount.kind.as_str() {
        "bind" => &["BindOptions"],
        "volume" => &["VolumeOptions"],
        "tmpfs" => &["TmpfsOptions"],
        "image" => return Err(ApiError::not_implemented("mounts of type \"image\"")),
        _ => return Err(invalid("mount type unknown".to_owned())),
    };
    let given = [
        ("BindOptions", mount.bind_options.is_some()),
        ("VolumeOptions", mount.volume_options.is_some()),
        ("ImageOptions", mount.image_options.is_some()),
        ("TmpfsOptions", mount.tmpfs_options.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
        return Err(invalid(format!("field {name} must not be specified")));
    }
    let mut propagation = None;
    let source = match mount.kind.as_str() {
        "bind" => bind_source(mount, &mut propagation).map_err(invalid)?,
        "volume" => volume_source(mount)?,
        _ => tmpfs_source(mount).map_err(invalid)?,
    };
    Ok(MountRequest { source, target, read_only: mount.read_only, propagation })
}

fn bind_source(mount: &Mount, propagation: &mut Option<String>) -> Result<MountSource, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() {
        if !PROPAGATIONS.contains(&options.propagation.as_str()) {
            return Err(format!("invalid propagation mode: {}", options.propagation));
        }
        *propagation = Some(options.propagation);
    }
    let create = options.create_mountpoint;
    Ok(MountSource::Bind { path: clean(&mount.source), create, non_recursive: options.non_recursive })
}

fn volume_source(mount: &Mount) -> Result<MountSource, ApiError> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if !is_local(&options.subpath) {
        return Err(ApiError::bad_parameter(
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ));
    }
    let name = Some(mount.source.clone()).filter(|name| !name.is_empty());
    if mount.read_only && name.is_none() {
        return Err(ApiError::bad_parameter(
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ));
    }
    let driver = options.driver_config.unwrap_or_default();
    Ok(MountSource::Volume {
        name,
        driver: driver.name,
        driver_options: driver.options.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
        no_copy: options.no_copy,
        subpath: options.subpath,
    })
}

/// Whether a path stays below where it begins (Go's `filepath.IsLocal`); empty means there.
fn is_local(path: &str) -> bool {
    let mut depth = 0i32;
    let steps = path.split('/').map(|part| match part {
        "" | "." => 0,
        ".." => -1,
        _ => 1,
    });
    !path.starts_with('/')
        && steps.into_iter().all(|step| {
            depth += step;
            depth >= 0
        })
}

fn tmpfs_source(mount: &Mount) -> Result<MountSource, String> {
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".to_owned());
    }
    let TmpfsOptions { size_bytes, mode, options } = mount.tmpfs_options.clone().unwrap_or_default();
    let mut flags = Vec::new();
    for option in options.into_iter().flatten() {
        match option.as_slice() {
            [name] if name == "exec" || name == "noexec" => flags.push(name.clone()),
            [] | [_, _, _, ..] => return Err("invalid option array length".to_owned()),
            [name, ..] => return Err(format!("invalid option: {name}")),
        }
    }
    let size = u64::try_from(size_bytes).ok().filter(|size| *size > 0);
    Ok(MountSource::Tmpfs { size, mode: Some(mode).filter(|mode| *mode != 0), options: flags })
}

/// `--tmpfs /path:options`: the options of mount(8), size and mode picked out.
fn parse_tmpfs(target: &str, text: &str) -> Result<MountRequest, ApiError> {
    let target = clean_target(target)?;
    let (mut size, mut mode, mut read_only, mut options) = (None, None, false, Vec::new());
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let invalid = || ApiError::bad_parameter(format!("invalid tmpfs option {}", quote(option)));
        match option.split_once('=') {
            Some(("size", value)) => match parse_size(value) {
                Some(bytes) => size = Some(bytes),
                // A share of the memory: the kernel reads it.
                None if value.ends_with('%') => options.push(option.to_owned()),
                None => return Err(invalid()),
            },
            Some(("mode", value)) => mode = Some(u32::from_str_radix(value, 8).map_err(|_| invalid())?),
            _ if option == "ro" => read_only = true,
            _ if is_tmpfs_option(option) => options.push(option.to_owned()),
            _ => {
                let quoted = quote(option);
                return Err(ApiError::bad_parameter(format!("invalid tmpfs option [{quoted}]")));
            }
        }
    }
    Ok(MountRequest {
        source: MountSource::Tmpfs { size, mode, options },
        target,
        read_only,
        propagation: None,
    })
}

/// Whether mount(8) knows the option for a tmpfs (dockerd's list).
fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 26] = [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "rw",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "bind",
        "rbind",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "defaults",
        "noswap",
        "huge",
    ];
    match option.split_once('=') {
        Some((name, value)) => {
            matches!(name, "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" | "huge") && !value.is_empty()
        }
        None => FLAGS.contains(&option) || PROPAGATIONS.contains(&option) || matches!(option, "unbindable"),
    }
}

/// `64m`, `1g`, `1048576`: bytes.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// An absolute path that is not the root, without `.`, `..` and doubled slashes.
fn clean_target(target: &str) -> Result<String, ApiError> {
    if target.is_empty() {
        return Err(ApiError::bad_parameter("field Target must not be empty"));
    }
    if !target.starts_with('/') {
        let message = format!("invalid mount path: '{target}' mount path must be absolute");
        return Err(ApiError::bad_parameter(message));
    }
    match clean(target).as_str() {
        "/" => Err(ApiError::bad_parameter("invalid specification: destination can't be '/'")),
        cleaned => Ok(cleaned.to_owned()),
    }
}

/// Go's `path.Clean` of an absolute path.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A resolved mount as `inspect` shows it. `modes` holds, by target, what the client wrote after the last colon.
pub(crate) fn from_mount_point(mount: &record::MountPoint, modes: &StringMap) -> MountPoint {
    let (kind, default_mode) = match mount.kind {
        MountKind::Bind => ("bind", ""),
        MountKind::Volume if mount.anonymous => ("volume", ""),
        // dockerd relabels volumes unless told otherwise, and shows it.
        MountKind::Volume => ("volume", "z"),
        MountKind::Tmpfs => ("tmpfs", ""),
    };
    let propagation = match mount.kind {
        MountKind::Bind if mount.propagation.is_empty() => "rprivate",
        _ => mount.propagation.as_str(),
    };
    MountPoint {
        kind: kind.to_owned(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.target.clone(),
        driver: mount.driver.clone(),
        mode: modes.get(&mount.target).map_or(default_mode, String::as_str).to_owned(),
        rw: mount.read_write,
        propagation: propagation.to_owned(),
    }
}

/// The modes of the binds of a request by target: all that a bind says after its second colon.
pub(crate) fn bind_modes(host: &HostConfig) -> StringMap {
    let mut modes = StringMap::new();
    for bind in host.binds.iter().flatten() {
        let mut parts = bind.splitn(3, ':');
        if let (Some(source), Some(target)) = (parts.next(), parts.next()) {
            let mode = parts.next().unwrap_or(if source.starts_with('/') { "" } else { "z" });
            modes.insert(clean(target), mode.to_owned());
        }
    }
    modes
}

#[cfg(test)]
mod tests;
