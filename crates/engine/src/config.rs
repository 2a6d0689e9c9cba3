//! What an engine is opened with. The daemon reads it from its file and flags; nothing here has I/O.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything that [`crate::Engine::open`] needs.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Durable data (`/var/lib/tare`), mode 0700.
    pub root: PathBuf,
    /// Data that a reboot may take (`/run/tare`), mode 0711.
    pub state: PathBuf,
    /// The containerd socket; `<address>.ttrpc` is where shims send their events.
    pub address: PathBuf,
    /// Eight hexadecimal digits that name this daemon's bridge, nft table and cgroup parent.
    pub instance: String,
    /// Runtime name → shim. Names that are absent follow [`EngineConfig::shim`] or the shim naming rule.
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    /// Tare's own shim.
    pub shim: PathBuf,
    /// The runtime of a container that names none.
    pub default_runtime: String,
    /// The snapshotter of a container that names none: `overlayfs` or `native`.
    pub snapshotter: String,
    /// Directories with `<registry>/hosts.toml`, first hit wins.
    pub registry_config: Vec<PathBuf>,
    /// Registries besides loopback ones that are spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Layers fetched at once per pull.
    pub max_concurrent_downloads: usize,
    /// Network namespaces kept ready for the next containers.
    pub ready_namespaces: usize,
    /// Subnet of the built-in bridge as CIDR; empty chooses a free one.
    pub bridge_subnet: String,
    /// Log driver and options of a container that names none.
    pub log: crate::request::LogConfig,
    /// Deadlines and bounds.
    pub limits: Limits,
}

/// One entry of `[runtimes]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeEntry {
    /// Path of the shim binary (`containerd-shim-runc-v2`); `None` means Tare's shim.
    pub shim: Option<PathBuf>,
    /// A runc-compatible command that the shim is told to drive (`BinaryName` of `containerd.runc.v1.Options`).
    pub binary_name: Option<String>,
}

/// Deadlines of waits on other processes, and bounds of histories and buffers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Start of a shim until it answers.
    pub shim_start: Duration,
    /// A call of a shim that does not wait for a container.
    pub shim_call: Duration,
    /// Reconnect to one shim at start-up.
    pub shim_reconnect: Duration,
    /// Events kept for those who ask for the past.
    pub event_history: usize,
}

impl Default for Limits {
    /// The values that the documents name.
    fn default() -> Self {
        Self {
            shim_start: Duration::from_secs(10),
            shim_call: Duration::from_secs(20),
            shim_reconnect: Duration::from_secs(3),
            event_history: 256,
        }
    }
}
