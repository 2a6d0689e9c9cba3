//! Layers written from changes, and applied again.

use crate::support::{apply_options, directory, listing, run, set_xattr};
use std::{fs, path::Path};
use tare_store::layer::{self, ArchiveWriter, Written, write_changes, write_upper};
use tare_types::{Digest, image::Compression};

fn shell(directory: &Path, script: &str) -> String {
    run("sh", &["-ec", &format!("cd '{}'; {script}", directory.display())])
}

const BASE: &str = "echo 1 > kept; echo 2 > changed; echo 3 > gone; mkdir d e; echo 4 > d/in; echo 5 > d/out; echo 6 > e/x; ln kept twin";
const CHANGE: &str = "echo 22 > changed; rm gone; rm d/out; rm -r e; mkdir e; echo 7 > e/y; echo 8 > new; mknod dev c 5 6; ln -s /x sym; ln new new2; chmod 700 d; chown 7:8 new; mkfifo p";

#[test]
fn an_upper_directory_gives_the_same_tree_again() {
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    for name in ["lower", "upper", "work", "merged", "upper2", "work2"] {
        fs::create_dir(path(name)).unwrap();
    }
    shell(&path("lower"), BASE);
    let mount = |upper: &str, work: &str| {
        let options = format!(
            "index=off,lowerdir={},upperdir={},workdir={}",
            path("lower").display(),
            path(upper).display(),
            path(work).display()
        );
        run("mount", &["-t", "overlay", "overlay", "-o", &options, path("merged").to_str().unwrap()]);
    };
    mount("upper", "work");
    shell(&path("merged"), CHANGE);
    set_xattr(&path("merged").join("new"), "user.a", b"b");
    let wanted = listing(&path("merged"));
    run("umount", &[path("merged").to_str().unwrap()]);

    for compression in [Compression::None, Compression::Gzip] {
        let mut bytes = Vec::new();
        let Written { digest, size, diff_id } =
            write_upper(directory(&path("upper")), &mut bytes, compression).unwrap();
        assert_eq!((&digest, size), (&Digest::of_bytes(&bytes), bytes.len() as u64));
        fs::remove_dir_all(path("upper2")).unwrap();
        fs::remove_dir_all(path("work2")).unwrap();
        fs::create_dir(path("upper2")).unwrap();
        fs::create_dir(path("work2")).unwrap();
        let applied = layer::apply(&*bytes, directory(&path("upper2")), apply_options()).unwrap();
        assert_eq!(applied.diff_id, diff_id);
        mount("upper2", "work2");
        let seen = listing(&path("merged"));
        run("umount", &[path("merged").to_str().unwrap()]);
        assert_eq!(seen, wanted);
        if compression == Compression::None {
            let file = path("layer.tar");
            fs::write(&file, &bytes).unwrap();
            let names = run("tar", &["-tf", file.to_str().unwrap()]);
            for name in [".wh.gone", "d/.wh.out", "e/.wh..wh..opq", "new2"] {
                assert!(names.lines().any(|line| line == name), "{name} in {names}");
            }
            assert!(!names.contains("kept") && !names.contains("twin"), "{names}");
        }
    }
}

#[test]
fn two_trees_give_their_difference() {
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    fs::create_dir(path("old")).unwrap();
    shell(&path("old"), BASE);
    run("cp", &["-a", path("old").to_str().unwrap(), path("new").to_str().unwrap()]);
    run("cp", &["-a", path("old").to_str().unwrap(), path("again").to_str().unwrap()]);
    let mut nothing = Vec::new();
    write_changes(Some(directory(&path("old"))), directory(&path("new")), &mut nothing, Compression::None)
        .unwrap();
    assert!(nothing.iter().all(|&byte| byte == 0), "no change, no entry");
    shell(&path("new"), CHANGE);
    let mut bytes = Vec::new();
    write_changes(Some(directory(&path("old"))), directory(&path("new")), &mut bytes, Compression::Gzip)
        .unwrap();
    let options =
        tare_store::ApplyOptions { whiteouts: tare_store::WhiteoutFormat::Remove, ..apply_options() };
    layer::apply(&*bytes, directory(&path("again")), options).unwrap();
    assert_eq!(listing(&path("again")), listing(&path("new")));
}

#[test]
fn an_archive_is_read_by_tar() {
    let top = tempfile::tempdir().unwrap();
    let path = |name: &str| top.path().join(name);
    fs::create_dir_all(path("in/tree")).unwrap();
    fs::create_dir(path("out")).unwrap();
    let long = "l".repeat(200);
    shell(
        &path("in/tree"),
        &format!(
            "{BASE}; mkdir {long}; echo x > {long}/{long}; ln -s {long}/{long} s; truncate -s 100000 hole; touch -d '1960-01-02 03:04:05.5' d/in; echo u > ümläut; chown 3000000:4000000 e"
        ),
    );
    let mut writer = ArchiveWriter::new(Vec::new());
    let parent = directory(&path("in"));
    writer.add(std::os::fd::AsFd::as_fd(&parent), b"tree", b"renamed").unwrap();
    fs::write(path("a.tar"), writer.finish().unwrap()).unwrap();
    run("tar", &["-C", path("out").to_str().unwrap(), "--xattrs", "-xpf", path("a.tar").to_str().unwrap()]);
    assert_eq!(listing(&path("out/renamed")), listing(&path("in/tree")));
    let mut writer = ArchiveWriter::new(Vec::new());
    let error = writer.add(std::os::fd::AsFd::as_fd(&parent), b"absent", b"x").unwrap_err();
    assert_eq!(error.kind(), tare_types::ErrorKind::NotFound);
}
