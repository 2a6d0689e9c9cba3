//! The configuration file: TOML, with containerd's key names where the meaning is the same.
//!
//! A key that is not known is a warning with its line, so that a file for a later version still serves. `default.toml` is
//! the documented default, which `tared config default` prints; a test keeps it equal to [`Config::default`].

mod unknown;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tare_engine::{
    EngineConfig,
    config::{Limits, RuntimeEntry},
    request::LogConfig,
};

/// The default configuration with comments.
pub const DEFAULT_TOML: &str = include_str!("default.toml");
/// Version of the file that this build writes; containerd's numbering.
const VERSION: u32 = 3;

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Version of the format.
    pub version: u32,
    /// Durable data.
    pub root: PathBuf,
    /// Data that a reboot may take.
    pub state: PathBuf,
    /// containerd's API.
    pub grpc: Socket,
    /// Docker's API.
    pub docker: Socket,
    /// Where the daemon itself runs.
    pub cgroup: Cgroup,
    /// Log of the daemon.
    pub debug: Debug,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Images.
    pub image: Image,
    /// Registries.
    pub registry: Registry,
    /// Networks.
    pub network: Network,
    /// Logs of containers that name no driver.
    pub log: LogConfig,
    /// Shims.
    pub runtime: Runtime,
    /// Runtime name → shim.
    pub runtimes: BTreeMap<String, NamedRuntime>,
}

/// A socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Socket {
    /// Its path; empty turns the door off.
    pub address: PathBuf,
    /// Owner.
    pub uid: u32,
    /// Group; 0 means root, for Docker's door the group `docker` where there is one.
    pub gid: u32,
}

/// Where the daemon itself runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cgroup {
    /// Its cgroup, made where it is missing; empty: the one it was started in. Shims begin there too.
    pub path: String,
}

/// Log of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Debug {
    /// `trace`, `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

/// Metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// `host:port` on which they are served; empty for not at all.
    pub address: String,
}

/// Images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// `overlayfs` or `native`.
    pub snapshotter: String,
    /// Layers fetched at once per pull.
    pub max_concurrent_downloads: usize,
}

/// Registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registry {
    /// Directories with `<registry>/hosts.toml`, separated by colons.
    pub config_path: String,
    /// Registries spoken to over plain HTTP besides those on loopback.
    pub insecure: Vec<String>,
}

/// Networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Subnet of the built-in bridge as CIDR; empty chooses a free one.
    pub bridge_subnet: String,
    /// Network namespaces kept ready.
    pub ready_namespaces: usize,
}

/// Shims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Tare's shim; empty looks beside `tared`.
    pub shim: PathBuf,
    /// Runtime of containers that name none; empty is `io.containerd.tare.v2`.
    pub default: String,
}

/// An entry of `[runtimes]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedRuntime {
    /// Shim binary; absent means Tare's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shim: Option<PathBuf>,
    /// A runc-compatible command that the Go shim drives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_name: Option<String>,
}

impl Default for Config {
    /// What `default.toml` says.
    fn default() -> Self {
        let socket = |address: &str| Socket { address: address.into(), uid: 0, gid: 0 };
        Self {
            version: VERSION,
            root: "/var/lib/tare".into(),
            state: "/run/tare".into(),
            grpc: socket("/run/tare/tared.sock"),
            docker: socket("/run/tare/docker.sock"),
            cgroup: Cgroup::default(),
            debug: Debug::default(),
            metrics: Metrics::default(),
            image: Image::default(),
            registry: Registry::default(),
            network: Network::default(),
            log: LogConfig::default(),
            runtime: Runtime::default(),
            runtimes: BTreeMap::new(),
        }
    }
}

impl Default for Debug {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self { snapshotter: "overlayfs".into(), max_concurrent_downloads: 3 }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self { config_path: "/etc/tare/certs.d:/etc/containerd/certs.d".into(), insecure: Vec::new() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { bridge_subnet: String::new(), ready_namespaces: 2 }
    }
}

