//! What a container has changed in its image (`docker diff`): the upper directory of its overlay beside the layers.
//!
//! Mount points that a start makes (`/proc`, `/etc/hosts`, …) are the daemon's, not the container's: they are not
//! told, nor a directory that only holds such.

use crate::{Engine, Error, Result, containers::Containers, record::ContainerRecord, stores::blocking};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, OwnedFd},
};
use tare_store::WhiteoutFormat;
use tare_types::{ErrorKind, Namespace, SnapshotKey};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Deeper trees are refused: each level holds a descriptor.
const MAX_DEPTH: usize = 512;
/// What a start makes for its mounts where the image has nothing.
const MADE: [&str; 11] = [
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute path in the container.
    pub path: String,
    /// What happened there.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is in the image, and different; or something below it is.
    Modified,
    /// It is not in the image.
    Added,
    /// It is in the image only.
    Deleted,
}

impl Containers {
    /// What a container has changed, by path.
    ///
    /// # Errors
    /// `NotFound`; `Unimplemented` with a snapshotter that keeps no changes of its own.
    pub async fn changes(&self, namespace: &Namespace, reference: &str) -> Result<Vec<Change>> {
        let record = self.engine.entry("compare", namespace, reference)?.record();
        let engine = self.engine.clone();
        blocking("compare container", move || of(&engine, &record)).await
    }
}

fn of(engine: &Engine, record: &ContainerRecord) -> Result<Vec<Change>> {
    let key = SnapshotKey::new(record.snapshot_key.as_str())?;
    let target = engine.stores().snapshotter(&record.snapshotter)?.apply_target(&record.namespace, &key)?;
    if !matches!(target.whiteouts, WhiteoutFormat::Overlay { .. }) {
        return Err(Error::unimplemented("compare", "container of a snapshotter without overlays"));
    }
    let mut walk = Walk { lowers: target.lowers, found: Vec::new() };
    let walked = walk.directory(&target.root, "", 0);
    walked.map_err(|errno| {
        Error::new(ErrorKind::Internal, "compare", "container", record.id.as_str(), "")
            .with_source(std::io::Error::from(errno))
    })?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Walk {
    /// Layers of the image, topmost first.
    lowers: Vec<OwnedFd>,
    found: Vec<Change>,
}

impl Walk {
    /// Notes what is below a directory of the upper tree.
    fn directory(&mut self, directory: &OwnedFd, prefix: &str, depth: usize) -> Result<(), Errno> {
        if depth >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        for name in names(directory)? {
            let path = match prefix {
                "" => name.to_string_lossy().into_owned(),
                prefix => format!("{prefix}/{}", name.to_string_lossy()),
            };
            let stat = match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone meanwhile: the container goes on.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            self.entry(directory, &name, path, &stat, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: String,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), Errno> {
        let below = self.below(&path);
        let kind = match (&below, is_whiteout(stat)) {
            (None, true) => return Ok(()),
            (Some(_), true) => ChangeKind::Deleted,
            (Some(_), false) => ChangeKind::Modified,
            (None, false) => ChangeKind::Added,
        };
        let at = self.found.len();
        self.found.push(Change { path: format!("/{path}"), kind });
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory {
            let opened = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())?;
            self.directory(&opened, &path, depth + 1)?;
        }
        let alone = self.found.len() == at + 1;
        let same = |lower: &Stat| {
            (lower.st_mode, lower.st_uid, lower.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
        };
        let only_passed_through = is_directory && below.as_ref().is_some_and(same);
        let made =
            kind == ChangeKind::Added && MADE.contains(&path.as_str()) && (is_directory || stat.st_size == 0);
        if alone && (only_passed_through || made) {
            self.found.truncate(at);
        }
        Ok(())
    }

    /// What the image has at a path.
    fn below(&self, path: &str) -> Option<Stat> {
        for lower in &self.lowers {
            match look(lower, path) {
                Look::Found(stat) => return Some(stat),
                Look::Hidden => return None,
                Look::Nothing => {}
            }
        }
        None
    }
}

/// What one layer says of a path.
enum Look {
    Found(Stat),
    /// It was deleted here, or something that is no directory or an opaque one stands above it.
    Hidden,
    Nothing,
}

fn look(layer: &OwnedFd, path: &str) -> Look {
    let mut directory: Option<OwnedFd> = None;
    let mut opaque = false;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let Ok(name) = CString::new(part) else { return Look::Nothing };
        let at = directory.as_ref().unwrap_or(layer);
        let stat = match rustix::fs::statat(at, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => return Look::Hidden,
            Ok(stat) => stat,
            Err(_) if opaque => return Look::Hidden,
            Err(_) => return Look::Nothing,
        };
        if parts.peek().is_none() {
            return Look::Found(stat);
        }
        match rustix::fs::openat(at, &name, DIRECTORY, Mode::empty()) {
            Ok(opened) => {
                opaque |= is_opaque(&opened);
                directory = Some(opened);
            }
            Err(_) => return Look::Hidden,
        }
    }
    Look::Nothing
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 4];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        rustix::fs::fgetxattr(directory, *name, &mut value).is_ok_and(|length| value[..length] == *b"y")
    })
}

fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap()
    }

    fn whiteout(path: &Path) -> bool {
        let made = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0);
        made.is_ok()
    }

    #[test]
    fn upper_and_lower_are_compared() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for directory in
            ["top/etc", "base/etc", "base/var/old", "upper/etc", "upper/var", "upper/proc", "upper/new"]
        {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for (file, text) in [
            ("base/etc/passwd", "root"),
            ("top/etc/motd", "hi"),
            ("base/var/gone", ""),
            ("upper/etc/motd", "changed"),
            ("upper/etc/hosts", ""),
            ("upper/new/file", "x"),
        ] {
            fs::write(path(file), text).unwrap();
        }
        if !whiteout(&path("upper/var/gone")) {
            println!("skipped: needs the right to make device nodes");
            return;
        }
        let mut walk = Walk { lowers: vec![open(&path("top")), open(&path("base"))], found: Vec::new() };
        walk.directory(&open(&path("upper")), "", 0).unwrap();
        walk.found.sort_by(|a, b| a.path.cmp(&b.path));
        let found: Vec<String> = walk
            .found
            .iter()
            .map(|change| {
                let letter = match change.kind {
                    ChangeKind::Modified => 'C',
                    ChangeKind::Added => 'A',
                    ChangeKind::Deleted => 'D',
                };
                format!("{letter} {}", change.path)
            })
            .collect();
        assert_eq!(found, ["C /etc", "C /etc/motd", "A /new", "A /new/file", "C /var", "D /var/gone"]);
    }

    #[test]
    fn a_deletion_in_a_layer_hides_what_is_below() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("top")).unwrap();
        fs::create_dir_all(path("base/a")).unwrap();
        fs::write(path("base/a/b"), "").unwrap();
        if !whiteout(&path("top/a")) {
            println!("skipped: needs the right to make device nodes");
            return;
        }
        let walk = Walk { lowers: vec![open(&path("top")), open(&path("base"))], found: Vec::new() };
        assert!(walk.below("a/b").is_none());
        let walk = Walk { lowers: vec![open(&path("base"))], found: Vec::new() };
        assert!(walk.below("a/b").is_some());
    }
}
