//! The database: durability, group commit, several tables at once, faults of the file.

use crate::support::{NOW, Store, labels, ns};
use std::{
    collections::HashSet,
    sync::{Arc, Barrier},
    thread,
};
use tare_store::{
    Error, Metadata, MetadataOptions, Tables,
    metadata::{ContainerRow, ImageRow, LeaseResource, LeaseRow, NamespaceRow, SandboxRow},
};
use tare_types::{ContainerId, Descriptor, Digest, ErrorKind, LeaseId, Namespace, SandboxId, SnapshotKey};

fn container(id: &str) -> ContainerRow {
    ContainerRow {
        id: ContainerId::new(id).unwrap(),
        labels: labels(&[("a", "b")]),
        snapshotter: "overlayfs".to_string(),
        snapshot_key: Some(SnapshotKey::new(id).unwrap()),
        image: "docker.io/library/x:latest".to_string(),
        created_at: NOW,
        updated_at: NOW,
        record: b"\x00\xffopaque".to_vec(),
    }
}

fn image(name: &str) -> ImageRow {
    ImageRow {
        name: name.to_string(),
        target: Descriptor::new("t", Digest::of_bytes(name.as_bytes()), 1),
        labels: labels(&[]),
        created_at: NOW,
        updated_at: NOW,
    }
}

#[test]
fn rows_survive_a_reopen_and_namespaces_are_apart() {
    let store = Store::new();
    let (a, b) = (ns("a"), ns("a.b"));
    let sandbox = SandboxRow {
        id: SandboxId::new("pod").unwrap(),
        labels: labels(&[]),
        created_at: NOW,
        updated_at: NOW,
        record: vec![1, 2, 3],
    };
    store
        .metadata
        .update(|tx| {
            tx.put_namespace(&NamespaceRow { name: a.clone(), labels: labels(&[("k", "v")]) })?;
            tx.put_image(&a, &image("one"))?;
            tx.put_container(&a, &container("c"))?;
            tx.put_sandbox(&b, &sandbox)?;
            tx.put_value("networks", "bridge", b"{}")
        })
        .unwrap();
    let store = store.reopen();
    let tx = store.metadata.read().unwrap();
    assert_eq!(tx.namespaces().unwrap()[0].labels, labels(&[("k", "v")]));
    assert_eq!(tx.images(&a).unwrap(), [image("one")]);
    assert_eq!(tx.container(&a, &ContainerId::new("c").unwrap()).unwrap(), Some(container("c")));
    assert_eq!(tx.containers(&b).unwrap(), []);
    assert_eq!(tx.sandboxes(&b).unwrap(), [sandbox]);
    assert_eq!(tx.values("networks").unwrap(), [("bridge".to_string(), b"{}".to_vec())]);
    assert_eq!(tx.used_namespaces().unwrap(), [a, b]);
}

#[test]
fn a_failed_change_leaves_nothing() {
    let store = Store::new();
    let outcome: Result<(), Error> = store.metadata.update(|tx| {
        tx.put_image(&ns("a"), &image("one"))?;
        Err(Error::not_found("test", "object"))
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.metadata.read().unwrap().images(&ns("a")).unwrap(), []);
}

#[test]
fn a_namespace_with_objects_stays() {
    let store = Store::new();
    let a = ns("a");
    let remove = || store.metadata.update(|tx| tx.remove_namespace(&a));
    store.metadata.update(|tx| tx.put_image(&a, &image("one"))).unwrap();
    let error = remove().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("still has images"), "{error}");
    store.metadata.update(|tx| tx.remove_image(&a, "one")).unwrap();
    assert!(!remove().unwrap());
}

