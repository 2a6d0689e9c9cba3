//! Memory goes back to the kernel when the daemon has nothing to do: a burst of containers leaves a heap full of holes,
//! which the allocator by itself keeps for the next one.

use std::time::Duration;
use tare_engine::Engine;

/// Without an event for this long the daemon rests. No timer runs while it does.
const QUIET: Duration = Duration::from_secs(1);

/// Trims the heap after each burst of events, until the engine ends.
pub async fn run(engine: Engine) {
    let (_, mut events) = engine.events().subscribe();
    while events.next().await.is_some() {
        while let Ok(Some(_)) = tokio::time::timeout(QUIET, events.next()).await {}
        // It walks all of the heap.
        #[cfg(target_env = "gnu")]
        drop(tokio::task::spawn_blocking(tare_sys::memory::trim_heap).await);
    }
}
