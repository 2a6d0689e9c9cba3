//! What the image verbs share between calls: the registry client, running pulls, locks, and parsed documents.

use super::{journal::Journal, locks::BlobLocks, lookup::Loaded, *};
use crate::config::EngineConfig;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tare_registry::{Client, ClientOptions};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, watch};

/// How many parsed images are kept.
const CACHE_LIMIT: usize = 512;

/// The outcome of a pull, once it is there.
pub(super) type Outcome = Option<Result<Arc<Image>, Arc<Error>>>;

/// A pull under way.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) request: PullRequest,
    pub(super) journal: Arc<Journal>,
    pub(super) outcome: watch::Receiver<Outcome>,
}

/// The part of the engine that belongs to images.
#[derive(Debug)]
pub(crate) struct ImageState {
    pub(super) client: Client,
    /// Layers worked on at once by all pulls together: what bounds memory.
    pub(super) slots: Arc<Semaphore>,
    pub(super) locks: BlobLocks,
    running: Mutex<Vec<Running>>,
    cache: Mutex<HashMap<(Namespace, Digest), Arc<Loaded>>>,
    /// One garbage collection at a time.
    pub(super) collecting: AsyncMutex<()>,
    /// Wakes the collector.
    pub(super) garbage: Notify,
}

impl ImageState {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let client = Client::new(ClientOptions {
            hosts_directories: config.registry_config.clone(),
            plain_http: config.insecure_registries.clone(),
            ..ClientOptions::default()
        });
        Self {
            client,
            slots: Arc::new(Semaphore::new(config.max_concurrent_downloads.max(1))),
            locks: BlobLocks::default(),
            running: Mutex::default(),
            cache: Mutex::default(),
            collecting: AsyncMutex::default(),
            garbage: Notify::new(),
        }
    }

    pub(super) fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<(Namespace, Digest), Arc<Loaded>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cached(&self, namespace: &Namespace, target: &Digest) -> Option<Arc<Loaded>> {
        self.cache().get(&(namespace.clone(), target.clone())).cloned()
    }

    pub(super) fn keep(&self, namespace: &Namespace, target: &Digest, loaded: Arc<Loaded>) {
        let mut cache = self.cache();
        if cache.len() >= CACHE_LIMIT {
            cache.clear();
        }
        cache.insert((namespace.clone(), target.clone()), loaded);
    }

    /// Forgets what was parsed: content came or went.
    pub(super) fn forget(&self) {
        self.cache().clear();
    }
}
