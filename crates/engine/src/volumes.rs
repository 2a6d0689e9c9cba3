//! Volumes: named and anonymous directories that outlive containers.
//!
//! A volume is `<root>/volumes/<name>/` with the data in `_data` and its description in `volume.json`
//! (`docs/formats/volumes.md`). The directory is the record: it appears and goes by one rename.

mod directory;
mod populate;
mod state;
pub(crate) mod subpath;

pub(crate) use populate::populate;
pub(crate) use state::{Pins, VolumeState};

use crate::{Engine, Error, Result, clock, events::Body, naming, stores::blocking};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tare_types::{ErrorKind, Namespace, Timestamp};

/// Docker's label of a volume that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The one driver.
const DRIVER: &str = "local";

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

    fn state(&self) -> Arc<VolumeState> {
        self.engine.inner().volumes.clone()
    }

    /// Makes a volume, or gives the one of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for the name, the driver or its options.
    pub async fn create(&self, request: CreateVolume) -> Result<Volume> {
        self.make(request, None).await
    }

    /// As [`Volumes::create`], for a container that is being made: nobody removes the volume as long as `pins` lives,
    /// and a new anonymous one goes with `pins` unless they are kept.
    pub(crate) async fn create_for_container(
        &self,
        request: CreateVolume,
        pins: &mut Pins,
    ) -> Result<Volume> {
        self.make(request, Some(pins)).await
    }

    async fn make(&self, request: CreateVolume, pins: Option<&mut Pins>) -> Result<Volume> {
        check(&request)?;
        let anonymous = request.name.is_none();
        let name = match request.name {
            Some(name) => name,
            None => naming::random_container_id()?.to_string(),
        };
        let mut labels = request.labels;
        if anonymous {
            labels.insert(ANONYMOUS.into(), String::new());
        }
        let (state, pinned, options) = (self.state(), pins.is_some(), request.options);
        let (volume, is_new) = blocking("create volume", move || {
            state.create(&name, labels, options, anonymous, clock::now(), pinned)
        })
        .await?;
        if let Some(pins) = pins {
            pins.add(&volume.name, is_new && anonymous);
        }
        if is_new {
            self.publish("create", &volume.name);
        }
        Ok(volume)
    }

    /// One volume by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, name: &str) -> Result<Volume> {
        let (state, name) = (self.state(), name.to_owned());
        blocking("inspect volume", move || state.get(&name)).await
    }

    /// Bytes of the files of a volume; `None` when they cannot be counted.
    pub async fn size(&self, name: &str) -> Option<u64> {
        let (state, name) = (self.state(), name.to_owned());
        blocking("measure volume", move || state.size(&name)).await.ok()
    }

    /// All volumes by name.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub async fn list(&self) -> Result<Vec<Volume>> {
        let state = self.state();
        blocking("list volumes", move || state.list()).await
    }

    /// Removes a volume that no container uses.
    ///
    /// # Errors
    /// `NotFound` (none with `force`); `FailedPrecondition` when one uses it (detail: the ids).
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let (state, engine, wanted) = (self.state(), self.engine.clone(), name.to_owned());
        let removed = blocking("remove volume", move || {
            let trash = state.take(&wanted, |name| users(&engine, name))?;
            state.discard(&trash)
        })
        .await;
        match removed {
            Err(error) if force && error.kind() == ErrorKind::NotFound => Ok(()),
            Ok(()) => {
                self.publish("destroy", name);
                Ok(())
            }
            failed => failed,
        }
    }

    /// Removes unused anonymous volumes, or with `all` named ones too, that satisfy `select`. Gives names and bytes.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(
        &self,
        all: bool,
        select: impl Fn(&Volume) -> bool + Send + Sync,
    ) -> Result<(Vec<String>, u64)> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for volume in self.list().await? {
            if !(all || volume.anonymous) || !select(&volume) || !users(&self.engine, &volume.name).is_empty()
            {
                continue;
            }
            let (state, name) = (self.state(), volume.name.clone());
            let size = blocking("measure volume", move || state.size(&name)).await?;
            match self.remove(&volume.name, false).await {
                Ok(()) => {
                    names.push(volume.name);
                    bytes += size;
                }
                // Taken into use, or removed by somebody else, meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::NotFound) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok((names, bytes))
    }

    fn publish(&self, action: &str, name: &str) {
        let body = Body::Action { kind: "volume", action: action.to_owned(), id: name.to_owned() };
        let attributes = BTreeMap::from([("driver".to_owned(), DRIVER.to_owned())]);
        let namespace = Namespace::default_namespace();
        self.engine.events().publish(&namespace, clock::now(), body, Arc::new(attributes));
    }
}

/// Ids of the containers, of all namespaces, that have the volume among their mounts.
fn users(engine: &Engine, name: &str) -> Vec<String> {
    let uses = |entry: &Arc<crate::entry::Entry>| {
        let record = entry.record();
        let mounts = record.engine.iter().flat_map(|fields| &fields.mounts);
        mounts.into_iter().any(|mount| mount.name == name)
    };
    let entries = engine.inner().roster.all().into_iter();
    entries.filter(uses).map(|entry| entry.key.id.to_string()).collect()
}

/// Docker's rules for a name, a driver and its options.
fn check(request: &CreateVolume) -> Result<()> {
    let name = request.name.as_deref().unwrap_or("anonymous");
    let invalid = |detail: String| Error::new(ErrorKind::InvalidArgument, "create", "volume", name, detail);
    if !matches!(request.driver.as_str(), "" | DRIVER) {
        let driver = &request.driver;
        return Err(invalid(format!(
            "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    if !is_name(name) {
        return Err(invalid(format!(
            "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() < 2 {
        let detail = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(invalid(detail.to_owned()));
    }
    if let Some(option) = request.options.keys().find(|key| !matches!(key.as_str(), "type" | "device" | "o"))
    {
        return Err(invalid(format!("invalid option: \"{option}\"")));
    }
    let missing = ["device", "type"].into_iter().find(|name| !request.options.contains_key(*name));
    match missing {
        Some(missing) if !request.options.is_empty() => {
            Err(invalid(format!("missing required option: \"{missing}\"")))
        }
        _ => Ok(()),
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, short enough for a file name: so it is one path component and never hidden.
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    name.len() <= 255
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_drivers_and_options_are_dockers() {
        let request = |name: &str| CreateVolume { name: Some(name.to_owned()), ..CreateVolume::default() };
        for good in ["ab", "data_1", "a.b-c", "0x", &"v".repeat(255)] {
            check(&request(good)).unwrap();
        }
        for bad in ["", "a", ".a", "-a", "a/b", "..", "a b", "ü1", "a\0", &"v".repeat(256)] {
            assert_eq!(check(&request(bad)).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        let driver = CreateVolume { driver: "nfs".into(), ..request("ab") };
        assert!(check(&driver).unwrap_err().to_string().contains("plugin \"nfs\" not found"));
        let option = |key: &str| CreateVolume { options: [(key.into(), "x".into())].into(), ..request("ab") };
        assert_eq!(check(&option("size")).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let missing = check(&option("type")).unwrap_err().to_string();
        assert!(missing.contains("missing required option: \"device\""), "{missing}");
    }
}
