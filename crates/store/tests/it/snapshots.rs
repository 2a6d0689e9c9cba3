//! The built-in snapshotters under the suite, and what is theirs alone.

use crate::{
    snapshot_suite::{self, Subject},
    support::{NOW, Store, key, labels, ns, open, xattr},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};
use tare_store::{
    Native, Snapshotter, Tables, WhiteoutFormat,
    metadata::ContainerRow,
    snapshot::{CommitOptions, Kind, PrepareRequest},
};
use tare_types::{ContainerId, ErrorKind};

#[test]
fn overlay_passes_the_suite() {
    let store = Store::new();
    let scratch = tempfile::tempdir().unwrap();
    snapshot_suite::all(&Subject { snapshotter: &*store.overlay, scratch: scratch.path() });
}

#[test]
fn native_passes_the_suite() {
    let store = Store::new();
    let scratch = tempfile::tempdir().unwrap();
    let native = Native::open(&store.path("native"), store.metadata.clone()).unwrap();
    snapshot_suite::all(&Subject { snapshotter: &native, scratch: scratch.path() });
}

fn request<'a>(
    namespace: &'a tare_types::Namespace,
    key: &'a tare_types::SnapshotKey,
    parent: Option<&'a tare_types::SnapshotKey>,
) -> PrepareRequest<'a> {
    PrepareRequest { namespace, key, parent, labels: labels(&[]), lease: None, now: NOW }
}

#[test]
fn the_top_directory_belongs_to_who_owned_it_below() {
    let store = Store::new();
    let a = ns("a");
    let top = |id: u64| {
        let path = store.path("overlayfs/snapshots").join(id.to_string()).join("fs");
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    store.overlay.prepare(&request(&a, &key("one"), None)).unwrap();
    let path = store.path("overlayfs/snapshots/1/fs");
    std::os::unix::fs::chown(path, Some(1000), Some(2000)).unwrap();
    store.overlay.commit(&a, &key("c1"), &key("one"), &options()).unwrap();
    store.overlay.prepare(&request(&a, &key("two"), Some(&key("c1")))).unwrap();
    assert_eq!(top(2), (1000, 2000, 0o755));
}

fn options() -> CommitOptions {
    CommitOptions { labels: labels(&[]), parent: None, usage: None, lease: None, deferred: false, now: NOW }
}

#[test]
fn overlay_mounts_are_containerds() {
    let store = Store::new();
    let a = ns("a");
    let root = store.path("overlayfs/snapshots");
    let fs = |id: u64| root.join(id.to_string()).join("fs").to_str().unwrap().to_string();
    let mounts = store.overlay.prepare(&request(&a, &key("one"), None)).unwrap();
    assert_eq!((mounts[0].kind.as_str(), &mounts[0].source), ("bind", &fs(1)));
    assert_eq!(mounts[0].options, ["rw", "rbind"]);
    store.overlay.commit(&a, &key("c1"), &key("one"), &options()).unwrap();
    let view = store.overlay.view(&request(&a, &key("v1"), Some(&key("c1")))).unwrap();
    assert_eq!((view[0].kind.as_str(), &view[0].source), ("bind", &fs(1)));
    assert_eq!(view[0].options, ["ro", "rbind"]);
    let mounts = store.overlay.prepare(&request(&a, &key("two"), Some(&key("c1")))).unwrap();
    let work = root.join("3/work").to_str().unwrap().to_string();
    let expected = [
        "index=off".to_string(),
        format!("workdir={work}"),
        format!("upperdir={}", fs(3)),
        format!("lowerdir={}", fs(1)),
    ];
    assert_eq!((mounts[0].kind.as_str(), mounts[0].source.as_str()), ("overlay", "overlay"));
    assert_eq!(mounts[0].options, expected);
    store.overlay.commit(&a, &key("c2"), &key("two"), &options()).unwrap();
    let view = store.overlay.view(&request(&a, &key("v2"), Some(&key("c2")))).unwrap();
    assert_eq!(view[0].options, ["index=off".to_string(), format!("lowerdir={}:{}", fs(3), fs(1))]);
}

/// A container and its snapshot become durable together, with one sync.
#[test]
fn a_container_and_its_snapshot_are_one_commit() {
    let store = Store::new();
    let a = ns("a");
    let id = ContainerId::new("c").unwrap();
    let row = ContainerRow {
        id: id.clone(),
        labels: labels(&[]),
        snapshotter: "overlayfs".to_string(),
        snapshot_key: Some(key("c")),
        image: String::new(),
        created_at: NOW,
        updated_at: NOW,
        record: Vec::new(),
    };
    let syncs = store.metadata.syncs();
    let staged = store.overlay.stage(Kind::Active, &request(&a, &key("c"), None)).unwrap();
    store
        .metadata
        .update(|tx| {
            staged.record(tx)?;
            tx.put_container(&a, &row)
        })
        .unwrap();
    drop(staged);
    assert_eq!(store.metadata.syncs() - syncs, 1);
    assert_eq!(store.overlay.cleanup().unwrap(), 0);
    let removed = store
        .metadata
        .update(|tx| {
            tx.remove_container(&a, &id)?;
            store.overlay.remove_in(tx, &a, &key("c"))
        })
        .unwrap();
    assert!(store.path("overlayfs/snapshots/1/fs").exists());
    removed.discard().unwrap();
    assert!(!store.path("overlayfs/snapshots/1").exists());
}

#[test]
fn what_was_staged_and_not_recorded_is_gone() {
    let store = Store::new();
    let a = ns("a");
    drop(store.overlay.stage(Kind::Active, &request(&a, &key("c"), None)).unwrap());
    assert_eq!(fs::read_dir(store.path("overlayfs/snapshots")).unwrap().count(), 0);
    // A clean-up in the middle of staging takes nothing.
    let staged = store.overlay.stage(Kind::Active, &request(&a, &key("c"), None)).unwrap();
    assert_eq!(store.overlay.cleanup().unwrap(), 0);
    store.metadata.update(|tx| staged.record(tx)).unwrap();
    drop(staged);
    assert_eq!(store.overlay.cleanup().unwrap(), 0);
}

/// Directories that a crash left without a row, and the other way round.
#[test]
fn a_restart_cleans_up_and_heals() {
    let store = Store::new();
    let a = ns("a");
    store.overlay.prepare(&request(&a, &key("kept"), None)).unwrap();
    let snapshots = store.path("overlayfs/snapshots");
    fs::create_dir_all(snapshots.join("77/fs/deep/er")).unwrap();
    fs::create_dir_all(store.path("overlayfs/trash/5/fs")).unwrap();
    fs::remove_dir_all(snapshots.join("1")).unwrap();
    let Store { metadata, content, overlay, root } = store;
    drop((overlay, content, metadata));
    let (_metadata, _content, overlay) = open(root.path());
    assert!(!root.path().join("overlayfs/snapshots/77").exists());
    assert!(!root.path().join("overlayfs/trash/5").exists());
    let mounts = overlay.mounts(&a, &key("kept")).unwrap();
    assert!(fs::metadata(&mounts[0].source).unwrap().is_dir(), "a power cut took the empty directory");
    overlay.prepare(&request(&a, &key("new"), None)).unwrap();
    assert!(root.path().join("overlayfs/snapshots/78").exists(), "a number is never used twice");
}

#[test]
fn deleting_follows_no_symlink() {
    let store = Store::new();
    let a = ns("a");
    let outside = store.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    store.overlay.prepare(&request(&a, &key("c"), None)).unwrap();
    let root = store.path("overlayfs/snapshots/1/fs");
    symlink(&outside, root.join("link")).unwrap();
    fs::create_dir_all(root.join("d/e")).unwrap();
    symlink(&outside, root.join("d/e/link")).unwrap();
    let mut deep = root.clone();
    for _ in 0..200 {
        deep.push("x");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "x").unwrap();
    store.overlay.remove(&a, &key("c")).unwrap();
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"x");
    assert_eq!(fs::read_dir(store.path("overlayfs/trash")).unwrap().count(), 0);
}

