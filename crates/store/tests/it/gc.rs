//! Garbage collection through the whole store: rows, files, leases, and pulls that run meanwhile.

use crate::support::{NOW, Store, ingest_options, key, labels, ns};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tare_store::{
    Collector, IngestOptions, Snapshotter, Tables,
    metadata::{ImageRow, LeaseResource, LeaseRow},
    snapshot::{CommitOptions, PrepareRequest},
};
use tare_types::{Descriptor, Digest, LeaseId, Timestamp};

fn collector(store: &Store) -> Collector {
    Collector {
        metadata: store.metadata.clone(),
        content: store.content.clone(),
        snapshotters: vec![store.overlay.clone()],
    }
}

fn image(name: &str, target: &Digest, pairs: &[(&str, &str)]) -> ImageRow {
    ImageRow {
        name: name.to_string(),
        target: Descriptor::new("manifest", target.clone(), 1),
        labels: labels(pairs),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn lease(store: &Store, id: &str, pairs: &[(&str, &str)]) -> LeaseId {
    let id = LeaseId::new(id).unwrap();
    let row = LeaseRow { id: id.clone(), created_at: NOW, labels: labels(pairs) };
    store.metadata.update(|tx| tx.put_lease(&ns("a"), &row)).unwrap();
    id
}

fn snapshot(store: &Store, name: &str, parent: Option<&str>) {
    let (a, active, parent) = (ns("a"), key(&format!("{name}-active")), parent.map(key));
    let request = PrepareRequest {
        namespace: &a,
        key: &active,
        parent: parent.as_ref(),
        labels: labels(&[]),
        lease: None,
        now: NOW,
    };
    store.overlay.prepare(&request).unwrap();
    let options = CommitOptions {
        labels: labels(&[]),
        parent: None,
        usage: None,
        lease: None,
        deferred: false,
        now: NOW,
    };
    store.overlay.commit(&a, &key(name), &active, &options).unwrap();
}

fn snapshots(store: &Store) -> Vec<String> {
    let rows = store.metadata.read().unwrap().snapshots(&ns("a"), "overlayfs").unwrap();
    rows.into_iter().map(|row| row.info.name.into()).collect()
}

/// An image as a pull leaves it: manifest → config and layers, config → top snapshot.
#[test]
fn an_image_keeps_its_content_and_snapshots() {
    let store = Store::new();
    let a = ns("a");
    let layer = store.put(&a, b"layer", &[]);
    let config = store.put(&a, b"config", &[("containerd.io/gc.ref.snapshot.overlayfs", "top")]);
    let refs = [
        ("containerd.io/gc.ref.content.config", config.as_str()),
        ("containerd.io/gc.ref.content.l.0", layer.as_str()),
    ];
    let manifest = store.put(&a, b"manifest", &refs);
    let index = store.put(&a, b"index", &[("containerd.io/gc.ref.content.m.0", manifest.as_str())]);
    let stray = store.put(&a, b"stray", &[]);
    snapshot(&store, "bottom", None);
    snapshot(&store, "top", Some("bottom"));
    snapshot(&store, "stray", Some("bottom"));
    snapshot(&store, "stray-child", Some("stray"));
    store.metadata.update(|tx| tx.put_image(&a, &image("img", &index, &[]))).unwrap();

    let collected = collector(&store).collect(NOW).unwrap();
    assert_eq!((collected.content, collected.snapshots), (1, 2));
    assert_eq!(snapshots(&store), ["bottom", "top"]);
    assert!(!store.path("content/blobs/sha256").join(stray.hex()).exists());
    assert_eq!(collector(&store).collect(NOW).unwrap(), Default::default(), "twice is once");

    store.metadata.update(|tx| tx.remove_image(&a, "img")).unwrap();
    let collected = collector(&store).collect(NOW).unwrap();
    assert_eq!((collected.content, collected.snapshots), (4, 2));
    for directory in ["content/blobs/sha256", "overlayfs/snapshots", "overlayfs/trash", "content/trash"] {
        assert_eq!(std::fs::read_dir(store.path(directory)).unwrap().count(), 0, "{directory}");
    }
}

#[test]
fn leases_keep_until_they_expire_or_go() {
    let store = Store::new();
    let a = ns("a");
    let kept = store.put(&a, b"kept", &[]);
    let below = store.put(&a, b"below", &[]);
    let holder = store.put(&a, b"holder", &[("containerd.io/gc.ref.content.x", below.as_str())]);
    let soon = lease(&store, "soon", &[("containerd.io/gc.expire", "2027-06-01T00:00:00Z")]);
    let flat = lease(&store, "flat", &[("containerd.io/gc.flat", "")]);
    let resource = |digest: &Digest| LeaseResource { kind: "content".to_string(), id: digest.to_string() };
    store
        .metadata
        .update(|tx| {
            tx.add_lease_resource(&a, &soon, &resource(&kept))?;
            tx.add_lease_resource(&a, &flat, &resource(&holder))
        })
        .unwrap();
    let collected = collector(&store).collect(NOW).unwrap();
    assert_eq!((collected.content, collected.leases), (1, 0), "a flat lease keeps only what it lists");
    assert!(store.content.stat(&a, &below).is_err());
    store.content.stat(&a, &kept).unwrap();
    let after = Timestamp::parse("2027-06-01T00:00:01Z").unwrap();
    let collected = collector(&store).collect(after).unwrap();
    assert_eq!((collected.content, collected.leases), (1, 1));
    store.content.stat(&a, &holder).unwrap();
}

#[test]
fn roots_back_references_and_expired_images() {
    let store = Store::new();
    let a = ns("a");
    let root = store.put(&a, b"root", &[("containerd.io/gc.root", "yes")]);
    let referrer = store.put(&a, b"referrer", &[("containerd.io/gc.bref.content", root.as_str())]);
    let lonely = Digest::of_bytes(b"nothing");
    let dead = store.put(&a, b"dead", &[("containerd.io/gc.bref.content.x", lonely.as_str())]);
    let target = store.put(&a, b"target", &[]);
    let expired = image("old", &target, &[("containerd.io/gc.expire", "2020-01-01T00:00:00Z")]);
    store.metadata.update(|tx| tx.put_image(&a, &expired)).unwrap();
    let collected = collector(&store).collect(NOW).unwrap();
    assert_eq!((collected.content, collected.images), (2, 1));
    store.content.stat(&a, &root).unwrap();
    store.content.stat(&a, &referrer).unwrap();
    assert!(store.content.stat(&a, &dead).is_err() && store.content.stat(&a, &target).is_err());
}

#[test]
fn abandoned_ingests_go_after_a_day() {
    let store = Store::new();
    let a = ns("a");
    let id = lease(&store, "l", &[]);
    drop(store.content.ingest(&a, &ingest_options("abandoned")).unwrap());
    drop(store.content.ingest(&a, &IngestOptions { lease: Some(&id), ..ingest_options("leased") }).unwrap());
    let open = store.content.ingest(&a, &ingest_options("open")).unwrap();
    let tomorrow = Timestamp::new(NOW.seconds + 90_000, 0);
    assert_eq!(collector(&store).collect(NOW).unwrap().ingests, 0);
    assert_eq!(collector(&store).collect(tomorrow).unwrap().ingests, 1);
    drop(open);
    assert_eq!(collector(&store).collect(tomorrow).unwrap().ingests, 1);
    store.content.status(&a, "leased").unwrap();
}

/// Pulls with a lease and collections without pause: nothing of a pull is ever lost.
#[test]
fn concurrent_pulls_lose_nothing() {
    let store = Arc::new(Store::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let collecting = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                count += collector(&store).collect(NOW).unwrap().content;
            }
            count
        });
        let pulls: Vec<_> = (0..3)
            .map(|puller| {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..12 {
                        pull(store, &format!("{puller}-{round}"));
                    }
                })
            })
            .collect();
        pulls.into_iter().for_each(|pull| pull.join().unwrap());
        stop.store(true, Ordering::SeqCst);
        collecting.join().unwrap();
    });
    let a = ns("a");
    let images = store.metadata.read().unwrap().images(&a).unwrap();
    assert_eq!(images.len(), 36);
    for image in images {
        let manifest = store.content.stat(&a, &image.target.digest).unwrap();
        let layer = Digest::parse(&manifest.labels["containerd.io/gc.ref.content.l.0"]).unwrap();
        let bytes = store.content.reader(&a, &layer).unwrap().read_all(1 << 20).unwrap();
        assert_eq!(Digest::of_bytes(&bytes), layer);
    }
}

