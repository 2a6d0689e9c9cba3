//! Container records as containerd's Containers service sees them: made, changed and removed by a client that
//! brings the spec itself.

use crate::{
    ContainerRecord, Engine, Error, Result, clock, entry::Entry, events::Body, key::Key, lifecycle::remove,
    stores::blocking,
};
use std::sync::Arc;
use tare_types::{ContainerId, ErrorKind, Namespace};

/// The verbs of records.
#[derive(Debug, Clone)]
pub struct Records {
    engine: Engine,
}

/// Bytes of a label, key and value together, at most (containerd's bound).
const MAX_LABEL: usize = 4096;

impl Records {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Stores a new record; times are set here. Gives it as stored.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument` for labels longer than 4096 bytes or a missing runtime name.
    pub async fn create(&self, mut record: ContainerRecord) -> Result<Arc<ContainerRecord>> {
        check(&record)?;
        record.created_at = clock::now();
        record.updated_at = record.created_at;
        // A client of this door drives the container itself.
        record.engine = None;
        let key = Key::new(&record.namespace, &record.id);
        let entry = Arc::new(Entry::new(key.clone(), record));
        if !self.engine.inner().roster.insert(entry.clone()) {
            let detail = "a container of that id exists";
            return Err(Error::new(ErrorKind::AlreadyExists, "create", "container", key.id.as_str(), detail));
        }
        let engine = self.engine.clone();
        let work = async move {
            let record = entry.record();
            if let Err(error) = engine.stores().save(record.clone()).await {
                engine.inner().roster.remove(&entry.key);
                return Err(error);
            }
            let body = Body::ContainerCreated {
                id: record.id.to_string(),
                image: record.image.clone(),
                runtime: record.runtime.name.clone(),
            };
            engine.publish(&entry, body);
            Ok(record)
        };
        self.engine.run("create container", work).await
    }

    /// Replaces a record with what `change` makes of it, in one transaction; times are set here.
    ///
    /// # Errors
    /// `NotFound`, and what `change` gives.
    pub async fn update(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        change: impl FnOnce(&mut ContainerRecord) -> Result<()> + Send + 'static,
    ) -> Result<Arc<ContainerRecord>> {
        let (engine, entry) = (self.engine.clone(), self.entry("update", namespace, id)?);
        let work = async move {
            let _turn = entry.turn.lock().await;
            let mut record = (*entry.record()).clone();
            change(&mut record)?;
            check(&record)?;
            record.updated_at = clock::now();
            let record = Arc::new(record);
            engine.stores().save(record.clone()).await?;
            entry.set_record(record.clone());
            let body = Body::ContainerUpdated { id: record.id.to_string(), image: record.image.clone() };
            engine.publish(&entry, body);
            Ok(record)
        };
        self.engine.run("update container", work).await
    }

    /// Removes a record. Its snapshot stays (it is the client's).
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it has a task.
    pub async fn delete(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.entry("delete", namespace, id)?);
        let work = async move {
            let _turn = entry.turn.lock().await;
            if entry.task().is_some() {
                let detail = "cannot delete a container that has a task";
                let name = entry.key.id.as_str();
                return Err(Error::new(ErrorKind::FailedPrecondition, "delete", "container", name, detail));
            }
            if entry.is_driven() {
                // Its snapshot and files are the engine's, so they go with it.
                return remove::remove_settled(&engine, &entry, false, None).await;
            }
            let (stores, key) = (engine.stores().clone(), entry.key.clone());
            blocking("remove record of container", move || {
                Ok(stores.metadata.update(|tx| tx.remove_container(&key.namespace, &key.id))?)
            })
            .await?;
            entry.live().removed = true;
            engine.inner().roster.remove(&entry.key);
            engine.publish(&entry, Body::ContainerDeleted { id: entry.key.id.to_string() });
            Ok(())
        };
        self.engine.run("delete container", work).await
    }

    /// One record.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, namespace: &Namespace, id: &ContainerId) -> Result<Arc<ContainerRecord>> {
        Ok(self.entry("get", namespace, id)?.record())
    }

    /// All records of the namespace, by id.
    pub fn list(&self, namespace: &Namespace) -> Vec<Arc<ContainerRecord>> {
        self.engine.inner().roster.list(namespace).iter().map(|entry| entry.record()).collect()
    }

    fn entry(&self, operation: &'static str, namespace: &Namespace, id: &ContainerId) -> Result<Arc<Entry>> {
        let found = self.engine.inner().roster.get(&Key::new(namespace, id));
        found.ok_or_else(|| Error::not_found(operation, "container", id.as_str()))
    }
}

fn check(record: &ContainerRecord) -> Result<()> {
    let invalid = |detail: String| {
        Error::new(ErrorKind::InvalidArgument, "store", "container", record.id.as_str(), detail)
    };
    if record.runtime.name.is_empty() {
        return Err(invalid("container.runtime.name must be set".to_owned()));
    }
    for (key, value) in &record.labels {
        if key.is_empty() {
            return Err(invalid("a label has no key".to_owned()));
        }
        if key.len() + value.len() > MAX_LABEL {
            let begin: String = key.chars().take(10).collect();
            return Err(invalid(format!("label key and value length exceeds {MAX_LABEL} bytes: {begin}")));
        }
    }
    Ok(())
}
