//! The OCI runtime specification's `config.json` (1.3).
//!
//! Types carry the specification's names with the prefix `Linux` where its Go types have one. Every
//! field is optional where the specification says so, unknown fields are ignored (specification,
//! "Extensibility"), and words such as namespace types or seccomp actions stay text: whoever plans a
//! container decides what it knows and names what it does not. Nothing here checks or fills in values.

mod linux;
mod parse;
mod process;
mod resources;
mod seccomp;
mod state;

pub use linux::{
    Linux, LinuxDevice, LinuxIdMapping, LinuxIntelRdt, LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice,
    LinuxPersonality, LinuxTimeOffset,
};
pub use parse::parse;
pub use process::{
    ConsoleSize, CpuAffinity, LinuxCapabilities, LinuxIoPriority, PosixRlimit, Process, Scheduler, User,
};
pub use resources::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxInterfacePriority, LinuxMemory,
    LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
pub use seccomp::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
pub use state::{ContainerStatus, State};

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The version of the specification that generated documents carry.
pub const VERSION: &str = "1.3.0";

/// Whether a value is the default of its type, so that it need not be written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// `ociVersion`: the version of the specification the document follows.
    #[serde(rename = "ociVersion")]
    pub version: String,
    /// The first process; absent only for a container that is never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Box<Process>>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name in the container's UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name in the container's UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Mounts beside the root, in the order in which they are made.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub mounts: Vec<Mount>,
    /// Programs run at points of the lifecycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<Hooks>>,
    /// Free metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Everything particular to Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Box<Linux>>,
}

/// The root file system of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    /// Path of the root file system, relative to the bundle unless absolute.
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub readonly: bool,
}

/// One mount below the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Path inside the container.
    pub destination: String,
    /// File system type; with a `bind` or `rbind` option it says nothing.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Device, host path or name, relative to the bundle for a bind mount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// mount(8) options and the specification's own ones.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub options: Vec<String>,
    /// User ids of an idmapped mount.
    #[serde(
        rename = "uidMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group ids of an idmapped mount.
    #[serde(
        rename = "gidMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub gid_mappings: Vec<LinuxIdMapping>,
}

/// A program run at a point of the lifecycle, with the container's state on its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: String,
    /// Arguments including the zeroth.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub args: Vec<String>,
    /// Environment as `KEY=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// Seconds after which the hook is killed and counts as failed; no limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Hooks by point of the lifecycle (specification, "POSIX-platform Hooks").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated twin of `createRuntime`; runs before it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, after the container's exist and before pivot_root.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub create_container: Vec<Hook>,
    /// In the container, just before the user's program.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the user's program was started.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container was deleted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub poststop: Vec<Hook>,
}

/// Go writes an empty slice or map as `null`; readers take it for an empty one.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
