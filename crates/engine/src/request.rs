//! What a door asks the engine to make: typed, checked values with Docker's meaning.

use crate::Any;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};
use tare_types::{Namespace, Platform};

/// A container to create from an image.
///
/// `None` and empty mean "as the image or the daemon says"; a door fills in only what its client said.
#[derive(Debug, Clone)]
pub struct CreateContainer {
    /// Tenant; the Docker door uses `default`.
    pub namespace: Namespace,
    /// Name; `None` generates one. Grammar: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, an optional leading slash is dropped.
    pub name: Option<String>,
    /// Image as the client wrote it: a familiar name, a full reference, an id or its prefix.
    pub image: String,
    /// Platform to choose from an index; `None` is this host's.
    pub platform: Option<Platform>,
    /// Runtime name; `None` is the configured default.
    pub runtime: Option<String>,
    /// Program, environment, user, terminal.
    pub process: ProcessRequest,
    /// Host name; `None` is the first 12 characters of the id.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Labels of the user; the image's labels are added below them.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the runtime spec.
    pub annotations: BTreeMap<String, String>,
    /// Binds, volumes and tmpfs.
    pub mounts: Vec<MountRequest>,
    /// Containers whose volumes are mounted too: `id_or_name[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// Limits.
    pub resources: Resources,
    /// Isolation and privileges.
    pub security: Security,
    /// Network, ports, names.
    pub network: NetworkRequest,
    /// What to do after an exit.
    pub restart: RestartPolicy,
    /// Log driver; `None` is the configured default.
    pub log: Option<LogConfig>,
    /// Signal that asks the program to end, e.g. `SIGTERM` or `15`.
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// Remove the container and its anonymous volumes after its exit.
    pub auto_remove: bool,
    /// Size of /dev/shm in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// A small init as PID 1 that reaps.
    pub init: bool,
    /// A program that says whether the container is well.
    pub health: Option<crate::health::HealthCheck>,
    /// What only the door knows, e.g. `tare.docker` → Docker's request; kept in the record.
    pub extensions: BTreeMap<String, Any>,
}

impl CreateContainer {
    /// A request for an image with everything else as the image and the daemon say.
    pub fn new(namespace: Namespace, image: impl Into<String>) -> Self {
        Self {
            namespace,
            name: None,
            image: image.into(),
            platform: None,
            runtime: None,
            process: ProcessRequest::default(),
            hostname: None,
            domainname: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            resources: Resources::default(),
            security: Security::default(),
            network: NetworkRequest::default(),
            restart: RestartPolicy::No,
            log: None,
            stop_signal: None,
            stop_timeout: None,
            auto_remove: false,
            shm_size: None,
            init: false,
            health: None,
            extensions: BTreeMap::new(),
        }
    }
}

/// The first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRequest {
    /// Replaces the image's entrypoint; then the image's command is dropped. `Some([""])` or `Some([])` means none.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command when not empty.
    pub args: Vec<String>,
    /// `NAME=value` sets, `NAME` alone removes what the image sets.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers; empty is the image's.
    pub user: String,
    /// Working directory; empty is the image's, then `/`.
    pub cwd: String,
    /// A terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub open_stdin: bool,
    /// Close stdin after the first attached client left.
    pub stdin_once: bool,
    /// Initial size of the terminal: height (rows), width (columns).
    pub console_size: Option<(u16, u16)>,
}

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
    pub propagation: Option<String>,
}

