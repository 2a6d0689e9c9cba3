//! Device nodes and links of `/dev` (specification, "Default Devices" and "Dev symbolic links").

use super::{c_string, clean};
use crate::{Error, Result};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_types::spec::LinuxDevice;

const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;

/// One node.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    pub(crate) path: CString,
    pub(crate) mode: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) owner: Option<(u32, u32)>,
    /// The host's node to bind, in a user namespace.
    pub(crate) bind: Option<String>,
}

/// One symbolic link: target, path.
#[derive(Debug)]
pub(crate) struct LinkPlan {
    pub(crate) target: CString,
    pub(crate) path: CString,
}

const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Nodes of the configuration and the default ones it does not name, and the links.
pub(crate) fn plan(devices: &[LinuxDevice], bind: bool) -> Result<(Vec<DevicePlan>, Vec<LinkPlan>)> {
    let mut nodes = Vec::with_capacity(devices.len() + DEFAULT.len());
    for device in devices {
        nodes.push(plan_one(device, bind)?);
    }
    for (path, major, minor) in DEFAULT {
        if devices.iter().any(|device| clean(&device.path) == path) {
            continue;
        }
        nodes.push(DevicePlan {
            path: c_string(path, path)?,
            mode: CHARACTER | 0o666,
            major,
            minor,
            owner: None,
            bind: bind.then(|| path.to_string()),
        });
    }
    let link = |(target, path): (&str, &str)| {
        Ok(LinkPlan { target: c_string(target, target)?, path: c_string(path, path)? })
    };
    Ok((nodes, LINKS.into_iter().map(link).collect::<Result<_>>()?))
}

fn plan_one(device: &LinuxDevice, bind: bool) -> Result<DevicePlan> {
    let object = || format!("device {:?}", device.path);
    if !device.path.starts_with('/') {
        return Err(Error::invalid(object(), "its path is not absolute"));
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => CHARACTER,
        "b" => BLOCK,
        "p" => FIFO,
        kind => return Err(Error::invalid(object(), format!("type {kind:?} is not known"))),
    };
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| Error::invalid(object(), format!("{name} {value} is out of range")))
    };
    let (major, minor) =
        if kind == FIFO { (0, 0) } else { (number("major", device.major)?, number("minor", device.minor)?) };
    let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    let path = clean(&device.path);
    Ok(DevicePlan {
        mode: kind | (device.file_mode.unwrap_or(0o666) & 0o7777),
        major,
        minor,
        owner: (owner != (0, 0)).then_some(owner),
        bind: bind.then(|| path.clone()),
        path: c_string(&object(), &path)?,
    })
}