/// Layers unpacked at the same time, without a parent, put on top of each other afterwards.
#[test]
fn overlay_commits_onto_a_parent_that_came_later() {
    let store = Store::new();
    let a = ns("a");
    for name in ["low", "high"] {
        store.overlay.prepare(&request(&a, &key(name), None)).unwrap();
        let target = store.overlay.apply_target(&a, &key(name)).unwrap();
        assert_eq!(target.whiteouts, WhiteoutFormat::Overlay { userxattr: false });
        fs::write(target.path.join(name), name).unwrap();
    }
    store.overlay.commit(&a, &key("chain1"), &key("low"), &options()).unwrap();
    let on_top = CommitOptions { parent: Some(key("chain1")), ..options() };
    assert_eq!(store.overlay.lower_dirs(&a, &key("chain1")).unwrap().len(), 1);
    store.overlay.commit(&a, &key("chain2"), &key("high"), &on_top).unwrap();
    assert_eq!(store.overlay.stat(&a, &key("chain2")).unwrap().parent, Some(key("chain1")));
    let mounts = store.overlay.prepare(&request(&a, &key("c"), Some(&key("chain2")))).unwrap();
    assert!(
        mounts[0].options.last().unwrap().ends_with("/2/fs:".to_string().as_str())
            || mounts[0].options.last().unwrap().contains("/2/fs:")
    );
    assert_eq!(store.overlay.remove(&a, &key("chain1")).unwrap_err().kind(), ErrorKind::FailedPrecondition);

    let native = Native::open(&store.path("native"), store.metadata.clone()).unwrap();
    native.prepare(&request(&a, &key("x"), None)).unwrap();
    native.commit(&a, &key("n1"), &key("x"), &options()).unwrap();
    native.prepare(&request(&a, &key("y"), None)).unwrap();
    let on_top = CommitOptions { parent: Some(key("n1")), ..options() };
    let error = native.commit(&a, &key("n2"), &key("y"), &on_top).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
}

#[test]
fn native_copies_everything_a_file_can_have() {
    let store = Store::new();
    let a = ns("a");
    let native = Native::open(&store.path("native"), store.metadata.clone()).unwrap();
    let path = native.prepare(&request(&a, &key("x"), None)).unwrap()[0].source.clone();
    crate::support::run(
        "sh",
        &[
            "-ec",
            &format!(
                "cd {path}; echo 1 > f; ln f g; mknod n c 1 3; mkfifo p; ln -s nowhere s; chmod 6711 f; chown -h 3:4 s; mkdir d; touch -d @5 d"
            ),
        ],
    );
    crate::support::set_xattr(&std::path::Path::new(&path).join("f"), "user.a", b"b");
    let before = crate::support::listing(std::path::Path::new(&path));
    native.commit(&a, &key("c"), &key("x"), &options()).unwrap();
    let copy = native.prepare(&request(&a, &key("y"), Some(&key("c")))).unwrap()[0].source.clone();
    let copy = std::path::Path::new(&copy);
    assert_eq!(crate::support::listing(copy), before);
    assert_eq!(xattr(&copy.join("f"), "user.a").unwrap(), b"b");
    assert_eq!(fs::metadata(copy.join("f")).unwrap().ino(), fs::metadata(copy.join("g")).unwrap().ino());
    assert!(store.metadata.read().unwrap().snapshot(&a, "native", &key("c")).unwrap().is_some());
}
