//! Archives of a hostile container.

use super::*;
use std::os::unix::fs::MetadataExt;

/// An archive of regular files (`name`, `None`) and hard links (`name`, `Some(target)`).
fn archive(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, target) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        // As it is: the builder would refuse the names that an attacker writes.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let body = if target.is_some() { &b""[..] } else { b"x" };
        if let Some(target) = target {
            header.set_entry_type(tar::EntryType::Link);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(directory: &Path, rename: Option<&str>, entries: &[(&str, Option<&str>)]) -> Result<(), Failure> {
    let rename = rename.map(str::to_owned);
    let destination = Destination { directory: directory.to_path_buf(), rename, contents: false };
    unpack(archive(entries).as_slice(), &destination)
}

#[test]
fn hard_links_stay_links_also_under_a_new_name() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [("d/one", None), ("d/two", Some("d/one"))];
    std::fs::create_dir(directory.path().join("d")).unwrap();
    unpacked(directory.path(), None, &entries).unwrap();
    let inode = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().ino();
    assert_eq!(inode("d/one"), inode("d/two"));
    std::fs::create_dir(directory.path().join("new")).unwrap();
    unpacked(directory.path(), Some("new"), &entries).unwrap();
    assert_eq!(inode("new/one"), inode("new/two"));
    assert_ne!(inode("new/one"), inode("d/one"));
}

#[test]
fn neither_names_nor_links_leave_the_directory() {
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("secret"), "s").unwrap();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
    let absolute = outer.path().join("secret");
    for entries in [
        &[("a/../../secret", None)][..],
        &[("a", Some("../secret"))],
        &[("a", Some("x/../../secret"))],
        &[("a", Some("up/secret"))],
        &[("a", Some(absolute.to_str().unwrap()))],
        &[("up/secret", None)],
    ] {
        assert!(unpacked(&inner, None, entries).is_err(), "{entries:?}");
    }
    assert_eq!(std::fs::read_to_string(outer.path().join("secret")).unwrap(), "s");
    assert!(!inner.join("a").exists());
}
