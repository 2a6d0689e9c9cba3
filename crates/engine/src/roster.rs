//! All containers of the daemon in memory, by id, by prefix and by name.

use crate::{Error, Result, entry::Entry, key::Key};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};
use tare_types::{ContainerId, ErrorKind, Namespace};

/// The containers.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    index: RwLock<Index>,
    /// Some container has, or had, links on the built-in bridge.
    has_links: AtomicBool,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<Key, Arc<Entry>>,
    /// Names of containers and of those that are being made.
    names: HashMap<(Namespace, String), ContainerId>,
}

impl Roster {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a container. `false` when its id is taken.
    pub(crate) fn insert(&self, entry: Arc<Entry>) -> bool {
        let mut index = self.write();
        if index.entries.contains_key(&entry.key) {
            return false;
        }
        if entry.record().engine.as_ref().is_some_and(|fields| !fields.network.links.is_empty()) {
            self.has_links.store(true, Ordering::Relaxed);
        }
        index.entries.insert(entry.key.clone(), entry);
        true
    }

    /// Whether any container may have links on the built-in bridge.
    pub(crate) fn has_links(&self) -> bool {
        self.has_links.load(Ordering::Relaxed)
    }

    /// Removes a container and its names.
    pub(crate) fn remove(&self, key: &Key) {
        let mut index = self.write();
        index.entries.remove(key);
        index.names.retain(|(namespace, _), id| *id != key.id || *namespace != key.namespace);
    }

    /// One container.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.read().entries.get(key).cloned()
    }

    /// All containers of a namespace, by id.
    pub(crate) fn list(&self, namespace: &Namespace) -> Vec<Arc<Entry>> {
        let index = self.read();
        index.entries.values().filter(|entry| entry.key.namespace == *namespace).cloned().collect()
    }

    /// All containers.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.read().entries.values().cloned().collect()
    }

    /// Whether a name is taken.
    pub(crate) fn is_taken(&self, namespace: &Namespace, name: &str) -> bool {
        self.read().names.contains_key(&(namespace.clone(), name.to_owned()))
    }

    /// Reserves a name for a container.
    ///
    /// # Errors
    /// `AlreadyExists` with `what() == "container name"` and the id that has it as detail.
    pub(crate) fn reserve(&self, namespace: &Namespace, name: &str, id: &ContainerId) -> Result<()> {
        let mut index = self.write();
        let key = (namespace.clone(), name.to_owned());
        match index.names.get(&key) {
            Some(owner) if owner != id => {
                Err(Error::new(ErrorKind::AlreadyExists, "use", "container name", name, owner.as_str()))
            }
            _ => {
                index.names.insert(key, id.clone());
                Ok(())
            }
        }
    }

    /// Gives a name back.
    pub(crate) fn release(&self, namespace: &Namespace, name: &str) {
        self.write().names.remove(&(namespace.clone(), name.to_owned()));
    }

    /// The container that a reference means: an id, a name, or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a prefix of several.
    pub(crate) fn resolve(
        &self,
        operation: &'static str,
        namespace: &Namespace,
        reference: &str,
    ) -> Result<Arc<Entry>> {
        let index = self.read();
        let by_id = |id: ContainerId| index.entries.get(&Key { namespace: namespace.clone(), id }).cloned();
        if let Some(entry) = ContainerId::new(reference).ok().and_then(by_id) {
            return Ok(entry);
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let named = index.names.get(&(namespace.clone(), name.to_owned())).cloned();
        if let Some(entry) = named.and_then(by_id) {
            return Ok(entry);
        }
        let mut found = None;
        // An id may have a prefix that is no id by itself ("a-"), so the range cannot start there; names rule.
        let matches = index.entries.values().filter(|entry| {
            !reference.is_empty()
                && entry.key.namespace == *namespace
                && entry.key.id.as_str().starts_with(reference)
        });
        for entry in matches {
            if found.is_some() {
                let detail = "several containers have ids that begin so";
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    operation,
                    "container",
                    reference,
                    detail,
                ));
            }
            found = Some(entry.clone());
        }
        found.ok_or_else(|| Error::not_found(operation, "container", reference))
    }
}
