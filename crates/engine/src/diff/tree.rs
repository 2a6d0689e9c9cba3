//! The tree behind a list of mounts, as a directory to read.

use crate::{Error, Result};
use rustix::{
    fs::{CWD, Mode, OFlags},
    mount::MountAttrFlags,
};
use std::os::fd::OwnedFd;
use tare_types::{ErrorKind, Mount};

/// Options of an overlay mount that change how its directories are read.
const READING: [&str; 1] = ["userxattr"];

pub(super) fn failed<E>(path: &str) -> impl FnOnce(E) -> Error + '_
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| Error::new(ErrorKind::Internal, "open", "tree", path, "").with_source(source)
}

fn option<'a>(mount: &'a Mount, name: &str) -> Option<&'a str> {
    mount.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

/// The directories that a mount shows when nothing is written, topmost first.
fn stack(mount: &Mount) -> Option<Vec<&str>> {
    match mount.kind.as_str() {
        "bind" | "rbind" => Some(vec![&mount.source]),
        "overlay" => {
            let upper = option(mount, "upperdir").into_iter();
            let lower = option(mount, "lowerdir").unwrap_or_default().split(':').filter(|d| !d.is_empty());
            Some(upper.chain(lower).collect())
        }
        _ => None,
    }
}

/// The upper directory, when it alone is what differs: the upper mount is an overlay on exactly the lower mount's tree.
pub(super) fn upper_alone<'a>(lower: &[Mount], upper: &'a [Mount]) -> Option<&'a str> {
    let ([lower], [upper]) = (lower, upper) else { return None };
    let directory = option(upper, "upperdir").filter(|_| upper.kind == "overlay")?;
    let below = stack(upper)?;
    (below[1..] == stack(lower)?[..]).then_some(directory)
}

/// Opens a directory for reading.
pub(super) fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed(path))
}

/// The same of a mount that is attached nowhere.
pub(super) fn readable(mount: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::openat(mount, ".", flags, Mode::empty()).map_err(failed("a detached mount"))
}

/// The tree of the mounts; none for no mount.
pub(super) fn of_mounts(mounts: &[Mount]) -> Result<Option<OwnedFd>> {
    let mount = match mounts {
        [] => return Ok(None),
        [one] => one,
        more => {
            let detail = format!("a tree is made of one mount, not of {}", more.len());
            return Err(Error::new(ErrorKind::Unimplemented, "open", "tree", "", detail));
        }
    };
    let Some(directories) = stack(mount) else {
        let detail = format!("a mount of type {:?} cannot be compared", mount.kind);
        return Err(Error::new(ErrorKind::Unimplemented, "open", "tree", &mount.source, detail));
    };
    match directories[..] {
        [] => Err(Error::new(
            ErrorKind::InvalidArgument,
            "open",
            "tree",
            "",
            "the overlay mount has no directory",
        )),
        [one] => open(one).map(Some),
        _ => overlay(mount, &directories).map(Some),
    }
}

/// A read-only overlay of all directories: also of an upper one that a container is writing.
fn overlay(mount: &Mount, directories: &[&str]) -> Result<OwnedFd> {
    // One by one: a parameter of fsconfig is at most 255 bytes long.
    let mut options: Vec<(&str, Option<&str>)> =
        directories.iter().map(|path| ("lowerdir+", Some(*path))).collect();
    let kept = mount.options.iter().filter(|option| READING.contains(&option.as_str()));
    options.extend(kept.map(|option| (option.as_str(), None)));
    let made = tare_sys::mount::new_filesystem(
        "overlay",
        Some("overlay"),
        &options,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    );
    readable(&made.map_err(failed("overlay"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.into(),
            source: source.into(),
            target: String::new(),
            options: options.iter().map(|&o| o.to_owned()).collect(),
        }
    }

    #[test]
    fn only_an_overlay_on_the_very_same_tree_is_read_alone() {
        let over = |lower: &str| {
            vec![mount("overlay", "overlay", &["index=off", "workdir=/w", "upperdir=/u", lower])]
        };
        let one = [mount("bind", "/a", &["ro", "rbind"])];
        let two = [mount("overlay", "overlay", &["lowerdir=/b:/a"])];
        assert_eq!(upper_alone(&one, &over("lowerdir=/a")), Some("/u"));
        assert_eq!(upper_alone(&two, &over("lowerdir=/b:/a")), Some("/u"));
        assert_eq!(upper_alone(&one, &over("lowerdir=/b:/a")), None);
        assert_eq!(upper_alone(&[], &over("lowerdir=/a")), None);
        assert_eq!(upper_alone(&one, &one), None);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        assert!(of_mounts(&[]).unwrap().is_none());
        let error = of_mounts(&[mount("nfs", "host:/x", &[])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        assert!(error.to_string().contains("nfs"), "{error}");
        let bare = [mount("overlay", "overlay", &[])];
        assert_eq!(of_mounts(&bare).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let two = [mount("bind", "/a", &[]), mount("bind", "/b", &[])];
        assert_eq!(of_mounts(&two).unwrap_err().kind(), ErrorKind::Unimplemented);
    }
}