impl Config {
    /// Reads a file; one that is absent is the default. Gives warnings for keys that are not known.
    ///
    /// # Errors
    /// When the file cannot be read or breaks TOML or a type; the message has the line.
    pub fn load(path: &Path) -> anyhow::Result<(Self, Vec<String>)> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Self::default(), Vec::new()));
            }
            other => other.with_context(|| format!("read {}", path.display()))?,
        };
        let config: Self = toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        if config.version > VERSION {
            bail!(
                "{}: version {} is newer than this tared, which knows {VERSION}",
                path.display(),
                config.version
            );
        }
        let warnings = unknown::keys(&text)
            .into_iter()
            .map(|(key, line)| format!("{}:{line}: unknown key {key}", path.display()))
            .collect();
        Ok((config, warnings))
    }

    /// As TOML.
    ///
    /// # Errors
    /// When a value has no TOML form, which a configuration has not.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("write configuration")
    }

    /// What the engine is opened with.
    pub fn engine(&self, instance: String, beside: Option<&Path>) -> EngineConfig {
        let shim = if self.runtime.shim.as_os_str().is_empty() {
            find_shim(beside)
        } else {
            self.runtime.shim.clone()
        };
        let default = self.runtime.default.as_str();
        let runtimes = self.runtimes.iter().map(|(name, entry)| {
            let entry = RuntimeEntry { shim: entry.shim.clone(), binary_name: entry.binary_name.clone() };
            (name.clone(), entry)
        });
        EngineConfig {
            root: self.root.clone(),
            state: self.state.clone(),
            address: self.grpc.address.clone(),
            instance,
            runtimes: runtimes.collect(),
            shim,
            default_runtime: if default.is_empty() { "io.containerd.tare.v2" } else { default }.to_owned(),
            snapshotter: self.image.snapshotter.clone(),
            registry_config: self
                .registry
                .config_path
                .split(':')
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
                .collect(),
            insecure_registries: self.registry.insecure.clone(),
            max_concurrent_downloads: self.image.max_concurrent_downloads.max(1),
            ready_namespaces: self.network.ready_namespaces,
            bridge_subnet: self.network.bridge_subnet.clone(),
            log: self.log.clone(),
            limits: Limits::default(),
        }
    }
}

/// Tare's shim beside the daemon's own binary, else where packages put it.
fn find_shim(beside: Option<&Path>) -> PathBuf {
    const NAME: &str = "containerd-shim-tare-v2";
    let own = beside.map(|directory| directory.join(NAME)).filter(|path| path.is_file());
    own.unwrap_or_else(|| Path::new("/usr/local/bin").join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_default_is_the_default() {
        let parsed: Config = toml::from_str(DEFAULT_TOML).unwrap();
        assert_eq!(parsed, Config::default());
        assert_eq!(unknown::keys(DEFAULT_TOML), []);
        let dumped: Config = toml::from_str(&Config::default().to_toml().unwrap()).unwrap();
        assert_eq!(dumped, Config::default());
    }

    #[test]
    fn a_file_changes_what_it_names_and_warns_of_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "root = \"/r\"\n[grpc]\naddress = \"/a\"\nmax_recv = 1\n[nonsense]\nx = 1\n[runtimes.go]\nshim = \"/s\"\n").unwrap();
        let (config, warnings) = Config::load(&path).unwrap();
        assert_eq!((config.root.to_str(), config.grpc.address.to_str()), (Some("/r"), Some("/a")));
        assert_eq!(config.runtimes["go"].shim.as_deref(), Some(Path::new("/s")));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].ends_with(":4: unknown key grpc.max_recv"), "{warnings:?}");
        assert!(warnings[1].ends_with(":5: unknown key nonsense"), "{warnings:?}");
        assert_eq!(Config::load(Path::new("/nonexistent/x.toml")).unwrap().0, Config::default());
        std::fs::write(&path, "root = 3").unwrap();
        assert!(Config::load(&path).is_err());
    }
}
