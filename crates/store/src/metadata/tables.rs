//! Transactions, and the plain tables below the typed ones.
//!
//! Every table has the same shape: key (scope, id), value bytes. A scope is a namespace, with more components
//! after a NUL where the format says so; neither holds a NUL by itself.

use crate::{Error, Result};
use redb::{Database, ReadableTable, TableDefinition, TableError};
use std::{
    cell::Cell,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tare_types::ErrorKind;

type Definition = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

/// The tables of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Schema version.
    Meta,
    /// ("", name).
    Namespaces,
    /// (namespace, name).
    Images,
    /// (namespace, id).
    Containers,
    /// (namespace, digest).
    Content,
    /// (namespace NUL snapshotter, key).
    Snapshots,
    /// (namespace NUL snapshotter NUL parent, key).
    SnapshotChildren,
    /// (namespace, id).
    Leases,
    /// (namespace NUL lease, kind NUL id).
    LeaseResources,
    /// (namespace, id).
    Sandboxes,
    /// (bucket, key).
    Values,
}

impl Table {
    const ALL: [Self; 11] = [
        Self::Meta,
        Self::Namespaces,
        Self::Images,
        Self::Containers,
        Self::Content,
        Self::Snapshots,
        Self::SnapshotChildren,
        Self::Leases,
        Self::LeaseResources,
        Self::Sandboxes,
        Self::Values,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Namespaces => "namespaces",
            Self::Images => "images",
            Self::Containers => "containers",
            Self::Content => "content",
            Self::Snapshots => "snapshots",
            Self::SnapshotChildren => "snapshot_children",
            Self::Leases => "leases",
            Self::LeaseResources => "lease_resources",
            Self::Sandboxes => "sandboxes",
            Self::Values => "values",
        }
    }

    fn definition(self) -> Definition {
        TableDefinition::new(self.name())
    }
}

/// Called for each row of a scan: scope, id, value.
pub(super) type Visit<'a> = dyn FnMut(&str, &str, &[u8]) -> Result<ControlFlow<()>> + 'a;

pub(super) mod sealed {
    use super::{Result, Table, Visit};

    /// What the typed tables are made of; only this crate implements it.
    pub trait Raw {
        #[doc(hidden)]
        fn raw_get(&self, table: Table, scope: &str, id: &str) -> Result<Option<Vec<u8>>>;
        #[doc(hidden)]
        fn raw_scan(&self, table: Table, scope: &str, visit: &mut Visit<'_>) -> Result<()>;
        #[doc(hidden)]
        fn raw_scan_from(&self, table: Table, after: Option<&str>, visit: &mut Visit<'_>) -> Result<()>;
    }
}

/// A consistent view of the database.
pub struct ReadTx {
    inner: redb::ReadTransaction,
    /// Told when the file fails.
    broken: Arc<AtomicBool>,
}

/// A change in progress: seen by nobody else, dropped without a trace when its closure fails.
pub struct WriteTx {
    inner: redb::WriteTransaction,
    failed: Cell<bool>,
}

impl std::fmt::Debug for ReadTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadTx")
    }
}

impl std::fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteTx")
    }
}

impl ReadTx {
    pub(super) fn new(inner: redb::ReadTransaction, broken: Arc<AtomicBool>) -> Self {
        Self { inner, broken }
    }

    fn fail(&self, table: Table, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.broken.store(true, Ordering::SeqCst);
        failed(table, error)
    }
}

impl WriteTx {
    pub(super) fn new(inner: redb::WriteTransaction) -> Self {
        Self { inner, failed: Cell::new(false) }
    }

    pub(super) fn into_inner(self) -> redb::WriteTransaction {
        self.inner
    }

    /// Whether the database itself failed during this transaction.
    pub(super) fn storage_failed(&self) -> bool {
        self.failed.get()
    }

    fn fail(&self, table: Table, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.failed.set(true);
        failed(table, error)
    }

    pub(crate) fn raw_put(&self, table: Table, scope: &str, id: &str, value: &[u8]) -> Result<()> {
        let mut open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        open.insert((scope, id), value).map_err(|error| self.fail(table, error))?;
        Ok(())
    }

    pub(crate) fn raw_remove(&self, table: Table, scope: &str, id: &str) -> Result<bool> {
        let mut open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        let removed = open.remove((scope, id)).map_err(|error| self.fail(table, error))?.is_some();
        Ok(removed)
    }
}

