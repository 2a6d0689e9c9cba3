//! The networks an instance knows, in one JSON file of the root directory: read once, replaced as a whole.
//!
//! The format is in `docs/formats/network-definitions.md`.

use crate::{Driver, Error, Network, Result};
use rustix::{
    fs::{CWD, Mode, OFlags, fsync, openat, renameat},
    rand::{GetRandomFlags, getrandom},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use tare_types::{ErrorKind, Timestamp};

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    networks: Vec<Network>,
}

/// The networks of an instance.
#[derive(Debug)]
pub(crate) struct Definitions {
    path: PathBuf,
    networks: Vec<Network>,
}

impl Definitions {
    /// Reads the file; where there is none, defines `bridge`, `host` and `none` and writes it.
    pub(crate) fn open(root: &Path, bridge_interface: &str) -> Result<Self> {
        let path = root.join("networks.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let definitions = Self { path, networks: built_in(bridge_interface)? };
                definitions.save()?;
                return Ok(definitions);
            }
            Err(error) => return Err(Error::caused("read networks", path.display().to_string(), error)),
        };
        let document: Document = serde_json::from_slice(&text)
            .map_err(|e| Error::caused("read networks", path.display().to_string(), e))?;
        if document.version != VERSION {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                "read networks",
                path.display().to_string(),
            )
            .with_hint(format!("it has version {}, this program knows {VERSION}", document.version)));
        }
        Ok(Self { path, networks: document.networks })
    }

    pub(crate) fn all(&self) -> &[Network] {
        &self.networks
    }

    /// By name, by id, or by the beginning of one id.
    pub(crate) fn find(&self, name: &str) -> Result<&Network> {
        let exact = self.networks.iter().find(|n| n.name == name || n.id == name);
        if let Some(network) = exact {
            return Ok(network);
        }
        let mut matching = self.networks.iter().filter(|n| !name.is_empty() && n.id.starts_with(name));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::InvalidArgument, "find network", name)
                .with_hint("the beginning of the id is that of several networks")),
            (None, _) => Err(Error::new(ErrorKind::NotFound, "find network", name)),
        }
    }

    /// Defines a network and writes the file.
    pub(crate) fn add(&mut self, network: Network) -> Result<()> {
        self.networks.push(network);
        self.save().inspect_err(|_| drop(self.networks.pop()))
    }

    /// Forgets a network and writes the file.
    pub(crate) fn remove(&mut self, id: &str) -> Result<()> {
        let Some(index) = self.networks.iter().position(|network| network.id == id) else { return Ok(()) };
        let removed = self.networks.remove(index);
        self.save().inspect_err(|_| self.networks.insert(index, removed))
    }

    /// The bridges that the definitions of a root directory name; none where they cannot be read.
    pub(crate) fn bridges_of(root: &Path) -> Vec<String> {
        let text = std::fs::read(root.join("networks.json")).unwrap_or_default();
        let document = serde_json::from_slice::<Document>(&text).ok();
        let networks = document.into_iter().flat_map(|document| document.networks);
        networks.filter_map(|network| network.interface).collect()
    }

    /// Replaces a network by its id and writes the file; nothing is written when nothing changed.
    pub(crate) fn update(&mut self, network: Network) -> Result<()> {
        let Some(slot) = self.networks.iter_mut().find(|n| n.id == network.id) else {
            return Err(Error::new(ErrorKind::NotFound, "update network", network.name));
        };
        if *slot == network {
            return Ok(());
        }
        let before = std::mem::replace(slot, network);
        let id = before.id.clone();
        self.save().inspect_err(|_| {
            if let Some(slot) = self.networks.iter_mut().find(|n| n.id == id) {
                *slot = before;
            }
        })
    }

    /// Durable: a user's networks survive a power cut. It happens when a network is made, not when a container is.
    fn save(&self) -> Result<()> {
        let failed =
            |error: std::io::Error| Error::caused("write networks", self.path.display().to_string(), error);
        let document = Document { version: VERSION, networks: self.networks.clone() };
        let text = serde_json::to_vec_pretty(&document).map_err(|e| failed(e.into()))?;
        let beside = self.path.with_extension("new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file =
            File::from(openat(CWD, &beside, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?);
        file.write_all(&text).map_err(failed)?;
        fsync(&file).map_err(|e| failed(e.into()))?;
        renameat(CWD, &beside, CWD, &self.path).map_err(|e| failed(e.into()))?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let directory =
            openat(CWD, directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| failed(e.into()))?;
        fsync(&directory).map_err(|e| failed(e.into()))
    }
}

fn built_in(bridge_interface: &str) -> Result<Vec<Network>> {
    let created = now();
    let network = |name: &str, driver, interface: Option<&str>| -> Result<Network> {
        Ok(Network {
            id: random_id()?,
            name: name.to_owned(),
            driver,
            created,
            interface: interface.map(str::to_owned),
            subnet: None,
            gateway: None,
            range: None,
            reserved: BTreeMap::new(),
            internal: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        })
    };
    let mut bridge = network("bridge", Driver::Bridge, Some(bridge_interface))?;
    // What docker says of its default bridge; clients look for these.
    bridge.options = [
        ("com.docker.network.bridge.default_bridge", "true"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ("com.docker.network.bridge.name", bridge_interface),
        ("com.docker.network.driver.mtu", "1500"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    Ok(vec![bridge, network("host", Driver::Host, None)?, network("none", Driver::Null, None)?])
}

/// The time of a definition that is made now.
pub(crate) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos())
}

/// 64 random hex digits, the form of docker's ids.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::caused("make id", "of network", e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_networks_keep_their_ids() {
        let root = tempfile::tempdir().unwrap();
        let first = Definitions::open(root.path(), "tare-00000000").unwrap();
        let again = Definitions::open(root.path(), "tare-00000000").unwrap();
        assert_eq!(first.all(), again.all());
        let names: Vec<_> = first.all().iter().map(|n| (n.name.as_str(), n.driver.as_str())).collect();
        assert_eq!(names, [("bridge", "bridge"), ("host", "host"), ("none", "null")]);
        let id = &first.all()[0].id;
        assert_eq!(first.find(&id[..12]).unwrap().name, "bridge");
        assert_eq!(first.find("none").unwrap().driver, Driver::Null);
        assert_eq!(first.find("").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(first.find("nothing").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn an_update_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut definitions = Definitions::open(root.path(), "tare-00000000").unwrap();
        let mut bridge = definitions.find("bridge").unwrap().clone();
        bridge.subnet = Some("172.17.0.0/16".parse().unwrap());
        definitions.update(bridge.clone()).unwrap();
        let again = Definitions::open(root.path(), "tare-00000000").unwrap();
        assert_eq!(again.find("bridge").unwrap(), &bridge);
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let root = tempfile::tempdir().unwrap();
        for text in ["", "{", r#"{"version":2,"networks":[]}"#] {
            std::fs::write(root.path().join("networks.json"), text).unwrap();
            assert!(Definitions::open(root.path(), "tare-00000000").is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(root.path().join("networks.json")).unwrap(), text);
        }
    }
}
