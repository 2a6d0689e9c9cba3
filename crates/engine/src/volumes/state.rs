//! Who uses a volume: containers by their records, and containers that are being made by pins.

use super::{Volume, directory::VolumeDirectory};
use crate::{Engine, Error, Result, stores::blocking};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tare_types::{ErrorKind, Timestamp};

/// The volumes of a daemon.
#[derive(Debug)]
pub(crate) struct VolumeState {
    directory: VolumeDirectory,
    /// Volumes of containers that have no record yet, with the number of those. Held while a volume appears or goes.
    pins: Mutex<HashMap<String, usize>>,
}

impl VolumeState {
    /// Opens the volumes below a root directory.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        Ok(Self { directory: VolumeDirectory::open(root.join("volumes"))?, pins: Mutex::new(HashMap::new()) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volume of that name, made when it is not there; and whether it was made.
    pub(super) fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
        anonymous: bool,
        now: Timestamp,
        pinned: bool,
    ) -> Result<(Volume, bool)> {
        let mut pins = self.lock();
        let found = match self.directory.get(name) {
            Some(volume) => (volume, false),
            None => (self.directory.create(name, labels, options, anonymous, now)?, true),
        };
        if pinned {
            *pins.entry(name.to_owned()).or_insert(0) += 1;
        }
        Ok(found)
    }

    pub(super) fn get(&self, name: &str) -> Result<Volume> {
        self.directory.get(name).ok_or_else(|| Error::not_found("inspect", "volume", name))
    }

    pub(super) fn list(&self) -> Result<Vec<Volume>> {
        self.directory.list()
    }

    pub(super) fn size(&self, name: &str) -> Result<u64> {
        self.directory.size(name)
    }

    /// Takes an unused volume out of sight; gives its hidden name.
    pub(super) fn take(&self, name: &str, users: impl FnOnce(&str) -> Vec<String>) -> Result<String> {
        let pins = self.lock();
        if self.directory.get(name).is_none() {
            return Err(Error::not_found("remove", "volume", name));
        }
        let mut ids = users(name);
        if ids.is_empty() && pins.contains_key(name) {
            ids.push("a container that is being created".to_owned());
        }
        if !ids.is_empty() {
            let detail = ids.join(", ");
            return Err(Error::new(ErrorKind::FailedPrecondition, "remove", "volume", name, detail));
        }
        self.directory.take(name)
    }

    pub(super) fn discard(&self, hidden: &str) -> Result<()> {
        self.directory.discard(hidden)
    }

    fn unpin(&self, name: &str) {
        let mut pins = self.lock();
        if let Some(count) = pins.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                pins.remove(name);
            }
        }
    }
}

/// The volumes of a container that is being made. Dropped, they may be removed again; unless they are kept, the
/// anonymous ones that were made for it are removed.
pub(crate) struct Pins {
    engine: Engine,
    names: Vec<String>,
    made: Vec<String>,
}

impl Pins {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone(), names: Vec::new(), made: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, is_new_and_anonymous: bool) {
        self.names.push(name.to_owned());
        if is_new_and_anonymous {
            self.made.push(name.to_owned());
        }
    }

    /// The container has its record: the volumes are its own.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let state: Arc<VolumeState> = self.engine.inner().volumes.clone();
        self.names.iter().for_each(|name| state.unpin(name));
        let made = std::mem::take(&mut self.made);
        if made.is_empty() {
            return;
        }
        self.engine.spawn(async move {
            let removed = blocking("remove volumes", move || {
                made.iter().try_for_each(|name| state.discard(&state.take(name, |_| Vec::new())?))
            });
            if let Err(error) = removed.await {
                tracing::warn!(%error, "an anonymous volume of a container that was not made stays");
            }
        });
    }
}
