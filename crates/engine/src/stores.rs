//! The stores below the engine, opened once: metadata, content, snapshots. And the row of a container.

use crate::{ContainerRecord, Error, Result};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use tare_store::{
    Collector, ContentStore, Metadata, MetadataOptions, Native, Overlay, Snapshotter, Tables, WriteTx,
    metadata::ContainerRow, snapshot::OverlayOptions,
};
use tare_types::{ErrorKind, SnapshotKey};

/// Directory of content below the root (containerd's name).
const CONTENT: &str = "io.containerd.content.v1.content";
/// Directories of snapshotters below the root: this and the snapshotter's name.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// The stores of a daemon.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The metadata database.
    pub metadata: Arc<Metadata>,
    /// Blobs.
    pub content: Arc<ContentStore>,
    /// Snapshotters by name.
    pub snapshotters: BTreeMap<String, Arc<dyn Snapshotter>>,
}

impl Stores {
    /// Opens everything below a root directory.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let metadata = Arc::new(Metadata::open(root, MetadataOptions::default())?);
        let content = Arc::new(ContentStore::open(&root.join(CONTENT), metadata.clone())?);
        content.cleanup(crate::clock::now())?;
        let place = |name: &str| root.join(format!("{SNAPSHOTTER}{name}"));
        let overlay = Overlay::open(&place("overlayfs"), metadata.clone(), OverlayOptions::default())?;
        let native = Native::open(&place("native"), metadata.clone())?;
        let built_in: [Arc<dyn Snapshotter>; 2] = [Arc::new(overlay), Arc::new(native)];
        let snapshotters = built_in.into_iter().map(|s| (s.name().to_owned(), s)).collect();
        Ok(Self { metadata, content, snapshotters })
    }

    /// A snapshotter by name.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown one.
    pub fn snapshotter(&self, name: &str) -> Result<&Arc<dyn Snapshotter>> {
        self.snapshotters.get(name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "use", "snapshotter", name, "snapshotter not loaded")
        })
    }

    /// What collects garbage of these stores.
    pub fn collector(&self) -> Collector {
        Collector {
            metadata: self.metadata.clone(),
            content: self.content.clone(),
            snapshotters: self.snapshotters.values().cloned().collect(),
        }
    }

    /// All container records of all namespaces.
    pub(crate) fn load_containers(&self) -> Result<Vec<ContainerRecord>> {
        let tx = self.metadata.read()?;
        let mut records = Vec::new();
        for namespace in tx.used_namespaces()? {
            for row in tx.containers(&namespace)? {
                let record = serde_json::from_slice(&row.record).map_err(|error| {
                    let detail = "its record in the metadata database cannot be read";
                    let name = format!("{namespace}/{}", row.id);
                    Error::new(ErrorKind::DataLoss, "load", "container", name, detail).with_source(error)
                })?;
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Writes a record in one durable commit, on a blocking thread.
    pub(crate) async fn save(&self, record: Arc<ContainerRecord>) -> Result<()> {
        let metadata = self.metadata.clone();
        blocking("write record of container", move || {
            let row = row_of(&record)?;
            Ok(metadata.update(|tx| put(tx, &record, &row))?)
        })
        .await
    }
}

/// Writes the row of a record.
pub(crate) fn put(tx: &WriteTx, record: &ContainerRecord, row: &ContainerRow) -> tare_store::Result<()> {
    tx.put_container(&record.namespace, row)
}

/// The row of a record; made outside of the transaction.
pub(crate) fn row_of(record: &ContainerRecord) -> Result<ContainerRow> {
    let bytes = serde_json::to_vec(record).map_err(|error| {
        Error::new(ErrorKind::Internal, "write", "container", record.id.as_str(), "").with_source(error)
    })?;
    let snapshot_key = match record.snapshot_key.as_str() {
        "" => None,
        key => Some(SnapshotKey::new(key)?),
    };
    Ok(ContainerRow {
        id: record.id.clone(),
        labels: record.labels.clone(),
        snapshotter: record.snapshotter.clone(),
        snapshot_key,
        image: record.image.clone(),
        created_at: record.created_at,
        updated_at: record.updated_at,
        record: bytes,
    })
}

/// Runs what may wait for a disk on a thread made for that.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, operation, "", "", "the working thread ended").with_source(error))
    })
}

impl From<tare_store::Error> for Error {
    fn from(error: tare_store::Error) -> Self {
        Self::new(error.kind(), "access", "store", "", "").with_source(error)
    }
}
