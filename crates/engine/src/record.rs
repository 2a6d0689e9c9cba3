//! The one record of a container that all doors share.

use crate::{
    Any,
    request::{LogConfig, NetworkRequest, ProcessRequest, Resources, RestartPolicy, Security},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tare_types::{ContainerId, Descriptor, Digest, Namespace, Timestamp};

/// Name of the extension in which the Docker door keeps its request.
pub const DOCKER_EXTENSION: &str = "tare.docker";

/// A container: containerd's `Container`, the engine's typed fields, and what single doors add.
///
/// Stored as one row of the metadata database under (namespace, id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Tenant.
    pub namespace: Namespace,
    /// Identifier; 64 hexadecimal digits when the engine chose it.
    pub id: ContainerId,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Full name of the image; may be empty for containers made through containerd's door.
    #[serde(default)]
    pub image: String,
    /// Runtime.
    pub runtime: RuntimeRef,
    /// The OCI runtime spec as JSON.
    #[serde(default)]
    pub spec: Any,
    /// Snapshotter of the root file system, or empty.
    #[serde(default)]
    pub snapshotter: String,
    /// Active snapshot of the root file system, or empty.
    #[serde(default)]
    pub snapshot_key: String,
    /// When the container was made.
    pub created_at: Timestamp,
    /// When the record was last changed.
    pub updated_at: Timestamp,
    /// What single doors add.
    #[serde(default)]
    pub extensions: BTreeMap<String, Any>,
    /// Sandbox that the container belongs to, or empty.
    #[serde(default)]
    pub sandbox: String,
    /// The engine's own fields; absent for a container that a client of containerd's door made and drives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineFields>,
}

/// Runtime of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRef {
    /// Name: `io.containerd.runc.v2`, `runc`, or an entry of `[runtimes]`.
    pub name: String,
    /// Options for its shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Any>,
}

/// What the engine must know of a container whose life it drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFields {
    /// Unique within the namespace, without a leading slash.
    pub name: String,
    /// Image as the client wrote it.
    pub image_request: String,
    /// Config digest: Docker's image id.
    pub image_id: Digest,
    /// Manifest the container was made from, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_manifest: Option<Descriptor>,
    /// Program with its arguments, after the image's defaults.
    pub argv: Vec<String>,
    /// Environment as the container gets it.
    pub env: Vec<String>,
    /// First process as asked for.
    pub process: ProcessRequest,
    /// NIS domain name, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Host name.
    pub hostname: String,
    /// Limits as asked for.
    pub resources: Resources,
    /// Isolation as asked for.
    pub security: Security,
    /// Network as asked for.
    pub network: NetworkRequest,
    /// Ports the image exposes and those asked for: `80/tcp`.
    #[serde(default)]
    pub exposed: Vec<String>,
    /// User mounts as they were resolved.
    pub mounts: Vec<MountPoint>,
    /// What follows an exit.
    pub restart: RestartPolicy,
    /// Says whether the container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<crate::health::HealthCheck>,
    /// Where output goes.
    pub log: LogConfig,
    /// Signal number that asks the program to end.
    pub stop_signal: i32,
    /// Seconds until SIGKILL; negative waits for ever.
    pub stop_timeout: i64,
    /// Remove after the exit.
    pub auto_remove: bool,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// What the user wants it to be.
    pub desired: Desired,
    /// The last run that ended, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
}

/// What the user wants a container to be; what it is, is [`crate::state::Status`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Never started.
    #[default]
    Created,
    /// Started and not stopped by the user.
    Running,
    /// Stopped by the user: `unless-stopped` leaves it.
    Stopped,
}

/// How the last run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Exit status, 128 + signal for a signal.
    pub code: u32,
    /// Killed for memory.
    pub oom_killed: bool,
    /// Begin of the run.
    pub started_at: Timestamp,
    /// Its end.
    pub finished_at: Timestamp,
    /// Why it could not start, else empty.
    #[serde(default)]
    pub error: String,
}

/// A user mount as it was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: MountKind,
    /// Name of the volume, else empty.
    #[serde(default)]
    pub name: String,
    /// Path on the host; empty for tmpfs.
    #[serde(default)]
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Driver of the volume, else empty.
    #[serde(default)]
    pub driver: String,
    /// Options in mount(8) form.
    #[serde(default)]
    pub options: Vec<String>,
    /// Writable.
    pub read_write: bool,
    /// Propagation.
    #[serde(default)]
    pub propagation: String,
    /// The part of the volume that is mounted, relative to `source`; empty for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Made for this container alone: `rm -v` and `--rm` remove it.
    #[serde(default)]
    pub anonymous: bool,
    /// What is mounted in place of the volume's directory, if its driver options name something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<VolumeDevice>,
}

/// What the options of a `local` volume name: mounted anew in each container. So a volume of type `tmpfs` is each
/// container's own (dockerd mounts it once, for as long as a container uses it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDevice {
    /// File system; `none` with the option `bind` for a directory of the host.
    pub kind: String,
    /// What is mounted.
    pub device: String,
    /// Options in mount(8) form.
    pub options: Vec<String>,
}

impl VolumeDevice {
    /// The directory of the host that is mounted, if it is one.
    pub fn directory(&self) -> Option<&str> {
        let is_bind = |option: &String| matches!(option.as_str(), "bind" | "rbind");
        self.options.iter().any(is_bind).then_some(self.device.as_str())
    }
}

/// Kind of a [`MountPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
}
