//! When garbage is collected: after what makes some, one collection at a time.

use super::*;
use tare_store::gc::Collected;

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
}
