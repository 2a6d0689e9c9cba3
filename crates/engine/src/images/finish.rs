//! The end of a pull: blobs synced, then one transaction with blobs, snapshots and the name. The files of the snapshots
//! are synced afterwards.

use super::{
    documents::Documents,
    labels,
    layers::{LayerDone, reference_of},
    plan::Plan,
    *,
};
use tare_store::{
    Applied, IngestOptions, Labels, SealedBlob, Tables as _, WriteTx, labels::UNCOMPRESSED,
    metadata::ImageRow, snapshot::CommitOptions,
};
use tare_types::SnapshotKey;

/// containerd's label of a committed snapshot: its own ChainID.
const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";

/// Commits a whole image.
pub(super) fn commit(
    engine: &Engine,
    request: &PullRequest,
    plan: &Plan,
    documents: Documents,
    mut done: Vec<LayerDone>,
) -> Result<()> {
    check_diff_ids(&request.reference.familiar(), plan, &done)?;
    settle(plan, &mut done)?;
    let stores = engine.stores();
    let source = (labels::source_key(&request.reference), &request.reference);
    // What to write on every blob, whether it came now or was there.
    let mut wanted: Vec<(Digest, Labels)> = Vec::new();
    let mut sealed: Vec<SealedBlob> = Vec::new();
    for (layer, done) in plan.layers.iter().zip(&mut done) {
        wanted.push((
            layer.descriptor.digest.clone(),
            [(UNCOMPRESSED.to_string(), layer.diff_id.to_string())].into(),
        ));
        sealed.extend(done.sealed.take());
    }
    let config = documents.manifest.config.digest.clone();
    let chain = ChainId::of_layers(&documents.config.rootfs.diff_ids);
    for (descriptor, bytes, mut labels) in documents.blobs {
        if descriptor.digest == config
            && let Some(chain) = &chain
        {
            labels.extend([labels::snapshot_label(plan.snapshotter.name(), chain)]);
        }
        sealed.extend(seal_document(engine, &request.namespace, &descriptor, &bytes)?);
        wanted.push((descriptor.digest, labels));
    }
    stores.content.publish(&mut sealed)?;
    let now = now();
    let changed = stores.metadata.update(|tx| {
        for (digest, labels) in &wanted {
            let mut labels = labels.clone();
            let old = tx.content(&request.namespace, digest)?;
            let listed = old.as_ref().and_then(|row| row.labels.get(&source.0));
            labels.insert(source.0.clone(), labels::with_source(listed, source.1));
            match sealed.iter().find(|blob| blob.digest() == digest) {
                Some(blob) => blob.record(tx, &labels, now)?,
                None => tare_store::content::extend_labels(tx, &request.namespace, digest, &labels, now)?,
            }
        }
        commit_snapshots(tx, plan, &done, now)?;
        let changed =
            put_name(tx, &request.namespace, &stored_name(&request.reference), &documents.target, now)?;
        tx.remove_lease(&request.namespace, &plan.lease)?;
        Ok(changed)
    })?;
    sync_later(engine, &plan.snapshotter);
    engine.image_state().forget();
    if let Some(body) = changed {
        engine.events().publish(&request.namespace, now, body, Arc::default());
    }
    Ok(())
}

/// Commits the snapshots of an image whose content and name are there.
pub(super) fn commit_snapshots_only(
    engine: &Engine,
    plan: &Plan,
    mut done: Vec<LayerDone>,
    wanted: &[(Digest, Labels)],
) -> Result<()> {
    check_diff_ids("", plan, &done)?;
    settle(plan, &mut done)?;
    let now = now();
    engine.stores().metadata.update(|tx| {
        for (digest, labels) in wanted {
            tare_store::content::extend_labels(tx, &plan.namespace, digest, labels, now)?;
        }
        commit_snapshots(tx, plan, &done, now)?;
        tx.remove_lease(&plan.namespace, &plan.lease).map(|_| ())
    })?;
    sync_later(engine, &plan.snapshotter);
    Ok(())
}

fn check_diff_ids(name: &str, plan: &Plan, done: &[LayerDone]) -> Result<()> {
    for (layer, done) in plan.layers.iter().zip(done) {
        if let Some(applied) = &done.applied {
            check_diff_id(name, layer, applied)?;
        }
    }
    Ok(())
}

fn check_diff_id(name: &str, layer: &super::plan::LayerPlan, applied: &Applied) -> Result<()> {
    if applied.diff_id == layer.diff_id {
        return Ok(());
    }
    let detail = format!(
        "layer {}: wrong diff id: its archive has {}, the config says {}",
        layer.descriptor.digest, applied.diff_id, layer.diff_id
    );
    Err(Error::new(ErrorKind::DataLoss, "unpack", "image", name, detail))
}

/// Completes, bottom up, what layers that were unpacked without their parents left open.
fn settle(plan: &Plan, done: &mut [LayerDone]) -> Result<()> {
    let mut lowers = Vec::new();
    let first = plan.layers.iter().position(|layer| !layer.unpacked).unwrap_or(plan.layers.len());
    if let Some(parent) = plan.parent_of(first).filter(|_| first < plan.layers.len()) {
        lowers = plan.snapshotter.lower_dirs(&plan.namespace, parent)?;
    }
    for (layer, done) in plan.layers.iter().zip(done) {
        let (Some(key), Some(applied)) = (&layer.active, &mut done.applied) else { continue };
        let target = plan.snapshotter.apply_target(&plan.namespace, key)?;
        applied.settle(&target.root, &lowers)?;
        // Topmost first.
        lowers.insert(0, target.root);
    }
    Ok(())
}

