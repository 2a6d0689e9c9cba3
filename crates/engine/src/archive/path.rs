//! Paths as a client of `docker cp` gives them, and what they mean below a root.

use super::PathStat;
use crate::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tare_sys::{Errno, RootDir};
use tare_types::{ErrorKind, Timestamp};

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(super) const NO_MODE: Mode = Mode::empty();
/// Links on the way to a target, as the kernel counts them.
const MAX_LINKS: usize = 40;

/// An existing file, by its directory and its name there.
#[derive(Debug)]
pub(super) struct Location {
    parent: OwnedFd,
    /// `.` for a directory that was followed to.
    name: Vec<u8>,
    /// Name of the first entry in an archive of it.
    archived: Vec<u8>,
    /// Clean and absolute.
    path: String,
    follows: bool,
}

impl Location {
    /// Finds a path. With a slash or `/.` at its end it is a directory, links included; otherwise a link at its end
    /// is meant itself.
    pub(super) fn find(root: &RootDir, given: &str) -> Result<Self> {
        let path = clean(given);
        let dot = given.ends_with("/.") || given == ".";
        let base = path.rsplit('/').next().unwrap_or_default().to_owned();
        let follows = dot || given.ends_with('/') || base.is_empty();
        if follows {
            let parent = root.open(&path, DIRECTORY, NO_MODE).map_err(|error| failed(&path, error))?;
            let archived = if dot || base.is_empty() { ".".to_owned() } else { base };
            return Ok(Self { parent, name: b".".to_vec(), archived: archived.into_bytes(), path, follows });
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let above = if above.is_empty() { "/" } else { above };
        let parent = root.open(above, DIRECTORY, NO_MODE).map_err(|error| failed(&path, error))?;
        rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed(&path, tare_sys::Error::new("fstatat", path.as_str(), errno)))?;
        let name = name.as_bytes().to_vec();
        Ok(Self { parent, name, archived: base.into_bytes(), path, follows })
    }

    pub(super) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn archived(&self) -> &[u8] {
        &self.archived
    }

    pub(super) fn shown(&self) -> &str {
        &self.path
    }

    pub(super) fn stat(&self, root: &RootDir) -> Result<PathStat> {
        let stat = rustix::fs::statat(&self.parent, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| {
                failed(&self.path, tare_sys::Error::new("fstatat", self.path.as_str(), errno))
            })?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let name = self.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
        Ok(PathStat {
            name: name.to_owned(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            modified_at: Timestamp::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            link_target: if is_link && !self.follows { link_target(root, &self.path) } else { String::new() },
        })
    }
}

/// An existing directory as a path below the root, for unpacking.
pub(super) fn directory(root: &RootDir, given: &str) -> Result<String> {
    let path = clean(given);
    match root.open(&path, DIRECTORY, NO_MODE) {
        Ok(_) => Ok(path),
        Err(error) if error.errno() == Errno::NOTDIR => Err(Error::new(
            ErrorKind::InvalidArgument,
            "unpack into",
            "path",
            path,
            "extraction point is not a directory",
        )),
        Err(error) => Err(failed(&path, error)),
    }
}

/// Absolute, without `.`, `..`, empty parts or a slash at the end; `..` stops at the root, as in Go's `path.Join`.
fn clean(given: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in given.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Where the links of a path lead, all of them. For the client's eyes: nothing is opened by the answer, and whoever
/// comes back with it is confined to the root again. A target that does not exist is named all the same.
fn link_target(root: &RootDir, path: &str) -> String {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let (mut done, mut links) = (String::new(), 0);
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = format!("{done}/{part}");
        match read_link(root, &done, &part) {
            Some(target) if links < MAX_LINKS => {
                links += 1;
                if target.starts_with('/') {
                    done.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
            _ => done = next,
        }
    }
    if done.is_empty() { "/".to_owned() } else { done }
}

fn read_link(root: &RootDir, above: &str, name: &str) -> Option<String> {
    let above = if above.is_empty() { "/" } else { above };
    let parent = root.open(above, OFlags::PATH | OFlags::DIRECTORY, NO_MODE).ok()?;
    rustix::fs::readlinkat(&parent, name, Vec::new()).ok()?.into_string().ok()
}

pub(super) fn failed(path: &str, error: tare_sys::Error) -> Error {
    let kind = match error.errno() {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::LOOP | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::PermissionDenied,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, "use", "path", path, "").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn root() -> (tempfile::TempDir, RootDir) {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("root");
        fs::create_dir_all(path.join("etc/real")).unwrap();
        fs::write(path.join("etc/real/file"), "data").unwrap();
        fs::write(top.path().join("secret"), "host").unwrap();
        symlink("/etc/real", path.join("abs")).unwrap();
        symlink("../../../../secret", path.join("etc/out")).unwrap();
        symlink("../..", path.join("up")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        symlink("real/absent", path.join("etc/dangling")).unwrap();
        let root = RootDir::open_ambient(path.to_str().unwrap()).unwrap();
        (top, root)
    }

    #[test]
    fn paths_are_clean_as_gos() {
        for (given, expected) in
            [("", "/"), ("/", "/"), ("a", "/a"), ("/a/../../b/", "/b"), ("//a/./b//", "/a/b"), ("/..", "/")]
        {
            assert_eq!(clean(given), expected, "{given}");
        }
    }

    #[test]
    fn a_link_is_itself_unless_a_slash_follows() {
        let (_top, root) = root();
        let stat = |path: &str| Location::find(&root, path).unwrap().stat(&root).unwrap();
        let link = stat("/abs");
        assert_eq!((link.mode & 0o170_000, link.link_target.as_str()), (0o120_000, "/etc/real"));
        let followed = stat("/abs/");
        assert_eq!((followed.mode & 0o170_000, followed.link_target.as_str()), (0o040_000, ""));
        assert_eq!((stat("/abs/file").size, stat("/abs/file").name.as_str()), (4, "file"));
        assert_eq!(stat("/").name, "/");
        assert_eq!(stat("/etc/dangling").link_target, "/etc/real/absent");
        let archived = |path: &str| Location::find(&root, path).unwrap().archived().to_vec();
        assert_eq!(
            (archived("/etc"), archived("/etc/"), archived("/etc/.")),
            (b"etc".to_vec(), b"etc".to_vec(), b".".to_vec())
        );
        assert_eq!(archived("/"), b".");
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let (_top, root) = root();
        let stat = |path: &str| Location::find(&root, path).and_then(|found| found.stat(&root));
        assert_eq!(stat("/etc/out").unwrap().link_target, "/secret", "within the root");
        for path in ["/up/secret", "/../secret", "/etc/../../secret", "/up/../secret", "/secret"] {
            assert_eq!(stat(path).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
        }
        assert_eq!(stat("/loop/x").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(directory(&root, "/etc/real/file").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(directory(&root, "/absent").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(directory(&root, "/up/etc").unwrap(), "/up/etc");
    }
}
