//! Where this host has its cgroups, and their files.
//!
//! Version 1 has one tree per controller (or group of controllers), version 2 one tree for all; a hybrid host has
//! both and its limits are those of version 1. Paths here are the host's own and trusted: cgroup file systems hold
//! no symbolic links. Which limits a container gets is decided above.

pub mod device;
mod members;
mod place;
mod text;
pub mod usage;
mod usual;

pub use members::{children, processes};
pub use place::make;
pub use text::{flat, number, value_of};
pub use usage::Usage;

use crate::{Context, Errno, Error, Result, file};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Where systems mount the cgroup file systems.
const USUAL: &str = "/sys/fs/cgroup";
const MOUNTINFO_LIMIT: usize = 16 << 20;

/// The cgroups of a process: controller list (empty for version 2) and path.
pub type Own = Vec<(String, String)>;

/// One tree of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct` and so on as the mount options list them; a named tree as `name=systemd`.
    pub controllers: Vec<String>,
    /// Mount point.
    pub mount: String,
    /// Which directory of the tree is mounted there; `/` but in a container.
    pub root: String,
}

impl Hierarchy {
    /// Whether the controller is in this tree.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// The cgroup file systems of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounts {
    /// Version 1, alone or hybrid.
    V1 {
        /// The trees with controllers or a name.
        hierarchies: Vec<Hierarchy>,
        /// Mount point of version 2 beside them.
        unified: Option<String>,
        /// Where the process was, if that was asked on the way.
        own: Option<Own>,
    },
    /// Version 2 alone.
    V2 {
        /// Mount point.
        mount: String,
    },
}

impl Mounts {
    /// Finds them. On a host with version 2 this is one statfs(2).
    ///
    /// # Errors
    /// Of reading `/proc/self/mountinfo`; ENODEV when no cgroup file system is mounted.
    pub fn detect() -> Result<Self> {
        if usual::is_v2(USUAL) {
            return Ok(Self::V2 { mount: USUAL.to_string() });
        }
        if let Some(found) = own().ok().as_ref().and_then(usual::detect) {
            return Ok(found);
        }
        let text = file::read("/proc/self/mountinfo", MOUNTINFO_LIMIT)?;
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| Error::new("find", "cgroup file systems in /proc/self/mountinfo", Errno::NODEV))
    }

    /// Reads the form of `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Option<Self> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified: Option<String> = None;
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let mut fields = before.split(' ').skip(3);
            let (Some(root), Some(mount)) = (fields.next(), fields.next()) else { continue };
            let mut rest = after.split(' ');
            let (kind, options) = (rest.next(), rest.nth(1));
            let mount = unescape(mount);
            match (kind, options) {
                (Some("cgroup2"), _) => replace_unless_usual(&mut unified, mount),
                (Some("cgroup"), Some(options)) => {
                    let controllers = controllers(options);
                    let found = Hierarchy { controllers, mount, root: unescape(root) };
                    let same = hierarchies.iter_mut().find(|known| known.controllers == found.controllers);
                    match same {
                        // A tree may be mounted often: inside containers, or twice. The usual place wins.
                        Some(known) if !known.mount.starts_with(USUAL) => *known = found,
                        Some(_) => {}
                        None if found.controllers.is_empty() => {}
                        None => hierarchies.push(found),
                    }
                }
                _ => {}
            }
        }
        match (hierarchies.is_empty(), unified) {
            (false, unified) => Some(Self::V1 { hierarchies, unified, own: None }),
            (true, Some(mount)) => Some(Self::V2 { mount }),
            (true, None) => None,
        }
    }

    /// The directory of cgroup `path` (absolute, as in `/proc/self/cgroup`) for a controller; the mount's own
    /// directory for a path outside of what is mounted. `None` when the controller's tree is not mounted.
    pub fn directory(&self, controller: &str, path: &str) -> Option<String> {
        match self {
            Self::V2 { mount } => Some(join(mount, path)),
            Self::V1 { hierarchies, .. } => {
                let hierarchy = hierarchies.iter().find(|hierarchy| hierarchy.has(controller))?;
                Some(join(&hierarchy.mount, path))
            }
        }
    }

    /// Whether version 2 alone is mounted.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2 { .. })
    }
}

