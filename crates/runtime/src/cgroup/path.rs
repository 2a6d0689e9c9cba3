//! Where a container's cgroups are: `cgroupsPath` resolved as runc's cgroupfs driver does.

use super::CgroupOptions;
use crate::{During, Error, Result};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use tare_sys::cgroup::{self, Mounts};

/// Stands for the tree of version 2 beside those of version 1.
pub(super) const UNIFIED: &str = "unified";

/// The directory in every tree, by controller.
pub(super) fn resolve(mounts: &Mounts, options: &CgroupOptions<'_>) -> Result<BTreeMap<String, String>> {
    let wanted = if options.path.is_empty() { options.id } else { options.path };
    if wanted.contains('\0') {
        return Err(Error::invalid(wanted, "a cgroup path holds no zero byte"));
    }
    let own = match mounts {
        _ if wanted.starts_with('/') => Vec::new(),
        Mounts::V1 { own: Some(own), .. } => own.clone(),
        _ => cgroup::own().during("find own cgroup")?,
    };
    let clean = clean(wanted);
    match mounts {
        Mounts::V2 { mount } => {
            let own = own.iter().find(|(controllers, _)| controllers.is_empty());
            // The caller's own cgroup holds processes, so that no controller can be enabled below it: beside it.
            let above = own.map_or("", |(_, path)| path.rsplit_once('/').map_or("", |(above, _)| above));
            let path = format!("{}/{clean}", above.trim_end_matches('/'));
            Ok(BTreeMap::from([(String::new(), cgroup::join(mount, &path))]))
        }
        Mounts::V1 { hierarchies, unified, .. } => {
            let mut paths = BTreeMap::new();
            for hierarchy in hierarchies {
                let own = own.iter().find(|(list, _)| list.split(',').any(|name| hierarchy.has(name)));
                let above = own.map_or("", |(_, path)| below_root(path, &hierarchy.root));
                let path = format!("{}/{clean}", above.trim_end_matches('/'));
                let directory = cgroup::join(&hierarchy.mount, &path);
                for controller in &hierarchy.controllers {
                    paths.insert(controller.clone(), directory.clone());
                }
            }
            // Version 2 beside it has no limits to offer, but programs look for the container's place there (as runc).
            if let Some(mount) = unified {
                let own = own.iter().find(|(controllers, _)| controllers.is_empty());
                let above = own.map_or("", |(_, path)| path.trim_end_matches('/'));
                paths.insert(UNIFIED.to_string(), cgroup::join(mount, &format!("{above}/{clean}")));
            }
            Ok(paths)
        }
    }
}

/// Directories under the container's own by controller: `path` is for all, `cpu,cpuacct:path` for some.
pub(super) fn places<'a>(
    below: &'a [String],
    paths: &'a BTreeMap<String, String>,
) -> Result<BTreeMap<&'a str, String>> {
    let mut places = BTreeMap::new();
    for entry in below {
        let Some((controllers, place)) = entry.split_once(':') else {
            let place = self::below(entry)?;
            places.extend(paths.keys().map(|controller| (controller.as_str(), place.clone())));
            continue;
        };
        for controller in controllers.split(',') {
            let found = paths.keys().find(|known| {
                !known.is_empty() && (*known == controller || known.strip_prefix("name=") == Some(controller))
            });
            let unknown = || Error::invalid(format!("unknown controller {controller:?} in {entry:?}"), "");
            places.insert(found.ok_or_else(unknown)?.as_str(), self::below(place)?);
        }
    }
    Ok(places)
}

/// Checks a directory name under the container's own; empty or `/name`.
pub(super) fn below(name: &str) -> Result<String> {
    if name.split('/').any(|part| part == "..") || name.contains('\0') {
        return Err(Error::invalid("bad sub cgroup path", format!("{name} is not a sub cgroup path")));
    }
    let clean = clean(name);
    Ok(if clean.is_empty() { clean } else { format!("/{clean}") })
}

/// A path that cannot leave where it starts: `..` goes up at most to there, as `filepath.Clean("/" + path)` does.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The part of an own path below what is mounted; in a container the mount may show only its own directory.
fn below_root<'a>(own: &'a str, root: &str) -> &'a str {
    match own.strip_prefix(root.trim_end_matches('/')) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => "",
    }
}

/// The directory above, if it is still inside a cgroup file system.
pub(super) fn parent(directory: &str) -> Option<String> {
    directory.rsplit_once('/').map(|(above, _)| above.to_string()).filter(|above| !above.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (given, expected) in
            [("/a/b", "a/b"), ("a//b/./c", "a/b/c"), ("../../x", "x"), ("/a/../../..", ""), ("a/../b", "b")]
        {
            assert_eq!(clean(given), expected, "{given}");
        }
        assert_eq!(below("x/y").unwrap(), "/x/y");
        assert_eq!(below("/").unwrap(), "");
        assert!(below("../y").is_err());
    }

    #[test]
    fn places_by_controller() {
        let paths = ["cpu", "cpuacct", "memory", "name=systemd"];
        let paths = paths.into_iter().map(|name| (name.to_string(), "/x".to_string())).collect();
        let of = |entries: &[&str]| {
            let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
            places(&entries, &paths).map(|found| {
                found.into_iter().map(|(name, place)| format!("{name}{place}")).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(of(&[]).unwrap(), "");
        assert_eq!(of(&["cpu,cpuacct:a", "systemd:/b"]).unwrap(), "cpu/a cpuacct/a name=systemd/b");
        assert_eq!(of(&["a", "memory:b"]).unwrap(), "cpu/a cpuacct/a memory/b name=systemd/a");
        assert!(of(&["other:a"]).unwrap_err().to_string().contains("unknown controller"));
        assert!(of(&["cpu:../a"]).is_err());
    }

    #[test]
    fn own_path_below_the_mount() {
        assert_eq!(below_root("/docker/abc/x", "/docker/abc"), "/x");
        assert_eq!(below_root("/docker/abc", "/docker/abc"), "");
        assert_eq!(below_root("/docker/abcd", "/docker/abc"), "");
        assert_eq!(below_root("/user", "/"), "/user");
    }

    #[test]
    fn absolute_and_relative() {
        let mounts = Mounts::parse("30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n").unwrap();
        let options = CgroupOptions { path: "/a/../../b", id: "c1", resources: None, rootless: false };
        assert_eq!(resolve(&mounts, &options).unwrap()[""], "/cg/b");
        let options = CgroupOptions { path: "", ..options };
        assert!(resolve(&mounts, &options).unwrap()[""].ends_with("/c1"));
    }
}
