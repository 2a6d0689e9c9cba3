//! The layout that systems have: every tree of version 1 below `/sys/fs/cgroup`, by the names of its controllers.
//!
//! Finding it takes one stat(2) for each tree. `/proc/self/mountinfo`, the other way, is printed by the kernel line by
//! line under its mount locks, and is long on a machine with many containers: a fifth of the time that a start takes.

use super::{Hierarchy, Mounts, Own, USUAL};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::fs::{AtFlags, CWD, FileType, statat, statfs};

const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// The root directory of a tree; kernfs numbers its directories from here. In a container another one is mounted.
const ROOT_INODE: u64 = 1;

/// Whether version 2 is mounted at `path`.
pub(super) fn is_v2(path: &str) -> bool {
    statfs(path).is_ok_and(|statfs| statfs.f_type as u64 == CGROUP2_MAGIC)
}

/// The trees that the calling process is in, if all of them are where they usually are.
pub(super) fn detect(own: &Own) -> Option<Mounts> {
    let of_version_1 = own.iter().filter(|(controllers, _)| !controllers.is_empty());
    let hierarchies: Vec<Hierarchy> =
        of_version_1.map(|(controllers, _)| hierarchy(controllers)).collect::<Option<_>>()?;
    let unified = format!("{USUAL}/unified");
    let unified = Some(unified).filter(|path| hierarchies.len() < own.len() && is_v2(path));
    (!hierarchies.is_empty()).then(|| Mounts::V1 { hierarchies, unified, own: Some(own.clone()) })
}

fn hierarchy(controllers: &str) -> Option<Hierarchy> {
    let mount = format!("{USUAL}/{}", controllers.strip_prefix("name=").unwrap_or(controllers));
    let stat = statat(CWD, &*mount, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_root = FileType::from_raw_mode(stat.st_mode).is_dir() && stat.st_ino == ROOT_INODE;
    let controllers: Vec<String> = controllers.split(',').map(ToString::to_string).collect();
    is_root.then(|| Hierarchy { controllers, mount, root: "/".to_string() })
}
