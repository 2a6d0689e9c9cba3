//! What a pull has to do, layer by layer, and the active snapshots it does it in.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use tare_store::{
    Snapshotter, Tables as _,
    labels::GC_EXPIRE,
    metadata::{LeaseResource, LeaseRow},
    snapshot::{Kind, PrepareRequest},
};
use tare_types::{DiffId, LeaseId, SnapshotKey};

/// Marks the leases of pulls: those of a daemon that died are removed when the next one starts.
pub(super) const LEASE_LABEL: &str = "tare.pull";
/// How long a forgotten lease keeps its things, in seconds: containerd's day.
const LEASE_LIFE: i64 = 24 * 60 * 60;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// One layer of the image.
#[derive(Debug)]
pub(super) struct LayerPlan {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: DiffId,
    /// The snapshot that holds the stack up to here.
    pub(super) chain: SnapshotKey,
    /// Whether that snapshot is there.
    pub(super) unpacked: bool,
    /// The active snapshot to unpack into.
    pub(super) active: Option<SnapshotKey>,
}

/// The layers, and what keeps them meanwhile.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) namespace: Namespace,
    pub(super) snapshotter: Arc<dyn Snapshotter>,
    pub(super) lease: LeaseId,
    pub(super) layers: Vec<LayerPlan>,
}

impl Plan {
    /// Looks at what is there. Writes nothing.
    pub(super) fn new(
        engine: &Engine,
        namespace: &Namespace,
        snapshotter: &Arc<dyn Snapshotter>,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<Self> {
        let tx = engine.stores().metadata.read()?;
        let mut chain: Option<ChainId> = None;
        let mut layers = Vec::new();
        // A stack is usable up to its first missing snapshot.
        let mut complete = true;
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let next = ChainId::next(chain.as_ref(), diff_id);
            let key = SnapshotKey::new(next.to_string())?;
            let row = tx.snapshot(namespace, snapshotter.name(), &key)?;
            complete = complete && row.is_some_and(|row| row.info.kind == Kind::Committed);
            layers.push(LayerPlan {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
                chain: key,
                unpacked: complete,
                active: None,
            });
            chain = Some(next);
        }
        let lease = LeaseId::new(format!("pull-{}", unique()))?;
        Ok(Self { namespace: namespace.clone(), snapshotter: snapshotter.clone(), lease, layers })
    }

    /// The chain up to a layer's parent.
    pub(super) fn parent_of(&self, index: usize) -> Option<&SnapshotKey> {
        index.checked_sub(1).map(|below| &self.layers[below].chain)
    }

    /// The lowest layer with the same blob, when that is another one: the blob is fetched once, for that.
    pub(super) fn same_below(&self, index: usize) -> Option<usize> {
        let digest = &self.layers[index].descriptor.digest;
        self.layers[..index].iter().position(|layer| layer.descriptor.digest == *digest)
    }

    /// Takes the lease over what is there, and makes active snapshots for all layers that are to be unpacked at
    /// once. Needs no durability: after a crash the leftovers are removed, not used.
    pub(super) fn prepare(&mut self, engine: &Engine) -> Result<()> {
        let now = now();
        let rebase = self.snapshotter.can_rebase();
        let mut staged = Vec::new();
        for layer in self.layers.iter_mut().filter(|layer| rebase && !layer.unpacked) {
            let key = active_key(&layer.chain)?;
            staged.push(
                self.snapshotter.stage(Kind::Active, &request(&self.namespace, &key, None, &self.lease))?,
            );
            layer.active = Some(key);
        }
        let expires = Timestamp::new(now.seconds + LEASE_LIFE, 0).to_string();
        let labels = [(GC_EXPIRE.to_string(), expires), (LEASE_LABEL.to_string(), String::new())].into();
        let lease = LeaseRow { id: self.lease.clone(), created_at: now, labels };
        let kind = format!("snapshots/{}", self.snapshotter.name());
        engine.stores().metadata.update_relaxed(|tx| {
            tx.put_lease(&self.namespace, &lease)?;
            for layer in &self.layers {
                if layer.unpacked {
                    let resource = LeaseResource { kind: kind.clone(), id: layer.chain.to_string() };
                    tx.add_lease_resource(&self.namespace, &self.lease, &resource)?;
                }
                if tx.content(&self.namespace, &layer.descriptor.digest)?.is_some() {
                    let id = layer.descriptor.digest.to_string();
                    let resource = LeaseResource { kind: "content".to_string(), id };
                    tx.add_lease_resource(&self.namespace, &self.lease, &resource)?;
                }
            }
            staged.iter().try_for_each(|staged| staged.record(tx))
        })?;
        Ok(())
    }

    /// Makes the active snapshot of one layer on its committed parent, for a snapshotter that cannot rebase.
    pub(super) fn prepare_on_parent(&mut self, index: usize) -> Result<()> {
        let key = active_key(&self.layers[index].chain)?;
        self.snapshotter.prepare(&request(&self.namespace, &key, self.parent_of(index), &self.lease))?;
        self.layers[index].active = Some(key);
        Ok(())
    }

    /// Undoes what `prepare` made: active snapshots and the lease. Blobs under way stay for the next pull.
    pub(super) fn undo(&self, engine: &Engine) -> Result<()> {
        let removed = engine.stores().metadata.update_relaxed(|tx| {
            let mut removed = Vec::new();
            for key in self.layers.iter().filter_map(|layer| layer.active.as_ref()) {
                match self.snapshotter.remove_in(tx, &self.namespace, key) {
                    Ok(gone) => removed.push(gone),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            tx.remove_lease(&self.namespace, &self.lease)?;
            Ok(removed)
        })?;
        for directory in removed {
            directory.discard()?;
        }
        Ok(())
    }
}

/// Removes what pulls of a daemon that died left: their leases and active snapshots.
pub(crate) fn remove_leftovers(stores: &crate::stores::Stores) -> Result<()> {
    let tx = stores.metadata.read()?;
    let mut leases = Vec::new();
    for namespace in tx.used_namespaces()? {
        for lease in tx.leases(&namespace)? {
            if lease.labels.contains_key(LEASE_LABEL) {
                leases.push((namespace.clone(), lease.id));
            }
        }
    }
    drop(tx);
    if leases.is_empty() {
        return Ok(());
    }
    // The snapshots are nobody's without the lease: garbage collection takes them.
    stores.metadata.update(|tx| {
        leases.iter().try_for_each(|(namespace, id)| tx.remove_lease(namespace, id).map(|_| ()))
    })?;
    Ok(())
}

fn request<'a>(
    namespace: &'a Namespace,
    key: &'a SnapshotKey,
    parent: Option<&'a SnapshotKey>,
    lease: &'a LeaseId,
) -> PrepareRequest<'a> {
    PrepareRequest { namespace, key, parent, labels: Default::default(), lease: Some(lease), now: now() }
}

/// `extract-<unique> <chain>`, as containerd names the snapshots it unpacks into.
fn active_key(chain: &SnapshotKey) -> Result<SnapshotKey> {
    Ok(SnapshotKey::new(format!("extract-{} {chain}", unique()))?)
}

fn unique() -> String {
    let now = now();
    format!("{}-{}-{}", now.seconds, now.nanos, COUNTER.fetch_add(1, Ordering::Relaxed))
}