impl sealed::Raw for ReadTx {
    fn raw_get(&self, table: Table, scope: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        get(&open, scope, id).map_err(|error| self.fail(table, error))
    }
    fn raw_scan(&self, table: Table, scope: &str, visit: &mut Visit<'_>) -> Result<()> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        scan(table, &open, Range::Scope(scope), visit, &|| self.broken.store(true, Ordering::SeqCst))
    }
    fn raw_scan_from(&self, table: Table, after: Option<&str>, visit: &mut Visit<'_>) -> Result<()> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        scan(table, &open, Range::After(after), visit, &|| self.broken.store(true, Ordering::SeqCst))
    }
}

impl sealed::Raw for WriteTx {
    fn raw_get(&self, table: Table, scope: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        get(&open, scope, id).map_err(|error| self.fail(table, error))
    }
    fn raw_scan(&self, table: Table, scope: &str, visit: &mut Visit<'_>) -> Result<()> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        scan(table, &open, Range::Scope(scope), visit, &|| self.failed.set(true))
    }
    fn raw_scan_from(&self, table: Table, after: Option<&str>, visit: &mut Visit<'_>) -> Result<()> {
        let open = self.inner.open_table(table.definition()).map_err(|error| self.fail(table, error))?;
        scan(table, &open, Range::After(after), visit, &|| self.failed.set(true))
    }
}

type Key = (&'static str, &'static str);

/// Which rows a scan visits.
enum Range<'a> {
    /// Those of one scope.
    Scope(&'a str),
    /// Those of all scopes behind this one.
    After(Option<&'a str>),
}

fn get(
    table: &impl ReadableTable<Key, &'static [u8]>,
    scope: &str,
    id: &str,
) -> std::result::Result<Option<Vec<u8>>, redb::StorageError> {
    Ok(table.get((scope, id))?.map(|value| value.value().to_vec()))
}

fn scan(
    table: Table,
    open: &impl ReadableTable<Key, &'static [u8]>,
    range: Range<'_>,
    visit: &mut Visit<'_>,
    on_failure: &dyn Fn(),
) -> Result<()> {
    let broken = |error: redb::StorageError| {
        on_failure();
        failed(table, error)
    };
    let behind;
    let start = match range {
        Range::Scope(scope) => (scope, ""),
        Range::After(None) => ("", ""),
        Range::After(Some(scope)) => {
            // The next text in byte order is the same with a NUL appended.
            behind = format!("{scope}\0");
            (behind.as_str(), "")
        }
    };
    for row in open.range(start..).map_err(broken)? {
        let (key, value) = row.map_err(broken)?;
        let (row_scope, id) = key.value();
        if matches!(range, Range::Scope(scope) if scope != row_scope) {
            break;
        }
        if visit(row_scope, id, value.value())?.is_break() {
            break;
        }
    }
    Ok(())
}

fn failed(table: Table, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let kind = match error.to_string().contains("No space") {
        true => ErrorKind::ResourceExhausted,
        false => ErrorKind::DataLoss,
    };
    Error::other(kind, "access metadata table", table.name(), error)
}

/// Makes all tables and checks the version of the schema.
pub(super) fn prepare(database: &Database, path: &Path, version: u32) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::data_loss("open metadata database", path.display(), error.to_string())
    };
    if let Some(found) = found_version(database).map_err(|error| broken(&error))? {
        return match found == version {
            true => Ok(()),
            false => Err(Error::precondition(
                "open metadata database",
                path.display(),
                format!("it has schema version {found}, this program knows {version}"),
            )),
        };
    }
    let transaction = database.begin_write().map_err(|error| broken(&error))?;
    for table in Table::ALL {
        transaction.open_table(table.definition()).map_err(|error| broken(&error))?;
    }
    let writer = WriteTx::new(transaction);
    writer.raw_put(Table::Meta, "", "schema_version", version.to_string().as_bytes())?;
    writer.into_inner().commit().map_err(|error| broken(&error))
}

fn found_version(database: &Database) -> Result<Option<u32>> {
    use redb::ReadableDatabase;
    let read = database.begin_read().map_err(|error| failed(Table::Meta, error))?;
    let open = match read.open_table(Table::Meta.definition()) {
        Ok(open) => open,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(failed(Table::Meta, error)),
    };
    let value = get(&open, "", "schema_version").map_err(|error| failed(Table::Meta, error))?;
    Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).parse().unwrap_or(0)))
}
