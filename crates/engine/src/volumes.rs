//! Volumes: named and anonymous directories that outlive containers.

use crate::{Engine, Error, Result};
use std::{collections::BTreeMap, path::PathBuf};
use tare_types::Timestamp;

/// The verbs of volumes.
#[derive(Debug, Clone)]
pub struct Volumes {
    engine: Engine,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name; 64 hexadecimal digits for an anonymous one.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// Directory on the host.
    pub mountpoint: PathBuf,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Made for one container without a name.
    pub anonymous: bool,
}

/// A volume to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateVolume {
    /// `None` makes an anonymous one.
    pub name: Option<String>,
    /// Empty is `local`; others are refused.
    pub driver: String,
    /// Driver options; `local` knows `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Volumes {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Makes a volume, or gives the one of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for the name or driver; `AlreadyExists` for another driver or other options.
    pub async fn create(&self, _request: CreateVolume) -> Result<Volume> {
        let _ = &self.engine;
        Err(Error::unimplemented("create", "volume"))
    }

    /// One volume by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, name: &str) -> Result<Volume> {
        Err(Error::not_found("inspect", "volume", name))
    }

    /// All volumes by name.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub async fn list(&self) -> Result<Vec<Volume>> {
        Err(Error::unimplemented("list", "volumes"))
    }

    /// Removes a volume that no container uses.
    ///
    /// # Errors
    /// `NotFound` (none with `force`); `FailedPrecondition` when one uses it (detail: the ids).
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        if force { Ok(()) } else { Err(Error::not_found("remove", "volume", name)) }
    }

    /// Removes unused anonymous volumes, or with `all` named ones too, that satisfy `select`. Gives names and bytes.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(
        &self,
        _all: bool,
        _select: impl Fn(&Volume) -> bool + Send + Sync,
    ) -> Result<(Vec<String>, u64)> {
        Err(Error::unimplemented("prune", "volumes"))
    }
}
