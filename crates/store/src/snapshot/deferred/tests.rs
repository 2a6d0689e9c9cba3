//! Marks, and what another kernel makes of them.

use super::super::{CommitOptions, Kind, Overlay, OverlayOptions, PrepareRequest, Snapshotter};
use super::*;
use crate::{Labels, MetadataOptions};
use std::{path::Path, sync::Arc};
use tare_types::{ErrorKind, SnapshotKey, Timestamp};

const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

fn key(text: &str) -> SnapshotKey {
    SnapshotKey::new(text).unwrap()
}

fn open(root: &Path) -> (Arc<Metadata>, Result<Overlay>) {
    let metadata = Arc::new(Metadata::open(root, MetadataOptions::default()).unwrap());
    let overlay = Overlay::open(&root.join("overlayfs"), metadata.clone(), OverlayOptions::default());
    (metadata, overlay)
}

fn request<'a>(
    namespace: &'a Namespace,
    key: &'a SnapshotKey,
    parent: Option<&'a SnapshotKey>,
) -> PrepareRequest<'a> {
    PrepareRequest { namespace, key, parent, labels: Labels::new(), lease: None, now: NOW }
}

/// Commits a layer with one file, as a pull does.
fn layer(overlay: &Overlay, namespace: &Namespace, name: &str, parent: Option<&str>) {
    let active = key(&format!("extract-{name}"));
    overlay.prepare(&request(namespace, &active, None)).unwrap();
    let target = overlay.apply_target(namespace, &active).unwrap();
    std::fs::write(target.path.join(name), name).unwrap();
    let options = CommitOptions {
        labels: Labels::new(),
        parent: parent.map(key),
        usage: None,
        lease: None,
        deferred: true,
        now: NOW,
    };
    overlay.metadata().update(|tx| overlay.commit_in(tx, namespace, &key(name), &active, &options)).unwrap();
}

/// Writes the marks of a kernel that is not running any more: what a power cut leaves.
fn after_a_power_cut(metadata: &Metadata) {
    let marked = marked(metadata, "overlayfs").unwrap();
    assert!(!marked.is_empty());
    metadata
        .update(|tx| {
            for (namespace, mut row) in marked {
                row.unsynced = Some("another kernel".to_string());
                tx.put_snapshot(&namespace, "overlayfs", &row)?;
            }
            Ok(())
        })
        .unwrap();
}

fn names(overlay: &Overlay, namespace: &Namespace) -> Vec<String> {
    let all = overlay.list(namespace, &crate::Filters::all()).unwrap();
    all.into_iter().map(|info| info.name.to_string()).collect()
}

#[test]
fn marks_go_with_one_sync_for_all_namespaces() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
    layer(&overlay, &a, "base", None);
    layer(&overlay, &a, "top", Some("base"));
    layer(&overlay, &b, "base", None);
    assert_eq!(marked(&metadata, "overlayfs").unwrap().len(), 3);
    assert!(marked(&metadata, "native").unwrap().is_empty());
    let before = metadata.durable_commits();
    assert_eq!(overlay.sync_deferred().unwrap(), 3);
    assert_eq!(metadata.durable_commits(), before + 1);
    assert_eq!(overlay.sync_deferred().unwrap(), 0, "nothing is left to do");
    assert_eq!(metadata.durable_commits(), before + 1);
}

#[test]
fn nothing_stands_on_what_is_not_synced() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    let a = Namespace::new("a").unwrap();
    layer(&overlay, &a, "base", None);
    let (container, parent) = (key("container"), key("base"));
    let staged = overlay.stage(Kind::Active, &request(&a, &container, Some(&parent))).unwrap();
    assert!(marked(&metadata, "overlayfs").unwrap().is_empty(), "staging on it syncs it");
    // Replaced between the directories and the row.
    overlay.remove(&a, &parent).unwrap();
    layer(&overlay, &a, "base", None);
    let error = metadata.update(|tx| staged.record(tx)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(staged);
    overlay.prepare(&request(&a, &container, Some(&parent))).unwrap();
    assert!(marked(&metadata, "overlayfs").unwrap().is_empty());
}

#[test]
fn a_synced_commit_syncs_its_parents_too() {
    let root = tempfile::tempdir().unwrap();
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    let a = Namespace::new("a").unwrap();
    layer(&overlay, &a, "base", None);
    let (active, parent) = (key("extract-x"), key("base"));
    overlay.prepare(&request(&a, &active, None)).unwrap();
    let options = CommitOptions {
        labels: Labels::new(),
        parent: Some(parent),
        usage: None,
        lease: None,
        deferred: true,
        now: NOW,
    };
    overlay.commit(&a, &key("top"), &active, &options).unwrap();
    assert!(marked(&metadata, "overlayfs").unwrap().is_empty());
}

#[test]
fn the_same_kernel_keeps_them() {
    let root = tempfile::tempdir().unwrap();
    let a = Namespace::new("a").unwrap();
    let (metadata, overlay) = open(root.path());
    layer(&overlay.unwrap(), &a, "base", None);
    drop(metadata);
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    assert_eq!(names(&overlay, &a), ["base"]);
    assert_eq!(marked(&metadata, "overlayfs").unwrap().len(), 1, "to be synced by whoever opened it");
}

#[test]
fn another_kernel_takes_them_away_whole() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    layer(&overlay, &a, "safe", None);
    overlay.sync_deferred().unwrap();
    let (container, parent) = (key("container"), key("safe"));
    overlay.prepare(&request(&a, &container, Some(&parent))).unwrap();
    layer(&overlay, &a, "middle", Some("safe"));
    layer(&overlay, &a, "top", Some("middle"));
    layer(&overlay, &b, "other", None);
    let directories = || std::fs::read_dir(root.path().join("overlayfs/snapshots")).unwrap().count();
    assert_eq!(directories(), 5);
    after_a_power_cut(&metadata);
    drop((overlay, metadata));
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    assert_eq!(names(&overlay, &a), ["container", "safe"]);
    assert!(names(&overlay, &b).is_empty());
    assert_eq!(directories(), 2);
    // They can be made again.
    layer(&overlay, &a, "middle", Some("safe"));
    assert_eq!(marked(&metadata, "overlayfs").unwrap().len(), 1);
}

#[test]
fn what_something_stands_on_is_not_taken_away_silently() {
    let root = tempfile::tempdir().unwrap();
    let a = Namespace::new("a").unwrap();
    let (metadata, overlay) = open(root.path());
    let overlay = overlay.unwrap();
    layer(&overlay, &a, "base", None);
    overlay.prepare(&request(&a, &key("container"), Some(&key("base")))).unwrap();
    // No order of events leads here: the row is damaged.
    metadata
        .update(|tx| {
            let mut row = tx.snapshot(&a, "overlayfs", &key("base"))?.unwrap();
            row.unsynced = Some("another kernel".to_string());
            tx.put_snapshot(&a, "overlayfs", &row)
        })
        .unwrap();
    drop((overlay, metadata));
    let (_metadata, overlay) = open(root.path());
    let error = overlay.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("base"), "{error}");
}
