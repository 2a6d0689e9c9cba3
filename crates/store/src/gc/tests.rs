//! Marking against a model: what can be reached from the roots stays, everything else goes, whatever the graph.

use super::mark::mark;
use crate::{
    Labels, Metadata, MetadataOptions, Tables,
    metadata::{ContentInfo, ImageRow, LeaseResource, LeaseRow, SnapshotRow},
    snapshot::{Kind, SnapshotInfo, Usage},
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tare_types::{Descriptor, Digest, LeaseId, Namespace, SnapshotKey, Timestamp};

const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };
const BLOBS: usize = 8;
const SNAPSHOTS: usize = 6;

#[derive(Debug, Clone)]
struct Graph {
    /// Blob → blobs.
    content: Vec<BTreeSet<usize>>,
    /// Blob → snapshot.
    tops: Vec<Option<usize>>,
    /// Snapshot → parent with a smaller number.
    parents: Vec<Option<usize>>,
    images: BTreeSet<usize>,
    leased_blobs: BTreeSet<usize>,
    leased_snapshots: BTreeSet<usize>,
    roots: BTreeSet<usize>,
    expired: bool,
}

prop_compose! {
    fn graphs()(
        content in prop::collection::vec(prop::collection::btree_set(0..BLOBS, 0..3), BLOBS),
        tops in prop::collection::vec(prop::option::of(0..SNAPSHOTS), BLOBS),
        parents in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), SNAPSHOTS),
        images in prop::collection::btree_set(0..BLOBS, 0..3),
        leased_blobs in prop::collection::btree_set(0..BLOBS, 0..2),
        leased_snapshots in prop::collection::btree_set(0..SNAPSHOTS, 0..2),
        roots in prop::collection::btree_set(0..BLOBS, 0..2),
        expired in any::<bool>(),
    ) -> Graph {
        let parents = parents.into_iter().enumerate();
        let parents = parents.map(|(at, parent)| parent.filter(|_| at > 0).map(|index| index.index(at))).collect();
        Graph { content, tops, parents, images, leased_blobs, leased_snapshots, roots, expired }
    }
}

fn digest(at: usize) -> Digest {
    Digest::of_bytes(&[at as u8])
}

fn key(at: usize) -> SnapshotKey {
    SnapshotKey::new(format!("s{at}")).unwrap()
}

impl Graph {
    fn alive(&self) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let (mut blobs, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
        let leased = !self.expired;
        let mut grey: Vec<usize> = self.images.iter().chain(&self.roots).copied().collect();
        grey.extend(self.leased_blobs.iter().filter(|_| leased));
        let mut tops: Vec<usize> = self.leased_snapshots.iter().filter(|_| leased).copied().collect();
        while let Some(blob) = grey.pop() {
            if blobs.insert(blob) {
                grey.extend(&self.content[blob]);
                tops.extend(self.tops[blob]);
            }
        }
        while let Some(snapshot) = tops.pop() {
            if snapshots.insert(snapshot) {
                tops.extend(self.parents[snapshot]);
            }
        }
        (blobs, snapshots)
    }

    fn store(&self, metadata: &Metadata, namespace: &Namespace) -> crate::Result<()> {
        metadata.update_relaxed(|tx| {
            for (at, references) in self.content.iter().enumerate() {
                let mut labels: Labels = references
                    .iter()
                    .map(|to| (format!("containerd.io/gc.ref.content.{to}"), digest(*to).to_string()))
                    .collect();
                if let Some(top) = self.tops[at] {
                    labels.insert("containerd.io/gc.ref.snapshot.overlayfs/x".into(), key(top).into());
                }
                if self.roots.contains(&at) {
                    labels.insert("containerd.io/gc.root".into(), String::new());
                }
                let row =
                    ContentInfo { digest: digest(at), size: 1, created_at: NOW, updated_at: NOW, labels };
                tx.put_content(namespace, &row)?;
            }
            for (at, parent) in self.parents.iter().enumerate() {
                let info = SnapshotInfo {
                    name: key(at),
                    parent: parent.map(key),
                    kind: Kind::Committed,
                    created_at: NOW,
                    updated_at: NOW,
                    labels: Labels::new(),
                };
                let row = SnapshotRow { id: at as u64, info, usage: Usage::default(), unsynced: None };
                tx.put_snapshot(namespace, "overlayfs", &row)?;
            }
            for at in &self.images {
                let target = Descriptor::new("m", digest(*at), 1);
                let name = format!("i{at}");
                let row = ImageRow { name, target, labels: Labels::new(), created_at: NOW, updated_at: NOW };
                tx.put_image(namespace, &row)?;
            }
            let end = if self.expired { "2020-01-01T00:00:00Z" } else { "2040-01-01T00:00:00Z" };
            let labels = [("containerd.io/gc.expire".to_string(), end.to_string())].into_iter().collect();
            let id = LeaseId::new("l").unwrap();
            tx.put_lease(namespace, &LeaseRow { id: id.clone(), created_at: NOW, labels })?;
            let blobs = self.leased_blobs.iter().map(|at| ("content", digest(*at).to_string()));
            let snapshots =
                self.leased_snapshots.iter().map(|at| ("snapshots/overlayfs", key(*at).to_string()));
            for (kind, resource) in blobs.chain(snapshots) {
                tx.add_lease_resource(namespace, &id, &LeaseResource { kind: kind.into(), id: resource })?;
            }
            Ok(())
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn marking_agrees_with_the_model(one in graphs(), two in graphs()) {
        let root = tempfile::tempdir().unwrap();
        let metadata = Metadata::open(root.path(), MetadataOptions::default()).unwrap();
        let spaces = [Namespace::new("one").unwrap(), Namespace::new("two").unwrap()];
        for (graph, namespace) in [&one, &two].into_iter().zip(&spaces) {
            graph.store(&metadata, namespace).unwrap();
        }
        let garbage = mark(&metadata.read().unwrap(), NOW).unwrap();
        for (graph, namespace) in [&one, &two].into_iter().zip(&spaces) {
            let (blobs, snapshots) = graph.alive();
            let dead: BTreeSet<_> = (0..BLOBS).filter(|at| !blobs.contains(at)).map(digest).collect();
            let found = garbage.content.iter().filter(|(owner, _)| owner == namespace);
            prop_assert_eq!(found.map(|(_, digest)| digest.clone()).collect::<BTreeSet<_>>(), dead);
            let order: Vec<_> =
                garbage.snapshots.iter().filter(|(owner, ..)| owner == namespace).map(|(.., key)| key.clone()).collect();
            let dead: BTreeSet<_> = (0..SNAPSHOTS).filter(|at| !snapshots.contains(at)).map(key).collect();
            prop_assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), dead);
            for (at, parent) in graph.parents.iter().enumerate() {
                let position = |at| order.iter().position(|name| *name == key(at));
                if let (Some(child), Some(parent)) = (position(at), parent.and_then(position)) {
                    prop_assert!(child < parent, "children go before their parents");
                }
            }
        }
        prop_assert_eq!(garbage.leases.len(), usize::from(one.expired) + usize::from(two.expired));
        prop_assert!(metadata.read().unwrap().used_namespaces().unwrap().len() == 2);
    }
}
