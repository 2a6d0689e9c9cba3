//! One worker for each blob: pulls that need the same layer wait for each other, in one order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tare_types::{Digest, Namespace};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Key = (Namespace, Digest);

/// Locks by blob, made on demand and forgotten when nobody holds or wants them.
#[derive(Debug, Default)]
pub(super) struct BlobLocks {
    locks: Mutex<HashMap<Key, Weak<AsyncMutex<()>>>>,
}

impl BlobLocks {
    /// Takes the locks of all these blobs, in the order of their digests: two pulls never wait for each other in a
    /// circle.
    pub(super) async fn lock(
        &self,
        namespace: &Namespace,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut wanted: Vec<Digest> = digests.into_iter().collect();
        wanted.sort();
        wanted.dedup();
        let mut held = Vec::with_capacity(wanted.len());
        for digest in wanted {
            let lock = self.get((namespace.clone(), digest));
            held.push(lock.lock_owned().await);
        }
        held
    }

    fn get(&self, key: Key) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn shared_blobs_are_taken_one_after_another() {
        let locks = BlobLocks::default();
        let namespace = Namespace::default_namespace();
        let digest = |name: &str| Digest::of_bytes(name.as_bytes());
        let first = locks.lock(&namespace, [digest("b"), digest("a"), digest("a")]).await;
        assert_eq!(first.len(), 2);
        let second = locks.lock(&namespace, [digest("c"), digest("a")]);
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut second).await.is_err());
        let other = Namespace::new("other").unwrap();
        assert_eq!(locks.lock(&other, [digest("a")]).await.len(), 1, "namespaces do not meet");
        drop(first);
        assert_eq!(second.await.len(), 2);
    }
}