/// The cgroups of the calling process.
///
/// # Errors
/// Of reading `/proc/self/cgroup`.
pub fn own() -> Result<Own> {
    of("/proc/self/cgroup")
}

/// The cgroups that a file of the form of `/proc/<pid>/cgroup` lists.
///
/// # Errors
/// Of reading the file.
pub fn of(path: &str) -> Result<Own> {
    // One record, which the kernel gives in one piece; mostly a few hundred bytes.
    let text = match file::read_once(path) {
        Err(error) if error.errno() == Errno::FBIG => file::read_text(path, 1 << 20)?,
        text => text?,
    };
    let entry = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((controllers.to_string(), path.to_string()))
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// Moves the calling process, all threads of it, into a cgroup that exists: in every tree of version 1 that has it, or
/// that of version 2.
///
/// # Errors
/// ENOENT when no tree has it; write(2)'s.
pub fn enter(path: &str) -> Result<()> {
    let trees: Vec<String> = match Mounts::detect()? {
        Mounts::V2 { mount } => Vec::from([mount]),
        Mounts::V1 { hierarchies, .. } => hierarchies.into_iter().map(|tree| tree.mount).collect(),
    };
    let mut found = false;
    for tree in trees {
        match write(&join(&tree, path), "cgroup.procs", "0") {
            Ok(()) => found = true,
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(error),
        }
    }
    match found {
        true => Ok(()),
        false => Err(Error::new("enter cgroup", path, Errno::NOENT)),
    }
}

/// Joins a mount point and an absolute cgroup path.
pub fn join(mount: &str, path: &str) -> String {
    format!("{}/{}", mount.trim_end_matches('/'), path.trim_matches('/')).trim_end_matches('/').to_string()
}

/// Reads a file of a cgroup directory as text.
///
/// # Errors
/// open(2)'s and read(2)'s with the whole path.
pub fn read(directory: &str, name: &str) -> Result<String> {
    file::read_text(&format!("{directory}/{name}"), 1 << 20)
}

/// As [`read`] for a file of one value, which the kernel gives in one piece.
///
/// # Errors
/// As [`read`]'s.
pub fn read_value(directory: &str, name: &str) -> Result<String> {
    file::read_once(&format!("{directory}/{name}"))
}

/// A file of one value that is read and then perhaps written.
#[derive(Debug)]
pub struct ValueFile {
    path: String,
    fd: rustix::fd::OwnedFd,
}

impl ValueFile {
    /// Opens a file of a cgroup directory.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(directory: &str, name: &str) -> Result<Self> {
        let path = format!("{directory}/{name}");
        let fd = file::open(&path, rustix::fs::OFlags::RDWR, 0)?;
        Ok(Self { path, fd })
    }

    /// The value; once.
    ///
    /// # Errors
    /// As [`read_value`]'s.
    pub fn read(&self) -> Result<String> {
        file::read_once_fd(&self.fd, &self.path)
    }

    /// Writes another one.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn write(&self, value: &str) -> Result<()> {
        file::write_fd(&self.fd, value.as_bytes()).on("write", || format!("{} (value {value:?})", self.path))
    }
}

/// Writes a value to a file of a cgroup directory.
///
/// # Errors
/// open(2)'s and write(2)'s with path and value.
pub fn write(directory: &str, name: &str, value: &str) -> Result<()> {
    let path = format!("{directory}/{name}");
    let fd = file::open(&path, rustix::fs::OFlags::WRONLY, 0)?;
    file::write_fd(&fd, value.as_bytes()).on("write", || format!("{path} (value {value:?})"))
}

fn replace_unless_usual(known: &mut Option<String>, mount: String) {
    if !known.as_deref().is_some_and(|known| known.starts_with(USUAL)) {
        *known = Some(mount);
    }
}

/// The controllers and names among a mount's super options.
fn controllers(options: &str) -> Vec<String> {
    const NOT_CONTROLLERS: [&str; 9] = [
        "rw",
        "ro",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "seclabel",
        "favordynmods",
        "none",
    ];
    let is_controller = |option: &&str| {
        !option.is_empty() && !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent=")
    };
    options.split(',').filter(is_controller).map(ToString::to_string).collect()
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|digits| core::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = tail.get(if code.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