/// A small document as a sealed blob; `None` when the namespace has it.
pub(super) fn seal_document(
    engine: &Engine,
    namespace: &Namespace,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<Option<SealedBlob>> {
    let options = IngestOptions {
        reference: &reference_of(descriptor),
        expected: Some(&descriptor.digest),
        total: descriptor.size,
        lease: None,
        now: now(),
    };
    let mut ingest = match engine.stores().content.ingest(namespace, &options) {
        Ok(ingest) => ingest,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if ingest.status().offset > 0 {
        ingest.truncate()?;
    }
    ingest.write(bytes)?;
    Ok(Some(ingest.seal(descriptor.size, Some(&descriptor.digest))?))
}

fn options(plan: &Plan, index: usize, applied: &Applied, rebase: bool, now: Timestamp) -> CommitOptions {
    let chain = plan.layers[index].chain.to_string();
    CommitOptions {
        labels: [(SNAPSHOT_REF.to_string(), chain)].into(),
        parent: plan.parent_of(index).filter(|_| rebase).cloned(),
        usage: Some(applied.usage),
        lease: Some(plan.lease.clone()),
        // The layers are in the content store: what a power cut takes is unpacked again.
        deferred: true,
        now,
    }
}

/// Syncs in the background what was committed without it. Who needs it synced before does that for himself
/// ([`tare_store::Snapshotter::stage`]).
pub(crate) fn sync_later(engine: &Engine, snapshotter: &Arc<dyn Snapshotter>) {
    let snapshotter = snapshotter.clone();
    engine.spawn(async move {
        let work = blocking("sync layers", move || Ok(snapshotter.sync_deferred()?));
        if let Err(error) = work.await {
            tracing::warn!(%error, "layers are not synced; nothing can be started from them until they are");
        }
    });
}

fn commit_snapshots(tx: &WriteTx, plan: &Plan, done: &[LayerDone], now: Timestamp) -> tare_store::Result<()> {
    for (index, (layer, done)) in plan.layers.iter().zip(done).enumerate() {
        let (Some(key), Some(applied)) = (&layer.active, &done.applied) else { continue };
        let options = options(plan, index, applied, true, now);
        plan.snapshotter.commit_in(tx, &plan.namespace, &layer.chain, key, &options)?;
    }
    Ok(())
}

/// Commits the snapshot of one layer, durably, so that the next one can stand on it.
pub(super) fn commit_one(plan: &Plan, index: usize, key: &SnapshotKey, applied: &Applied) -> Result<()> {
    check_diff_id("", &plan.layers[index], applied)?;
    let options = options(plan, index, applied, false, now());
    plan.snapshotter.commit(&plan.namespace, &plan.layers[index].chain, key, &options)?;
    Ok(())
}

/// Points a name to a target. What it pointed to before keeps a hidden name, so that it can be listed as untagged
/// and pruned. Gives the event, if anything changed.
pub(super) fn put_name(
    tx: &WriteTx,
    namespace: &Namespace,
    name: &str,
    target: &Descriptor,
    now: Timestamp,
) -> tare_store::Result<Option<crate::events::Body>> {
    let old = tx.image(namespace, name)?;
    let row = match &old {
        Some(old) if old.target.digest == target.digest => return Ok(None),
        Some(old) => {
            keep_untagged(tx, namespace, old, now)?;
            ImageRow { target: target.clone(), updated_at: now, ..old.clone() }
        }
        None => ImageRow {
            name: name.to_string(),
            target: target.clone(),
            labels: Labels::new(),
            created_at: now,
            updated_at: now,
        },
    };
    tx.put_image(namespace, &row)?;
    tx.remove_image(namespace, &untagged_name(&target.digest))?;
    let name = name.to_string();
    Ok(Some(match old {
        Some(_) => crate::events::Body::ImageUpdated { name },
        None => crate::events::Body::ImageCreated { name },
    }))
}

/// Gives a target its hidden name when no other name points to it.
pub(super) fn keep_untagged(
    tx: &WriteTx,
    namespace: &Namespace,
    old: &ImageRow,
    now: Timestamp,
) -> tare_store::Result<()> {
    let others = tx.images(namespace)?;
    if others.iter().any(|row| row.name != old.name && row.target.digest == old.target.digest) {
        return Ok(());
    }
    let name = untagged_name(&old.target.digest);
    tx.put_image(namespace, &ImageRow { name, updated_at: now, ..old.clone() })
}

/// The hidden name of an untagged image.
pub(super) fn untagged_name(target: &Digest) -> String {
    format!("{UNTAGGED}{target}")
}

/// Keeps a target that nobody has named.
pub(super) fn put_untagged(
    tx: &WriteTx,
    namespace: &Namespace,
    target: &Descriptor,
    now: Timestamp,
) -> tare_store::Result<()> {
    let name = untagged_name(&target.digest);
    let row =
        ImageRow { name, target: target.clone(), labels: Labels::new(), created_at: now, updated_at: now };
    tx.put_image(namespace, &row)
}
