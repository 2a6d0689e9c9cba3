//! Container records as containerd's Containers service sees them: made, changed and removed by a client that
//! brings the spec itself.

use crate::{ContainerRecord, Engine, Error, Result};
use std::sync::Arc;
use tare_types::{ContainerId, Namespace};

/// The verbs of records.
#[derive(Debug, Clone)]
pub struct Records {
    engine: Engine,
}

impl Records {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Stores a new record; times are set here. Gives it as stored.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument` for labels longer than 4096 bytes or a missing runtime name.
    pub async fn create(&self, _record: ContainerRecord) -> Result<Arc<ContainerRecord>> {
        let _ = &self.engine;
        Err(Error::unimplemented("create", "container"))
    }

    /// Replaces a record with what `change` makes of it, in one transaction; times are set here.
    ///
    /// # Errors
    /// `NotFound`, and what `change` gives.
    pub async fn update(
        &self,
        _namespace: &Namespace,
        _id: &ContainerId,
        _change: impl FnOnce(&mut ContainerRecord) -> Result<()> + Send + 'static,
    ) -> Result<Arc<ContainerRecord>> {
        Err(Error::unimplemented("update", "container"))
    }

    /// Removes a record. Its snapshot stays (it is the client's).
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it has a task.
    pub async fn delete(&self, _namespace: &Namespace, _id: &ContainerId) -> Result<()> {
        Err(Error::unimplemented("delete", "container"))
    }

    /// One record.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, _namespace: &Namespace, id: &ContainerId) -> Result<Arc<ContainerRecord>> {
        Err(Error::not_found("get", "container", id.as_str()))
    }

    /// All records of the namespace, by id.
    pub fn list(&self, _namespace: &Namespace) -> Vec<Arc<ContainerRecord>> {
        Vec::new()
    }
}
