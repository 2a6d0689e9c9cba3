//! Look-ups below a hostile directory.

use super::*;
use std::{fs as host, os::unix::fs::symlink, path::PathBuf};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(std::format!("tare-sys-{}-{name}", std::process::id()));
        host::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn root(&self) -> RootDir {
        RootDir::open_ambient(self.0.to_str().unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = host::remove_dir_all(&self.0);
    }
}

#[test]
fn links_stay_inside() {
    let scratch = Scratch::new("inside");
    host::create_dir(scratch.0.join("etc")).unwrap();
    host::write(scratch.0.join("etc/passwd"), "inner").unwrap();
    symlink("/etc/passwd", scratch.0.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", scratch.0.join("relative")).unwrap();
    symlink("/proc/self/root/etc/passwd", scratch.0.join("magic")).unwrap();
    let root = scratch.root();
    for path in ["absolute", "relative", "../../etc/passwd", "/etc/passwd"] {
        let fd = root.open(path, OFlags::RDONLY, Mode::empty()).unwrap();
        let mut text = [0; 5];
        rustix::io::read(&fd, &mut text).unwrap();
        assert_eq!(&text, b"inner", "{path}");
    }
    assert!(root.open("magic", OFlags::RDONLY, Mode::empty()).unwrap_err().is_not_found());
    let refused = root.open_no_symlinks("absolute", OFlags::RDONLY, Mode::empty()).unwrap_err();
    assert_eq!(refused.errno(), Errno::LOOP);
}

#[test]
fn directories_are_made_inside_only() {
    let scratch = Scratch::new("make");
    symlink("/var/elsewhere", scratch.0.join("link")).unwrap();
    let root = scratch.root();
    root.make_dir_all("a/b/c", Mode::from_raw_mode(0o755)).unwrap();
    assert!(scratch.0.join("a/b/c").is_dir());
    // A dangling link is not turned into a directory of the host.
    assert!(root.make_dir_all("link/x", Mode::from_raw_mode(0o755)).is_err());
    assert!(!std::path::Path::new("/var/elsewhere").exists());
}

#[test]
fn trees_are_removed_without_following() {
    let scratch = Scratch::new("remove");
    let outside = Scratch::new("outside");
    host::write(outside.0.join("kept"), "").unwrap();
    host::create_dir_all(scratch.0.join("tree/deep/er")).unwrap();
    host::write(scratch.0.join("tree/deep/file"), "").unwrap();
    symlink(&outside.0, scratch.0.join("tree/deep/link")).unwrap();
    let root = scratch.root();
    root.remove_all("tree").unwrap();
    root.remove_all("tree").unwrap();
    assert!(!scratch.0.join("tree").exists());
    assert!(outside.0.join("kept").exists());
}

#[test]
fn relative_paths_are_checked() {
    for good in ["a", "a/b", "./a", "a/", "..a", "a..b"] {
        assert!(RelPath::new(good).is_some(), "{good}");
    }
    for bad in ["", "/", "/a", "..", "a/..", "a//b", "a/./b", "a\0"] {
        assert!(RelPath::new(bad).is_none(), "{bad:?}");
    }
}
