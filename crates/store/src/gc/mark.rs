//! Marking: from the roots of a namespace to everything they keep.

use super::node::{Node, back_references, references};
use crate::{
    Labels, Result, Tables, labels,
    metadata::{LeaseRow, SnapshotRow, Table},
};
use std::collections::{HashMap, HashSet};
use tare_types::{Digest, LeaseId, Namespace, SnapshotKey, Timestamp};

/// Rows that nothing keeps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Garbage {
    pub(super) content: Vec<(Namespace, Digest)>,
    /// Children before parents.
    pub(super) snapshots: Vec<(Namespace, String, SnapshotKey)>,
    pub(super) images: Vec<(Namespace, String)>,
    pub(super) leases: Vec<(Namespace, LeaseId)>,
}

impl Garbage {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything in every namespace that is not kept at `now`.
pub(super) fn mark(tables: &impl Tables, now: Timestamp) -> Result<Garbage> {
    let mut garbage = Garbage::default();
    let scopes = tables.used_scopes(Table::Snapshots)?;
    for namespace in tables.used_namespaces()? {
        let own = scopes.iter().filter_map(|scope| scope.split_once('\0'));
        let snapshotters = own.filter(|(name, _)| *name == namespace.as_str()).map(|(_, name)| name);
        let snapshotters: Vec<&str> = snapshotters.collect();
        Marker::load(tables, &namespace, &snapshotters, now, &mut garbage)?.collect(&namespace, &mut garbage);
    }
    Ok(garbage)
}

/// The graph of one namespace.
#[derive(Default)]
struct Marker {
    /// Labels and the parent of each object.
    objects: HashMap<Node, Vec<Node>>,
    /// Objects by what keeps them through back references.
    kept_by: HashMap<Node, Vec<Node>>,
    roots: Vec<Node>,
    /// Kept, without what they reference.
    flat: Vec<Node>,
    snapshots: Vec<(String, SnapshotRow)>,
    content: Vec<Digest>,
}

impl Marker {
    fn load(
        tables: &impl Tables,
        namespace: &Namespace,
        snapshotters: &[&str],
        now: Timestamp,
        garbage: &mut Garbage,
    ) -> Result<Self> {
        let mut marker = Self::default();
        for row in tables.contents(namespace)? {
            marker.add(Node::Content(row.digest.as_str().to_string()), &row.labels, None);
            marker.content.push(row.digest);
        }
        for &snapshotter in snapshotters {
            for row in tables.snapshots(namespace, snapshotter)? {
                marker.add_snapshot(snapshotter, row);
            }
        }
        for row in tables.images(namespace)? {
            let node = Node::Image(row.name.clone());
            let target = Node::Content(row.target.digest.as_str().to_string());
            marker.add(node.clone(), &row.labels, Some(target));
            match has_expired(&row.labels, now) {
                true => garbage.images.push((namespace.clone(), row.name)),
                false => marker.roots.push(node),
            }
        }
        for row in tables.containers(namespace)? {
            let node = Node::Container(row.id.as_str().to_string());
            let snapshot = row.snapshot_key.filter(|_| !row.snapshotter.is_empty());
            let snapshotter = row.snapshotter;
            let snapshot = snapshot.map(|key| Node::Snapshot { snapshotter, key: key.as_str().to_string() });
            marker.add(node.clone(), &row.labels, snapshot);
            marker.roots.push(node);
        }
        for row in tables.sandboxes(namespace)? {
            marker.roots.extend(references(&row.labels));
        }
        for row in tables.leases(namespace)? {
            match has_expired(&row.labels, now) {
                true => garbage.leases.push((namespace.clone(), row.id)),
                false => marker.add_lease(tables, namespace, &row)?,
            }
        }
        // An expired image that something else references stays.
        let alive = marker.alive();
        garbage
            .images
            .retain(|(owner, name)| owner != namespace || !alive.contains(&Node::Image(name.clone())));
        Ok(marker)
    }