#[test]
fn leases_keep_their_resources_to_themselves() {
    let store = Store::new();
    let a = ns("a");
    let lease = |id: &str| LeaseId::new(id).unwrap();
    let resource = |id: &str| LeaseResource { kind: "snapshots/overlayfs".to_string(), id: id.to_string() };
    store
        .metadata
        .update(|tx| {
            for id in ["one", "two"] {
                tx.put_lease(&a, &LeaseRow { id: lease(id), created_at: NOW, labels: labels(&[]) })?;
                tx.add_lease_resource(&a, &lease(id), &resource(id))?;
                tx.add_lease_resource(&a, &lease(id), &resource(id))?;
            }
            Ok(())
        })
        .unwrap();
    let read = |id: &str| store.metadata.read().unwrap().lease_resources(&a, &lease(id)).unwrap();
    assert_eq!(read("one"), [resource("one")]);
    assert!(store.metadata.update(|tx| tx.remove_lease(&a, &lease("one"))).unwrap());
    assert_eq!((read("one"), read("two")), (vec![], vec![resource("two")]));
    let error = store.metadata.update(|tx| tx.add_lease_resource(&a, &lease("one"), &resource("x")));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

/// One durable commit is one fdatasync, for a container's row and whatever else is in the transaction.
#[test]
fn one_commit_costs_one_sync() {
    let store = Store::new();
    let before = (store.metadata.durable_commits(), store.metadata.syncs());
    store
        .metadata
        .update(|tx| {
            tx.put_container(&ns("a"), &container("c"))?;
            tx.put_value("x", "y", b"z")
        })
        .unwrap();
    let after = (store.metadata.durable_commits(), store.metadata.syncs());
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
}

#[test]
fn concurrent_writers_share_syncs_and_lose_nothing() {
    let store = Store::new();
    const WRITERS: usize = 16;
    const EACH: usize = 20;
    let barrier = Arc::new(Barrier::new(WRITERS));
    let before = store.metadata.durable_commits();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (metadata, barrier) = (store.metadata.clone(), barrier.clone());
            scope.spawn(move || {
                barrier.wait();
                for at in 0..EACH {
                    let name = format!("{writer}-{at}");
                    metadata.update(|tx| tx.put_value("b", &name, b"v")).unwrap();
                    if at % 5 == 0 {
                        let failed: Result<(), Error> =
                            metadata.update(|_| Err(Error::not_found("test", "object")));
                        failed.unwrap_err();
                    }
                    assert!(metadata.read().unwrap().value("b", &name).unwrap().is_some());
                }
            });
        }
    });
    let commits = store.metadata.durable_commits() - before;
    assert!(commits < (WRITERS * EACH) as u64, "{commits} commits for {} changes", WRITERS * EACH);
    let store = store.reopen();
    assert_eq!(store.metadata.read().unwrap().values("b").unwrap().len(), WRITERS * EACH);
}

#[test]
fn an_open_view_does_not_change() {
    let store = Store::new();
    let view = store.metadata.read().unwrap();
    store.metadata.update(|tx| tx.put_value("b", "k", b"v")).unwrap();
    assert_eq!(view.value("b", "k").unwrap(), None);
    assert!(store.metadata.read().unwrap().value("b", "k").unwrap().is_some());
}

fn open(root: &std::path::Path) -> Result<Metadata, Error> {
    Metadata::open(root, MetadataOptions::default())
}

#[test]
fn a_second_process_is_told_who_is_there() {
    let store = Store::new();
    let error = open(store.root.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("metadata.redb: another process uses it"), "{error}");
}

#[test]
fn a_damaged_file_is_named() {
    for damage in ["garbage", "zeros", "cut", "flipped"] {
        let store = Store::new();
        store.metadata.update(|tx| tx.put_value("b", "k", &[7; 100_000])).unwrap();
        let Store { metadata, content, overlay, root } = store;
        drop((content, overlay, metadata));
        let path = root.path().join("metadata.redb");
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "garbage" => bytes = b"this is no database".repeat(1000),
            "zeros" => bytes.fill(0),
            "cut" => bytes.truncate(bytes.len() / 3),
            _ => bytes[..512].iter_mut().for_each(|byte| *byte ^= 0x55),
        }
        std::fs::write(&path, bytes).unwrap();
        let error = open(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{damage}: {error}");
        assert!(error.to_string().contains("metadata.redb"), "{damage}: {error}");
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("metadata.redb")).unwrap();
    let error = open(root.path()).unwrap_err();
    assert!(error.to_string().contains("metadata.redb"), "{error}");
}

#[test]
fn scopes_that_share_a_prefix_are_apart() {
    let store = Store::new();
    let names: HashSet<Namespace> = ["a", "a-b", "ab", "a.c", "b"].into_iter().map(ns).collect();
    for name in &names {
        store.metadata.update_relaxed(|tx| tx.put_image(name, &image(name.as_str()))).unwrap();
    }
    let tx = store.metadata.read().unwrap();
    assert_eq!(tx.used_namespaces().unwrap().into_iter().collect::<HashSet<_>>(), names);
    for name in &names {
        assert_eq!(tx.images(name).unwrap(), [image(name.as_str())]);
    }
}
