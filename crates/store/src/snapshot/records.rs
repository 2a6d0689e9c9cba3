//! The rows of snapshots: the same for every snapshotter.

use super::{CommitOptions, Kind, SnapshotInfo, Staged, Usage};
use crate::{
    Error, Filters, Labels, Metadata, Result, Tables, WriteTx,
    filters::{Fields, label},
    metadata::{LeaseResource, SnapshotRow, Table},
};
use std::{borrow::Cow, collections::HashSet};
use tare_types::{ErrorKind, LeaseId, Namespace, SnapshotKey, Timestamp};

impl Fields for SnapshotInfo {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(self.name.as_str())),
            ["parent"] => self.parent.as_ref().map(|parent| Cow::Borrowed(parent.as_str())),
            ["kind"] => Some(Cow::Borrowed(self.kind.as_str())),
            ["labels", key @ ..] => label(&self.labels, key),
            _ => None,
        }
    }
}

pub(super) fn get(
    tables: &impl Tables,
    operation: &'static str,
    namespace: &Namespace,
    snapshotter: &str,
    key: &SnapshotKey,
) -> Result<SnapshotRow> {
    let row = tables.snapshot(namespace, snapshotter, key)?;
    row.ok_or_else(|| Error::not_found(operation, format_args!("snapshot {key}")))
}

/// The committed parent that a new snapshot stands on.
fn check_parent(
    tx: &WriteTx,
    operation: &'static str,
    namespace: &Namespace,
    snapshotter: &str,
    parent: &SnapshotKey,
) -> Result<SnapshotRow> {
    let row = tx.snapshot(namespace, snapshotter, parent)?;
    let row = row.ok_or_else(|| Error::not_found(operation, format_args!("parent snapshot {parent}")))?;
    if row.info.kind != Kind::Committed {
        let detail = format!("it is {}, not committed", row.info.kind.as_str());
        return Err(Error::invalid(operation, format_args!("parent snapshot {parent}"), detail));
    }
    Ok(row)
}

pub(super) fn insert(tx: &WriteTx, staged: &Staged) -> Result<()> {
    let (namespace, snapshotter, info) = (&staged.namespace, &staged.snapshotter, &staged.info);
    if tx.snapshot(namespace, snapshotter, &info.name)?.is_some() {
        return Err(Error::already_exists("prepare", format_args!("snapshot {}", info.name)));
    }
    if let Some(parent) = &info.parent {
        let row = check_parent(tx, "prepare", namespace, snapshotter, parent)?;
        if row.unsynced.is_some() {
            // It was synced when the directories were made, so it is another one by now.
            let detail = "it was replaced meanwhile; try again";
            return Err(Error::new(
                ErrorKind::Unavailable,
                "prepare",
                format_args!("parent snapshot {parent}"),
                detail,
            ));
        }
    }
    let row = SnapshotRow { id: staged.id, info: info.clone(), usage: Usage::default(), unsynced: None };
    tx.put_snapshot(namespace, snapshotter, &row)?;
    add_to_lease(tx, namespace, snapshotter, staged.lease.as_ref(), &info.name)
}

fn add_to_lease(
    tx: &WriteTx,
    namespace: &Namespace,
    snapshotter: &str,
    lease: Option<&LeaseId>,
    key: &SnapshotKey,
) -> Result<()> {
    let Some(lease) = lease else { return Ok(()) };
    let resource = LeaseResource { kind: format!("snapshots/{snapshotter}"), id: key.as_str().to_string() };
    tx.add_lease_resource(namespace, lease, &resource)
}

