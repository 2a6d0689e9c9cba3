//! When garbage is collected: soon after what makes some, and now and then for what expires. One at a time.

use super::*;
use crate::engine::WeakEngine;
use std::time::Duration;
use tare_store::gc::Collected;
use tokio_util::sync::CancellationToken;

/// Between what makes garbage and its collection: several removals in a row are collected together.
const DELAY: Duration = Duration::from_millis(100);
/// Between collections without a cause: leases, images and abandoned ingests expire.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// Removes content, snapshots, leases and ingests that nothing keeps any more. Waits for the end.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn collect_garbage(&self) -> Result<Collected> {
        let _one = self.image_state().collecting.lock().await;
        let engine = self.clone();
        let collected = blocking("collect garbage", move || {
            let collected = engine.stores().collector().collect(now())?;
            engine.image_state().forget();
            Ok(collected)
        })
        .await?;
        tracing::debug!(?collected, "garbage collected");
        Ok(collected)
    }

    /// Something was removed that may have kept other things: they are collected soon. Does not wait.
    pub fn request_garbage_collection(&self) {
        self.image_state().garbage.notify_one();
    }
}

/// Collects on request and by the clock, until the engine stops. The first time at once: a daemon that died may have
/// left something.
pub(crate) async fn run_schedule(engine: WeakEngine, stop: CancellationToken) {
    loop {
        let Some(engine) = engine.upgrade() else { return };
        if let Err(error) = engine.collect_garbage().await {
            tracing::warn!(%error, "garbage collection failed; it is tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.image_state().garbage.notified() => tokio::time::sleep(DELAY).await,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