/// What a [`MountRequest`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// Make a directory when it is absent (`-v`); otherwise its absence is an error (`--mount`).
        create: bool,
        /// Without the mounts below it.
        non_recursive: bool,
    },
    /// A volume; made when it is absent.
    Volume {
        /// `None` makes an anonymous one.
        name: Option<String>,
        /// Driver; empty is `local`.
        driver: String,
        /// Driver options for a new one.
        driver_options: BTreeMap<String, String>,
        /// Labels for a new one.
        labels: BTreeMap<String, String>,
        /// Do not fill a new volume from the image's directory.
        no_copy: bool,
        /// A directory or file of the volume to mount in its stead, relative; empty for all of it.
        #[serde(default)]
        subpath: String,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None` is the kernel's default.
        size: Option<u64>,
        /// Mode bits; `None` is 0o1777.
        mode: Option<u32>,
        /// Further options of tmpfs(5) and mount(8): `noexec`, `uid=…`.
        options: Vec<String>,
    },
}

/// Limits; zero or `None` is "no limit of its own". Units are bytes and Docker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Soft limit in bytes.
    pub memory_reservation: Option<i64>,
    /// Memory plus swap in bytes, -1 unlimited.
    pub memory_swap: Option<i64>,
    /// 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// CPUs in units of 10⁻⁹.
    pub nano_cpus: Option<i64>,
    /// Relative weight, 1024 is normal.
    pub cpu_shares: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<i64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Real-time period in microseconds.
    pub cpu_realtime_period: Option<i64>,
    /// Real-time budget in microseconds.
    pub cpu_realtime_runtime: Option<i64>,
    /// `0-3,5`.
    pub cpuset_cpus: String,
    /// `0,1`.
    pub cpuset_mems: String,
    /// Tasks; -1 unlimited.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Per device `(path, bytes per second)`.
    pub device_read_bps: Vec<(String, u64)>,
    /// Per device `(path, bytes per second)`.
    pub device_write_bps: Vec<(String, u64)>,
    /// Per device `(path, operations per second)`.
    pub device_read_iops: Vec<(String, u64)>,
    /// Per device `(path, operations per second)`.
    pub device_write_iops: Vec<(String, u64)>,
    /// Do not kill on memory shortage.
    pub oom_kill_disable: bool,
    /// Parent of the container's cgroup; empty is the daemon's.
    pub cgroup_parent: String,
    /// Process limits.
    pub ulimits: Vec<Ulimit>,
    /// Devices of the host.
    pub devices: Vec<DeviceRequest>,
    /// `c 1:3 mr`.
    pub device_cgroup_rules: Vec<String>,
}

/// One process limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, without `RLIMIT_`.
    pub name: String,
    /// Soft limit, -1 unlimited.
    pub soft: i64,
    /// Hard limit, -1 unlimited.
    pub hard: i64,
}

/// A device of the host to make in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// On the host.
    pub host: String,
    /// In the container.
    pub container: String,
    /// `rwm`.
    pub permissions: String,
}

/// Isolation and privileges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// All capabilities, all devices, no masks, no seccomp.
    pub privileged: bool,
    /// `NET_ADMIN` or `CAP_NET_ADMIN`, `ALL`.
    pub cap_add: Vec<String>,
    /// As [`Security::cap_add`].
    pub cap_drop: Vec<String>,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// no_new_privs; `None` is the daemon's default.
    pub no_new_privileges: Option<bool>,
    /// System call filter.
    pub seccomp: Seccomp,
    /// AppArmor profile; empty is the default where the kernel has it.
    pub apparmor: String,
    /// SELinux label options.
    pub selinux: Vec<String>,
    /// Leave /proc and /sys unmasked (`systempaths=unconfined`).
    pub unmask_system_paths: bool,
    /// Paths to mask; `None` is the default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths to make read-only; `None` is the default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Supplementary groups, names or numbers.
    pub group_add: Vec<String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `host`, `container:<id>` or private.
    pub pid: NamespaceMode,
    /// `host`, `container:<id>`, or private.
    pub ipc: NamespaceMode,
    /// `host` or private.
    pub uts: NamespaceMode,
    /// `host` or private.
    pub cgroup: NamespaceMode,
    /// `host` or as the daemon says.
    pub user: NamespaceMode,
}

/// The system call filter of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// The default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON form.
    Profile(String),
}

/// Which namespace of a kind a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceMode {
    /// The default of the kind.
    #[default]
    Default,
    /// Its own.
    Private,
    /// Its own, and others may join (ipc).
    Shareable,
    /// None at all (ipc: no /dev/shm).
    None,
    /// The host's.
    Host,
    /// That of another container, by id or name.
    Container(String),
}

/// Network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// Which network.
    pub mode: NetworkMode,
    /// It has left the network it was made for, and all others: what it is connected to next takes that place.
    pub left: bool,
    /// Further names on a user-defined network.
    pub aliases: Vec<String>,
    /// Wanted address.
    pub ipv4_address: Option<IpAddr>,
    /// Wanted MAC address, `02:42:…`.
    pub mac_address: Option<String>,
    /// Name servers; empty passes the host's on.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// `name:address` lines for /etc/hosts; the address `host-gateway` means the bridge's.
    pub extra_hosts: Vec<String>,
    /// Published ports.
    pub ports: Vec<PortMapping>,
    /// Publish every exposed port on a free one.
    pub publish_all: bool,
    /// Exposed ports besides the image's.
    pub exposed: Vec<(u16, Protocol)>,
    /// The networks it is on besides that of `mode`.
    pub others: Vec<NetworkAttachment>,
    /// Containers that it knows by further names on the network of `mode`. On the built-in bridge they exist when it
    /// is made and are named by their ids from then on.
    pub links: Vec<Link>,
}

/// A further name for another container, within the container that has the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name or id.
    pub container: String,
    /// The further name.
    pub alias: String,
}

/// A further network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    /// Its name.
    pub network: String,
    /// Further names of the container on it.
    pub aliases: Vec<String>,
    /// Wanted address.
    pub ipv4_address: Option<IpAddr>,
    /// Wanted MAC address, `02:42:…`.
    pub mac_address: Option<String>,
    /// Containers that it knows by further names on it.
    pub links: Vec<Link>,
}

/// Which network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The built-in bridge.
    #[default]
    Bridge,
    /// A network of its own without links but `lo`.
    None,
    /// The host's network.
    Host,
    /// That of another container, by id or name.
    Container(String),
    /// A user-defined network by name.
    Named(String),
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address of the host; `None` is all, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// First and last port of the host; `(0, 0)` chooses a free one.
    pub host_ports: (u16, u16),
    /// Port in the container.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// What happens after an exit. Docker's policies; `containerd.io/restart.*` labels map onto them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Start again, also when the daemon starts.
    Always,
    /// Start again after a status other than 0, at most so many times (0: no bound).
    OnFailure(u32),
    /// As always, except after the user stopped it.
    UnlessStopped,
}

/// Where output goes besides attached clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `json-file` or `none`.
    pub driver: String,
    /// `max-size` (`10m`), `max-file` (`3`).
    pub options: BTreeMap<String, String>,
}

impl Default for LogConfig {
    /// `json-file` without bounds, as Docker's.
    fn default() -> Self {
        Self { driver: "json-file".into(), options: BTreeMap::new() }
    }
}
