//! Bytes of files in a tree, as Docker counts a container's size: directories weigh nothing, a file with several
//! names counts once. (Snapshots count blocks on disk, with directories: [`tare_store::tree::usage_of`].)

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    collections::HashSet,
    os::fd::{AsFd, OwnedFd},
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Deeper trees are not counted further: each level holds a descriptor.
const MAX_DEPTH: usize = 512;

/// Bytes of all files below a directory. What vanishes meanwhile counts nothing; no link is followed.
pub(crate) fn of_files(root: OwnedFd) -> Result<u64, Errno> {
    let (mut bytes, mut seen, mut open) = (0, HashSet::new(), vec![level(root)?]);
    loop {
        let deep = open.len() >= MAX_DEPTH;
        let Some((directory, names)) = open.last_mut() else { break };
        let Some(name) = names.pop() else {
            open.pop();
            continue;
        };
        let Ok(stat) = rustix::fs::statat(&*directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if !deep => {
                let below = rustix::fs::openat(&*directory, &name, DIRECTORY, Mode::empty());
                if let Ok(below) = below {
                    open.push(level(below)?);
                }
            }
            FileType::RegularFile | FileType::Symlink
                if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) =>
            {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
            _ => {}
        }
    }
    Ok(bytes)
}

type Level = (OwnedFd, Vec<std::ffi::CString>);

fn level(directory: OwnedFd) -> Result<Level, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok((directory, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_weigh_nothing_and_links_count_once() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("a/b/file"), "12345").unwrap();
        std::fs::hard_link(path("a/b/file"), path("a/again")).unwrap();
        std::fs::write(path("other"), "67").unwrap();
        std::os::unix::fs::symlink("/etc", path("link")).unwrap();
        let fd = rustix::fs::open(root.path(), DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(of_files(fd).unwrap(), 5 + 2 + 4);
    }
}
