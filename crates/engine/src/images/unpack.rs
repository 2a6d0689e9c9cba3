//! Unpacking an image whose blobs are here and whose snapshots are not.

use super::{
    finish,
    journal::Journal,
    labels,
    layers::{LayerDone, LayerJob},
    plan::Plan,
    *,
};
use tare_store::{Labels, labels::UNCOMPRESSED};
use tokio_util::sync::CancellationToken;

/// Makes the snapshots of an image that are missing. Cheap when none is.
pub(super) async fn ensure(
    images: &Images,
    namespace: &Namespace,
    image: &Image,
    snapshotter: Option<&str>,
) -> Result<()> {
    let snapshotter = images.snapshotter(snapshotter)?;
    let engine = images.engine.clone();
    if is_unpacked(&engine, namespace, image, &snapshotter)? {
        return Ok(());
    }
    let digests = image.manifest.layers.iter().map(|layer| layer.digest.clone());
    let locks = engine.image_state().locks.lock(namespace, digests).await;
    let (owned, image, tenant) = (engine.clone(), image.clone(), namespace.clone());
    let work = async move {
        let _locks = locks;
        blocking("unpack image", move || unpack(&owned, &tenant, &image, &snapshotter)).await
    };
    // To its end, whether or not the caller stays.
    engine.run("unpack image", work).await
}

fn is_unpacked(
    engine: &Engine,
    namespace: &Namespace,
    image: &Image,
    snapshotter: &Arc<dyn Snapshotter>,
) -> Result<bool> {
    let Some(top) = image.top_snapshot() else { return Ok(true) };
    let row = engine.stores().metadata.read()?.snapshot(namespace, snapshotter.name(), &top)?;
    Ok(row.is_some_and(|row| row.info.kind == tare_store::snapshot::Kind::Committed))
}

fn unpack(
    engine: &Engine,
    namespace: &Namespace,
    image: &Image,
    snapshotter: &Arc<dyn Snapshotter>,
) -> Result<()> {
    let mut plan = Plan::new(engine, namespace, snapshotter, &image.manifest, &image.config)?;
    let worked = plan.prepare(engine).and_then(|()| layers(engine, namespace, image, &mut plan));
    worked.map_err(|error| super::pull::undone(&plan, engine, error))
}

fn layers(engine: &Engine, namespace: &Namespace, image: &Image, plan: &mut Plan) -> Result<()> {
    let rebase = plan.snapshotter.can_rebase();
    let journal = Arc::new(Journal::new());
    let mut done = Vec::new();
    for index in 0..plan.layers.len() {
        if !rebase && !plan.layers[index].unpacked {
            plan.prepare_on_parent(index)?;
        }
        let layer = &plan.layers[index];
        let job = LayerJob {
            namespace: namespace.clone(),
            descriptor: layer.descriptor.clone(),
            target: layer.active.clone().map(|key| (plan.snapshotter.clone(), key)),
            content: engine.stores().content.clone(),
            journal: journal.clone(),
            stop: CancellationToken::new(),
            name: image.id.short().to_string(),
        };
        let mut applied = job.apply_stored()?;
        if !rebase && let (Some(applied), Some(key)) = (applied.take(), plan.layers[index].active.take()) {
            finish::commit_one(plan, index, &key, &applied)?;
        }
        done.push(LayerDone { sealed: None, applied });
    }
    finish::commit_snapshots_only(engine, plan, done, &labels_of(image, plan))
}

/// What the content is told about its snapshots.
fn labels_of(image: &Image, plan: &Plan) -> Vec<(Digest, Labels)> {
    let layers = plan.layers.iter().map(|layer| {
        let label = (UNCOMPRESSED.to_string(), layer.diff_id.to_string());
        (layer.descriptor.digest.clone(), Labels::from([label]))
    });
    let config = labels::snapshot_label(plan.snapshotter.name(), &image.chain_id);
    layers.chain([(image.id.clone(), Labels::from([config]))]).collect()
}
