//! Typed access to the tables: what a row is, how its key is made, and the checks that belong to one row.

use super::{
    ContainerRow, ContentInfo, ImageRow, LeaseResource, LeaseRow, NamespaceRow, SandboxRow, SnapshotRow,
    tables::{ReadTx, Table, WriteTx, sealed::Raw},
};
use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::ops::ControlFlow;
use tare_types::{ContainerId, Digest, LeaseId, Namespace, SandboxId, SnapshotKey};

/// Reading, in either kind of transaction.
pub trait Tables: Raw {
    /// A namespace; `None` when it was never created (using it is possible all the same, as in containerd).
    fn namespace(&self, name: &Namespace) -> Result<Option<NamespaceRow>> {
        let row: Option<NamespaceRow> = get(self, Table::Namespaces, "", name.as_str())?;
        Ok(row.map(|row| NamespaceRow { name: name.clone(), ..row }))
    }

    /// All created namespaces, by name.
    fn namespaces(&self) -> Result<Vec<NamespaceRow>> {
        collect(self, Table::Namespaces, "", |id, bytes| {
            let row: NamespaceRow = decode(Table::Namespaces, id, bytes)?;
            Ok(NamespaceRow { name: Namespace::new(id)?, ..row })
        })
    }

    /// One image.
    fn image(&self, namespace: &Namespace, name: &str) -> Result<Option<ImageRow>> {
        let row: Option<ImageRow> = get(self, Table::Images, namespace.as_str(), name)?;
        Ok(row.map(|row| ImageRow { name: name.to_string(), ..row }))
    }

    /// All images of a namespace, by name.
    fn images(&self, namespace: &Namespace) -> Result<Vec<ImageRow>> {
        collect(self, Table::Images, namespace.as_str(), |id, bytes| {
            let row: ImageRow = decode(Table::Images, id, bytes)?;
            Ok(ImageRow { name: id.to_string(), ..row })
        })
    }

    /// One container with its record.
    fn container(&self, namespace: &Namespace, id: &ContainerId) -> Result<Option<ContainerRow>> {
        let bytes = self.raw_get(Table::Containers, namespace.as_str(), id.as_str())?;
        bytes.map(|bytes| decode_container(id.as_str(), &bytes)).transpose()
    }

    /// All containers of a namespace, by id.
    fn containers(&self, namespace: &Namespace) -> Result<Vec<ContainerRow>> {
        collect(self, Table::Containers, namespace.as_str(), decode_container)
    }

    /// One sandbox with its record.
    fn sandbox(&self, namespace: &Namespace, id: &SandboxId) -> Result<Option<SandboxRow>> {
        let bytes = self.raw_get(Table::Sandboxes, namespace.as_str(), id.as_str())?;
        bytes.map(|bytes| decode_sandbox(id.as_str(), &bytes)).transpose()
    }

    /// All sandboxes of a namespace, by id.
    fn sandboxes(&self, namespace: &Namespace) -> Result<Vec<SandboxRow>> {
        collect(self, Table::Sandboxes, namespace.as_str(), decode_sandbox)
    }

    /// A blob as this namespace sees it.
    fn content(&self, namespace: &Namespace, digest: &Digest) -> Result<Option<ContentInfo>> {
        get(self, Table::Content, namespace.as_str(), digest.as_str())
    }

    /// All blobs of a namespace, by digest.
    fn contents(&self, namespace: &Namespace) -> Result<Vec<ContentInfo>> {
        collect(self, Table::Content, namespace.as_str(), |id, bytes| decode(Table::Content, id, bytes))
    }