/// Every pull has a layer of its own and one that all share.
fn pull(store: &Store, name: &str) {
    let a = ns("a");
    let id = lease(store, name, &[]);
    let put = |bytes: &[u8], reference: &str, pairs: &[(&str, &str)]| -> Digest {
        let digest = Digest::of_bytes(bytes);
        let options =
            IngestOptions { expected: Some(&digest), lease: Some(&id), ..ingest_options(reference) };
        match store.content.ingest(&a, &options) {
            Ok(mut ingest) => {
                if ingest.status().offset == 0 {
                    ingest.write(bytes).unwrap();
                }
                match ingest.commit(0, Some(&digest), labels(pairs), NOW) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), tare_types::ErrorKind::AlreadyExists, "{error}"),
                }
            }
            Err(error) => assert_eq!(error.kind(), tare_types::ErrorKind::AlreadyExists, "{error}"),
        }
        digest
    };
    let layer = put(format!("layer {name}").as_bytes(), &format!("layer-{name}"), &[]);
    let shared = put(b"shared", &format!("shared-{name}"), &[]);
    let refs = [
        ("containerd.io/gc.ref.content.l.0", layer.as_str()),
        ("containerd.io/gc.ref.content.l.1", shared.as_str()),
    ];
    let manifest = put(format!("manifest {name}").as_bytes(), &format!("manifest-{name}"), &refs);
    store
        .metadata
        .update(|tx| {
            tx.put_image(&a, &image(name, &manifest, &[]))?;
            tx.remove_lease(&a, &id)
        })
        .unwrap();
}