    fn add(&mut self, node: Node, labels: &Labels, also: Option<Node>) {
        if labels.contains_key(labels::GC_ROOT) {
            self.roots.push(node.clone());
        }
        for keeper in back_references(labels) {
            self.kept_by.entry(keeper).or_default().push(node.clone());
        }
        self.objects.insert(node, references(labels).chain(also).collect());
    }

    fn add_snapshot(&mut self, snapshotter: &str, row: SnapshotRow) {
        let node = |key: &SnapshotKey| Node::Snapshot {
            snapshotter: snapshotter.to_string(),
            key: key.as_str().to_string(),
        };
        let parent = row.info.parent.as_ref().map(node);
        self.add(node(&row.info.name), &row.info.labels, parent);
        self.snapshots.push((snapshotter.to_string(), row));
    }

    fn add_lease(&mut self, tables: &impl Tables, namespace: &Namespace, row: &LeaseRow) -> Result<()> {
        let flat = row.labels.contains_key(labels::GC_FLAT);
        self.roots.extend(references(&row.labels));
        for resource in tables.lease_resources(namespace, &row.id)? {
            let node = match resource.kind.split_once('/') {
                None if resource.kind == "content" => Node::Content(resource.id),
                None if resource.kind == "images" => Node::Image(resource.id),
                Some(("snapshots", snapshotter)) => {
                    Node::Snapshot { snapshotter: snapshotter.to_string(), key: resource.id }
                }
                _ => continue,
            };
            if flat { self.flat.push(node) } else { self.roots.push(node) }
        }
        Ok(())
    }

    fn alive(&self) -> HashSet<Node> {
        let mut alive = HashSet::new();
        let mut grey: Vec<&Node> = self.roots.iter().collect();
        while let Some(node) = grey.pop() {
            if alive.contains(node) {
                continue;
            }
            alive.insert(node.clone());
            grey.extend(self.objects.get(node).into_iter().flatten());
            grey.extend(self.kept_by.get(node).into_iter().flatten());
        }
        for node in &self.flat {
            alive.insert(node.clone());
            // Not its references, but a snapshot cannot exist without its parents.
            let mut next = Some(node);
            while let Some(node @ Node::Snapshot { .. }) = next {
                alive.insert(node.clone());
                next = self.objects.get(node).and_then(|references| references.last());
            }
        }
        alive
    }

    fn collect(self, namespace: &Namespace, garbage: &mut Garbage) {
        let alive = self.alive();
        let content = self.content.into_iter();
        let dead = content.filter(|digest| !alive.contains(&Node::Content(digest.as_str().to_string())));
        garbage.content.extend(dead.map(|digest| (namespace.clone(), digest)));
        let is_alive = |snapshotter: &str, key: &SnapshotKey| {
            let (snapshotter, key) = (snapshotter.to_string(), key.as_str().to_string());
            alive.contains(&Node::Snapshot { snapshotter, key })
        };
        let mut dead: Vec<_> = self
            .snapshots
            .into_iter()
            .filter(|(snapshotter, row)| !is_alive(snapshotter, &row.info.name))
            .map(|(snapshotter, row)| (snapshotter, row.info))
            .collect();
        // A dead parent has only dead children; take leaves until none is left.
        while !dead.is_empty() {
            let parents: HashSet<(String, SnapshotKey)> = dead
                .iter()
                .filter_map(|(snapshotter, info)| Some((snapshotter.clone(), info.parent.clone()?)))
                .collect();
            let (inner, leaves): (Vec<_>, Vec<_>) = dead
                .into_iter()
                .partition(|(snapshotter, info)| parents.contains(&(snapshotter.clone(), info.name.clone())));
            let stuck = leaves.is_empty();
            garbage.snapshots.extend(
                leaves.into_iter().map(|(snapshotter, info)| (namespace.clone(), snapshotter, info.name)),
            );
            // Only a damaged database has a circle of parents.
            dead = if stuck { Vec::new() } else { inner };
        }
    }
}

/// A label with an unreadable time does not expire, as in containerd.
fn has_expired(labels: &Labels, now: Timestamp) -> bool {
    let time = labels.get(labels::GC_EXPIRE).and_then(|time| Timestamp::parse(time).ok());
    time.is_some_and(|time| time < now)
}