    /// Any namespace's row of a blob: the bytes exist when there is one.
    fn content_anywhere(&self, digest: &Digest) -> Result<Option<ContentInfo>> {
        for namespace in self.used_scopes(Table::Content)? {
            if let Some(row) = get(self, Table::Content, &namespace, digest.as_str())? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// One snapshot.
    fn snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &SnapshotKey,
    ) -> Result<Option<SnapshotRow>> {
        get(self, Table::Snapshots, &snapshot_scope(namespace, snapshotter), key.as_str())
    }

    /// All snapshots of a namespace in one snapshotter, by key.
    fn snapshots(&self, namespace: &Namespace, snapshotter: &str) -> Result<Vec<SnapshotRow>> {
        collect(self, Table::Snapshots, &snapshot_scope(namespace, snapshotter), |id, bytes| {
            decode(Table::Snapshots, id, bytes)
        })
    }

    /// Whether another snapshot has this one as its parent.
    fn snapshot_has_children(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &SnapshotKey,
    ) -> Result<bool> {
        let mut found = false;
        self.raw_scan(Table::SnapshotChildren, &child_scope(namespace, snapshotter, key), &mut |_, _, _| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// One lease.
    fn lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<Option<LeaseRow>> {
        get(self, Table::Leases, namespace.as_str(), id.as_str())
    }

    /// All leases of a namespace, by id.
    fn leases(&self, namespace: &Namespace) -> Result<Vec<LeaseRow>> {
        collect(self, Table::Leases, namespace.as_str(), |id, bytes| decode(Table::Leases, id, bytes))
    }

    /// What a lease keeps.
    fn lease_resources(&self, namespace: &Namespace, id: &LeaseId) -> Result<Vec<LeaseResource>> {
        collect(self, Table::LeaseResources, &lease_scope(namespace, id), |key, _| {
            let (kind, id) = key.split_once('\0').unwrap_or((key, ""));
            Ok(LeaseResource { kind: kind.to_string(), id: id.to_string() })
        })
    }

    /// One value of the engine's own tables (networks, volumes).
    fn value(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        self.raw_get(Table::Values, bucket, key)
    }

    /// All values of a bucket, by key.
    fn values(&self, bucket: &str) -> Result<Vec<(String, Vec<u8>)>> {
        collect(self, Table::Values, bucket, |key, bytes| Ok((key.to_string(), bytes.to_vec())))
    }

    /// Every namespace that has a row anywhere, created or not, in order.
    fn used_namespaces(&self) -> Result<Vec<Namespace>> {
        let mut names: Vec<String> = self.namespaces()?.into_iter().map(|row| row.name.into()).collect();
        let tables = [Table::Images, Table::Containers, Table::Content, Table::Snapshots, Table::Leases];
        for table in tables.into_iter().chain([Table::Sandboxes]) {
            let scopes = self.used_scopes(table)?;
            names.extend(scopes.iter().filter_map(|scope| Some(scope.split('\0').next()?.to_string())));
        }
        names.sort();
        names.dedup();
        names.into_iter().map(|name| Ok(Namespace::new(name)?)).collect()
    }

    /// The scopes that a table has rows in, in order. Skips from scope to scope, not from row to row.
    #[doc(hidden)]
    fn used_scopes(&self, table: Table) -> Result<Vec<String>> {
        let mut scopes: Vec<String> = Vec::new();
        loop {
            let from = scopes.last().cloned();
            let mut next = None;
            self.raw_scan_from(table, from.as_deref(), &mut |scope, _, _| {
                next = Some(scope.to_string());
                Ok(ControlFlow::Break(()))
            })?;
            match next {
                Some(scope) => scopes.push(scope),
                None => return Ok(scopes),
            }
        }
    }
}

impl Tables for ReadTx {}
impl Tables for WriteTx {}

impl WriteTx {
    /// Creates or replaces a namespace.
    pub fn put_namespace(&self, row: &NamespaceRow) -> Result<()> {
        put(self, Table::Namespaces, "", row.name.as_str(), row)
    }

    /// Removes a namespace's own row; whether it was there.
    ///
    /// # Errors
    /// `FailedPrecondition` when it still holds objects, as containerd has it.
    pub fn remove_namespace(&self, name: &Namespace) -> Result<bool> {
        let kinds = [
            (Table::Images, "images"),
            (Table::Containers, "containers"),
            (Table::Content, "blobs"),
            (Table::Snapshots, "snapshots"),
            (Table::Sandboxes, "sandboxes"),
        ];
        let mut left = Vec::new();
        for (table, kind) in kinds {
            let scopes = self.used_scopes(table)?;
            if scopes.iter().any(|scope| scope.split('\0').next() == Some(name.as_str())) {
                left.push(kind);
            }
        }
        if !left.is_empty() {
            let detail = format!("namespace must be empty, but it still has {}", left.join(", "));
            return Err(Error::precondition("delete namespace", name, detail));
        }
        self.raw_remove(Table::Namespaces, "", name.as_str())
    }

    /// Creates or replaces an image.
    pub fn put_image(&self, namespace: &Namespace, row: &ImageRow) -> Result<()> {
        crate::labels::check(&row.labels)?;
        put(self, Table::Images, namespace.as_str(), &row.name, row)
    }

    /// Removes an image; whether it was there.
    pub fn remove_image(&self, namespace: &Namespace, name: &str) -> Result<bool> {
        self.raw_remove(Table::Images, namespace.as_str(), name)
    }

    /// Creates or replaces a container.
    pub fn put_container(&self, namespace: &Namespace, row: &ContainerRow) -> Result<()> {
        let bytes = encode_with_record(Table::Containers, row.id.as_str(), row, &row.record)?;
        self.raw_put(Table::Containers, namespace.as_str(), row.id.as_str(), &bytes)
    }

    /// Removes a container; whether it was there.
    pub fn remove_container(&self, namespace: &Namespace, id: &ContainerId) -> Result<bool> {
        self.raw_remove(Table::Containers, namespace.as_str(), id.as_str())
    }

    /// Creates or replaces a sandbox.
    pub fn put_sandbox(&self, namespace: &Namespace, row: &SandboxRow) -> Result<()> {
        let bytes = encode_with_record(Table::Sandboxes, row.id.as_str(), row, &row.record)?;
        self.raw_put(Table::Sandboxes, namespace.as_str(), row.id.as_str(), &bytes)
    }

    /// Removes a sandbox; whether it was there.
    pub fn remove_sandbox(&self, namespace: &Namespace, id: &SandboxId) -> Result<bool> {
        self.raw_remove(Table::Sandboxes, namespace.as_str(), id.as_str())
    }

    /// Creates or replaces a lease.
    pub fn put_lease(&self, namespace: &Namespace, row: &LeaseRow) -> Result<()> {
        crate::labels::check(&row.labels)?;
        put(self, Table::Leases, namespace.as_str(), row.id.as_str(), row)
    }

    /// Removes a lease and its list of resources; whether it was there.
    pub fn remove_lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<bool> {
        for resource in self.lease_resources(namespace, id)? {
            self.remove_lease_resource(namespace, id, &resource)?;
        }
        self.raw_remove(Table::Leases, namespace.as_str(), id.as_str())
    }

    /// Adds something to a lease; twice is once.
    ///
    /// # Errors
    /// `NotFound` when there is no such lease.
    pub fn add_lease_resource(
        &self,
        namespace: &Namespace,
        id: &LeaseId,
        resource: &LeaseResource,
    ) -> Result<()> {
        if self.lease(namespace, id)?.is_none() {
            return Err(Error::not_found("add to lease", id));
        }
        self.raw_put(Table::LeaseResources, &lease_scope(namespace, id), &resource_key(resource), b"")
    }

    /// Takes something from a lease; whether it was there.
    pub fn remove_lease_resource(
        &self,
        namespace: &Namespace,
        id: &LeaseId,
        resource: &LeaseResource,
    ) -> Result<bool> {
        self.raw_remove(Table::LeaseResources, &lease_scope(namespace, id), &resource_key(resource))
    }

    /// Sets a value of the engine's own tables.
    pub fn put_value(&self, bucket: &str, key: &str, value: &[u8]) -> Result<()> {
        self.raw_put(Table::Values, bucket, key, value)
    }

    /// Removes a value; whether it was there.
    pub fn remove_value(&self, bucket: &str, key: &str) -> Result<bool> {
        self.raw_remove(Table::Values, bucket, key)
    }

    pub(crate) fn put_content(&self, namespace: &Namespace, row: &ContentInfo) -> Result<()> {
        crate::labels::check(&row.labels)?;
        put(self, Table::Content, namespace.as_str(), row.digest.as_str(), row)
    }

    pub(crate) fn remove_content(&self, namespace: &Namespace, digest: &Digest) -> Result<bool> {
        self.raw_remove(Table::Content, namespace.as_str(), digest.as_str())
    }

    pub(crate) fn put_snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        row: &SnapshotRow,
    ) -> Result<()> {
        crate::labels::check(&row.info.labels)?;
        let key = row.info.name.as_str();
        if let Some(parent) = &row.info.parent {
            let scope = child_scope(namespace, snapshotter, parent);
            self.raw_put(Table::SnapshotChildren, &scope, key, b"")?;
        }
        put(self, Table::Snapshots, &snapshot_scope(namespace, snapshotter), key, row)
    }

    pub(crate) fn remove_snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        row: &SnapshotRow,
    ) -> Result<()> {
        let key = row.info.name.as_str();
        if let Some(parent) = &row.info.parent {
            let scope = child_scope(namespace, snapshotter, parent);
            self.raw_remove(Table::SnapshotChildren, &scope, key)?;
        }
        self.raw_remove(Table::Snapshots, &snapshot_scope(namespace, snapshotter), key)?;
        Ok(())
    }
}

pub(crate) fn snapshot_scope(namespace: &Namespace, snapshotter: &str) -> String {
    format!("{namespace}\0{snapshotter}")
}

fn child_scope(namespace: &Namespace, snapshotter: &str, parent: &SnapshotKey) -> String {
    format!("{namespace}\0{snapshotter}\0{parent}")
}

fn lease_scope(namespace: &Namespace, lease: &LeaseId) -> String {
    format!("{namespace}\0{lease}")
}

fn resource_key(resource: &LeaseResource) -> String {
    format!("{}\0{}", resource.kind, resource.id)
}

fn get<T: DeserializeOwned>(
    tables: &(impl Raw + ?Sized),
    table: Table,
    scope: &str,
    id: &str,
) -> Result<Option<T>> {
    tables.raw_get(table, scope, id)?.map(|bytes| decode(table, id, &bytes)).transpose()
}

fn collect<T>(
    tables: &(impl Raw + ?Sized),
    table: Table,
    scope: &str,
    mut decode: impl FnMut(&str, &[u8]) -> Result<T>,
) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    tables.raw_scan(table, scope, &mut |_, id, bytes| {
        rows.push(decode(id, bytes)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

fn put(tx: &WriteTx, table: Table, scope: &str, id: &str, row: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(row)
        .map_err(|error| Error::other(tare_types::ErrorKind::Internal, "encode row", id, error))?;
    tx.raw_put(table, scope, id, &bytes)
}

fn decode<T: DeserializeOwned>(table: Table, id: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::data_loss("read metadata row", id, format!("a row of {table:?} cannot be read: {error}"))
    })
}

/// Row with an opaque record behind it: length of the JSON (4 bytes, little endian), JSON, record.
fn encode_with_record(table: Table, id: &str, row: &impl Serialize, record: &[u8]) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(row)
        .map_err(|error| Error::other(tare_types::ErrorKind::Internal, "encode row", id, error))?;
    let length = u32::try_from(json.len())
        .map_err(|_| Error::invalid("encode row", id, format!("a row of {table:?} is too long")))?;
    let mut bytes = Vec::with_capacity(4 + json.len() + record.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(record);
    Ok(bytes)
}

fn split_record<'a>(table: Table, id: &str, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    let split = bytes
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?));
    split.ok_or_else(|| Error::data_loss("read metadata row", id, format!("a row of {table:?} is cut off")))
}

fn decode_container(id: &str, bytes: &[u8]) -> Result<ContainerRow> {
    let (json, record) = split_record(Table::Containers, id, bytes)?;
    let row: ContainerRow = decode(Table::Containers, id, json)?;
    Ok(ContainerRow { record: record.to_vec(), ..row })
}

fn decode_sandbox(id: &str, bytes: &[u8]) -> Result<SandboxRow> {
    let (json, record) = split_record(Table::Sandboxes, id, bytes)?;
    let row: SandboxRow = decode(Table::Sandboxes, id, json)?;
    Ok(SandboxRow { record: record.to_vec(), ..row })
}