pub(super) fn commit(
    tx: &WriteTx,
    snapshotter: &str,
    namespace: &Namespace,
    name: &SnapshotKey,
    key: &SnapshotKey,
    options: &CommitOptions,
    boot: &str,
) -> Result<()> {
    let mut row = get(tx, "commit", namespace, snapshotter, key)?;
    if row.info.kind != Kind::Active {
        let detail = format!("it is {}, not active", row.info.kind.as_str());
        return Err(Error::precondition("commit", format_args!("snapshot {key}"), detail));
    }
    if tx.snapshot(namespace, snapshotter, name)?.is_some() {
        return Err(Error::already_exists("commit", format_args!("snapshot {name}")));
    }
    tx.remove_snapshot(namespace, snapshotter, &row)?;
    if let Some(parent) = &options.parent {
        if row.info.parent.as_ref().is_some_and(|own| own != parent) {
            let detail = "it already stands on another parent";
            return Err(Error::precondition("commit", format_args!("snapshot {key}"), detail));
        }
        check_parent(tx, "commit", namespace, snapshotter, parent)?;
        row.info.parent = Some(parent.clone());
    }
    row.info = SnapshotInfo {
        name: name.clone(),
        kind: Kind::Committed,
        labels: options.labels.clone(),
        created_at: options.now,
        updated_at: options.now,
        ..row.info
    };
    row.usage = options.usage.unwrap_or_default();
    row.unsynced = options.deferred.then(|| boot.to_string());
    tx.put_snapshot(namespace, snapshotter, &row)?;
    add_to_lease(tx, namespace, snapshotter, options.lease.as_ref(), name)
}

pub(super) fn remove(
    tx: &WriteTx,
    snapshotter: &str,
    namespace: &Namespace,
    key: &SnapshotKey,
) -> Result<SnapshotRow> {
    let row = get(tx, "remove", namespace, snapshotter, key)?;
    if tx.snapshot_has_children(namespace, snapshotter, key)? {
        let detail = "other snapshots stand on it";
        return Err(Error::precondition("remove", format_args!("snapshot {key}"), detail));
    }
    tx.remove_snapshot(namespace, snapshotter, &row)?;
    Ok(row)
}

pub(super) fn update(
    metadata: &Metadata,
    snapshotter: &str,
    namespace: &Namespace,
    key: &SnapshotKey,
    labels: &Labels,
    paths: &[String],
    now: Timestamp,
) -> Result<SnapshotInfo> {
    metadata.update(|tx| {
        let mut row = get(tx, "update", namespace, snapshotter, key)?;
        crate::labels::update(&mut row.info.labels, labels, paths)?;
        row.info.updated_at = now;
        tx.put_snapshot(namespace, snapshotter, &row)?;
        Ok(row.info)
    })
}

pub(super) fn list(
    metadata: &Metadata,
    snapshotter: &str,
    namespace: &Namespace,
    filters: &Filters,
) -> Result<Vec<SnapshotInfo>> {
    let rows = metadata.read()?.snapshots(namespace, snapshotter)?;
    Ok(rows.into_iter().map(|row| row.info).filter(|info| filters.matches(info)).collect())
}

/// Directory numbers of a chain, topmost first, from `key` downwards.
pub(super) fn chain(
    tables: &impl Tables,
    operation: &'static str,
    namespace: &Namespace,
    snapshotter: &str,
    key: Option<&SnapshotKey>,
) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    let mut next = key.cloned();
    while let Some(key) = next {
        let row = get(tables, operation, namespace, snapshotter, &key)?;
        ids.push(row.id);
        next = row.info.parent;
    }
    Ok(ids)
}

/// Rows of all namespaces.
pub(super) fn everywhere(metadata: &Metadata, snapshotter: &str) -> Result<Vec<(Namespace, SnapshotRow)>> {
    let tx = metadata.read()?;
    let mut all = Vec::new();
    for scope in tx.used_scopes(Table::Snapshots)? {
        let Some((namespace, name)) = scope.split_once('\0') else { continue };
        if name == snapshotter {
            let namespace = Namespace::new(namespace)?;
            let rows = tx.snapshots(&namespace, snapshotter)?;
            all.extend(rows.into_iter().map(|row| (namespace.clone(), row)));
        }
    }
    Ok(all)
}

/// Numbers that rows of any namespace name.
pub(super) fn used_numbers(metadata: &Metadata, snapshotter: &str) -> Result<HashSet<u64>> {
    Ok(everywhere(metadata, snapshotter)?.into_iter().map(|(_, row)| row.id).collect())
}
