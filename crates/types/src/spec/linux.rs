//! The `linux` object but for resources and seccomp.

use super::{LinuxResources, LinuxSeccomp, null_as_default};
use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// Everything particular to Linux.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// User ids of the user namespace.
    #[serde(
        rename = "uidMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group ids of the user namespace.
    #[serde(
        rename = "gidMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub gid_mappings: Vec<LinuxIdMapping>,
    /// Kernel parameters of the container's namespaces, `net.ipv4.ip_forward` or with slashes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Box<LinuxResources>>,
    /// `/path` below the cgroup root, or `slice:prefix:name` for systemd.
    #[serde(rename = "cgroupsPath", skip_serializing_if = "String::is_empty")]
    pub cgroups_path: String,
    /// Namespaces to make or to join; what is absent is shared with the runtime.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub namespaces: Vec<LinuxNamespace>,
    /// Device nodes to make.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub devices: Vec<LinuxDevice>,
    /// System call filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Box<LinuxSeccomp>>,
    /// Propagation of the root mount: `private`, `slave`, `shared`, `unbindable`, each also with `r`.
    #[serde(rename = "rootfsPropagation", skip_serializing_if = "String::is_empty")]
    pub rootfs_propagation: String,
    /// Paths that the container cannot read.
    #[serde(
        rename = "maskedPaths",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write.
    #[serde(
        rename = "readonlyPaths",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub readonly_paths: Vec<String>,
    /// SELinux label of mounts.
    #[serde(rename = "mountLabel", skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
    /// Cache and bandwidth allocation of Intel's resctrl.
    #[serde(rename = "intelRdt", skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<LinuxIntelRdt>,
    /// personality(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<LinuxPersonality>,
    /// Offsets of the time namespace by clock name (`monotonic`, `boottime`).
    #[serde(
        rename = "timeOffsets",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub time_offsets: BTreeMap<String, LinuxTimeOffset>,
    /// set_mempolicy(2).
    #[serde(rename = "memoryPolicy", skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// Network devices of the runtime's namespace that move into the container's, by name.
    #[serde(
        rename = "netDevices",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub net_devices: BTreeMap<String, LinuxNetDevice>,
}

/// NUMA memory policy of the container's processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxMemoryPolicy {
    /// `MPOL_*`.
    pub mode: String,
    /// List of nodes, `0-3,7`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// `MPOL_F_*`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub flags: Vec<String>,
}

/// A network device in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxNetDevice {
    /// Its name there; empty to keep it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxNamespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type")]
    pub kind: String,
    /// An existing namespace to join; empty for a new one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxIdMapping {
    /// First id in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A device node to make in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxDevice {
    /// Path in the container.
    pub path: String,
    /// `c` or `u` (character), `b` (block), `p` (fifo).
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Intel resctrl.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxIntelRdt {
    /// Name of the class of service.
    #[serde(rename = "closID", skip_serializing_if = "String::is_empty")]
    pub clos_id: String,
    /// Schema of the L3 cache.
    #[serde(rename = "l3CacheSchema", skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// Schema of the memory bandwidth.
    #[serde(rename = "memBwSchema", skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Lines of the schemata file, written after the two above.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub enable_monitoring: bool,
    /// Before version 1.3 of the specification: a monitoring group.
    #[serde(rename = "enableCMT", skip_serializing_if = "core::ops::Not::not")]
    pub enable_cmt: bool,
    /// Before version 1.3 of the specification: a monitoring group.
    #[serde(rename = "enableMBM", skip_serializing_if = "core::ops::Not::not")]
    pub enable_mbm: bool,
}

/// personality(2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxPersonality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// Further flags; the specification defines none.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub flags: Vec<String>,
}

/// Offset of one clock of a time namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxTimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}
