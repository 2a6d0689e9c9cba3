//! A container as Docker would run it.

use super::mounts::{self, bind_mount};
use super::{
    NativeArch, adjust_capabilities, default_mounts, default_seccomp, merge_mounts, resolve_profile,
};
use crate::InvalidValue;
use crate::spec::{
    ConsoleSize, Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceCgroup, LinuxNamespace, LinuxResources,
    Mount, PosixRlimit, Process, Root, Spec, User, VERSION,
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

/// The search path of a container whose image sets none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything a container's specification depends on.
#[derive(Debug, Clone)]
pub struct SpecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, complete; see [`environment`].
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Identity, looked up in the image's files; supplementary groups with the primary one (CVE-2023-25173).
    pub user: User,
    /// A terminal, with its first size.
    pub terminal: bool,
    /// First size of the terminal.
    pub console_size: Option<ConsoleSize>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, nothing masked, no filter.
    pub privileged: bool,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// AppArmor profile, empty for none.
    pub apparmor_profile: String,
    /// SELinux label of the process, empty for none.
    pub selinux_label: String,
    /// Path of the root file system.
    pub rootfs: String,
    /// Root file system read-only.
    pub readonly: bool,
    /// The user's mounts; see [`bind_mount`] and [`super::tmpfs_mount`].
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// A directory of the host as `/dev/shm`: that of the container whose IPC namespace is joined.
    pub shm_path: Option<String>,
    /// No `/dev/shm` at all (`--ipc none`).
    pub no_shm: bool,
    /// Device nodes; for a privileged container all those of the host.
    pub devices: Vec<LinuxDevice>,
    /// Device rules beside the default ones.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// Limits; their device rules are ignored.
    pub resources: LinuxResources,
    /// `--ulimit`.
    pub rlimits: Vec<PosixRlimit>,
    /// Host name; not used with the host's UTS namespace.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// Which namespaces.
    pub namespaces: Namespaces,
    /// Instead of [`default_masked_paths`].
    pub masked_paths: Option<Vec<String>>,
    /// Instead of [`default_readonly_paths`].
    pub readonly_paths: Option<Vec<String>>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// `linux.cgroupsPath`.
    pub cgroups_path: String,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Free metadata.
    pub annotations: BTreeMap<String, String>,
    /// A program of the host that runs as process 1, passes signals on and reaps (`--init`).
    pub init: Option<String>,
}

/// Which namespace of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamespaceChoice {
    /// A new one.
    #[default]
    New,
    /// The host's.
    Host,
    /// An existing one by path.
    Path(String),
}

/// The namespaces of a container; the mount namespace is always new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Processes.
    pub pid: NamespaceChoice,
    /// Network.
    pub network: NamespaceChoice,
    /// System V IPC and message queues.
    pub ipc: NamespaceChoice,
    /// Host name.
    pub uts: NamespaceChoice,
    /// Cgroups; Docker's default is the host's on version 1 and a new one on version 2.
    pub cgroup: NamespaceChoice,
    /// Users; the host's unless ids are mapped.
    pub user: Option<NamespaceChoice>,
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// The default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile as Docker's `--security-opt seccomp=FILE` takes it.
    Profile(String),
}

impl Default for SpecOptions {
    /// A shell as root in a container with all defaults.
    fn default() -> Self {
        Self {
            args: alloc::vec!["sh".to_string()],
            env: alloc::vec![DEFAULT_PATH.to_string()],
            cwd: "/".to_string(),
            user: User::default(),
            terminal: false,
            console_size: None,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            no_new_privileges: false,
            seccomp: SeccompChoice::Default,
            apparmor_profile: String::new(),
            selinux_label: String::new(),
            rootfs: "rootfs".to_string(),
            readonly: false,
            mounts: Vec::new(),
            shm_size: 64 << 20,
            shm_path: None,
            no_shm: false,
            devices: Vec::new(),
            device_rules: Vec::new(),
            resources: LinuxResources::default(),
            rlimits: Vec::new(),
            hostname: String::new(),
            domainname: String::new(),
            namespaces: Namespaces { cgroup: NamespaceChoice::Host, ..Namespaces::default() },
            masked_paths: None,
            readonly_paths: None,
            sysctls: BTreeMap::new(),
            cgroups_path: String::new(),
            oom_score_adj: None,
            annotations: BTreeMap::new(),
            init: None,
        }
    }
}

/// Docker's masked paths.
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    .map(ToString::to_string)
    .to_vec()
}

/// Docker's and runc's read-only paths.
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(ToString::to_string)
        .to_vec()
}

/// The environment of a container: search path, host name and terminal, then what image and user say. `NAME=value`
/// replaces, `NAME` alone takes away.
pub fn environment(hostname: &str, terminal: bool, given: &[String]) -> Vec<String> {
    let mut env = alloc::vec![DEFAULT_PATH.to_string(), alloc::format!("HOSTNAME={hostname}")];
    if terminal {
        env.push("TERM=xterm".to_string());
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_string();
    for entry in given {
        let wanted = name(entry);
        let known = env.iter_mut().find(|known| name(known) == wanted);
        match (known, entry.contains('=')) {
            (Some(known), true) => known.clone_from(entry),
            (None, true) => env.push(entry.clone()),
            (_, false) => env.retain(|known| name(known) != wanted),
        }
    }
    env
}

/// Makes the specification.
///
/// # Errors
/// [`InvalidValue`] for unknown capabilities and unusable seccomp profiles.
pub fn container_spec(options: SpecOptions) -> Result<Spec, InvalidValue> {
    let granted = adjust_capabilities(&options.cap_add, &options.cap_drop, options.privileged)?;
    let seccomp = match &options.seccomp {
        _ if options.privileged => None,
        SeccompChoice::Unconfined => None,
        SeccompChoice::Default => Some(default_seccomp(&granted, NativeArch::CURRENT)),
        SeccompChoice::Profile(text) => resolve_profile(text, &granted, NativeArch::CURRENT)?,
    };
    let namespaces = namespaces(&options.namespaces);
    let sysctl = sysctls(&options);
    let own_uts = options.namespaces.uts == NamespaceChoice::New;
    let mut mounts = all_mounts(&options);
    let mut args = options.args;
    if let Some(init) = &options.init {
        mounts.push(bind_mount(init, INIT_PATH, true, false, None));
        args.splice(0..0, [INIT_PATH.to_string(), "--".to_string()]);
    }
    let unmasked = |given: Option<Vec<String>>, default: fn() -> Vec<String>| {
        if options.privileged { Vec::new() } else { given.unwrap_or_else(default) }
    };
    let masked_paths = unmasked(options.masked_paths, default_masked_paths);
    let readonly_paths = unmasked(options.readonly_paths, default_readonly_paths);
    let mut resources = options.resources;
    resources.devices = device_rules(options.privileged, &options.devices, options.device_rules);
    Ok(Spec {
        version: VERSION.to_string(),
        process: Some(Process {
            terminal: options.terminal,
            console_size: options.console_size,
            user: options.user,
            args,
            env: options.env,
            cwd: options.cwd,
            // Nothing inheritable: CVE-2022-24769.
            capabilities: Some(LinuxCapabilities {
                bounding: granted.clone(),
                effective: granted.clone(),
                permitted: granted,
                ..LinuxCapabilities::default()
            }),
            rlimits: options.rlimits,
            no_new_privileges: options.no_new_privileges,
            apparmor_profile: options.apparmor_profile,
            selinux_label: options.selinux_label,
            oom_score_adj: options.oom_score_adj,
            ..Process::default()
        }),
        root: Some(Root { path: options.rootfs, readonly: options.readonly }),
        hostname: if own_uts { options.hostname } else { String::new() },
        domainname: if own_uts { options.domainname } else { String::new() },
        mounts,
        hooks: None,
        annotations: options.annotations,
        linux: Some(Linux {
            sysctl,
            resources: Some(resources),
            cgroups_path: options.cgroups_path,
            namespaces,
            devices: options.devices,
            seccomp,
            masked_paths,
            readonly_paths,
            ..Linux::default()
        }),
    })
}

/// Where `--init` shows its program in the container; tools know it from Docker.
const INIT_PATH: &str = "/sbin/docker-init";

fn namespaces(choice: &Namespaces) -> Vec<LinuxNamespace> {
    let mut all = alloc::vec![LinuxNamespace { kind: "mount".to_string(), path: String::new() }];
    let mut add = |kind: &str, choice: &NamespaceChoice| match choice {
        NamespaceChoice::Host => {}
        NamespaceChoice::New => all.push(LinuxNamespace { kind: kind.to_string(), path: String::new() }),
        NamespaceChoice::Path(path) => {
            all.push(LinuxNamespace { kind: kind.to_string(), path: path.clone() })
        }
    };
    add("network", &choice.network);
    add("uts", &choice.uts);
    add("pid", &choice.pid);
    add("ipc", &choice.ipc);
    add("cgroup", &choice.cgroup);
    if let Some(user) = &choice.user {
        add("user", user);
    }
    all
}

fn all_mounts(options: &SpecOptions) -> Vec<Mount> {
    let mut defaults = default_mounts(options.shm_size);
    let replace = |defaults: &mut Vec<Mount>, destination: &str, source: Option<&str>| {
        defaults.retain(|mount| mount.destination != destination);
        defaults.extend(source.map(|source| bind_mount(source, destination, false, false, None)));
    };
    match (&options.namespaces.ipc, &options.shm_path) {
        _ if options.no_shm => replace(&mut defaults, "/dev/shm", None),
        (_, Some(path)) => replace(&mut defaults, "/dev/shm", Some(path)),
        (NamespaceChoice::Host, None) => {
            replace(&mut defaults, "/dev/shm", Some("/dev/shm"));
            replace(&mut defaults, "/dev/mqueue", Some("/dev/mqueue"));
        }
        _ => {}
    }
    for mount in &mut defaults {
        if options.privileged && (mount.destination == "/sys" || mount.kind == "cgroup") {
            mounts::make_writable(mount);
        }
        if options.readonly {
            mounts::make_read_only(mount);
        }
    }
    merge_mounts(defaults, options.mounts.clone())
}

/// Docker lets a container without privileges bind low ports and ping, where it has a network of its own.
fn sysctls(options: &SpecOptions) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    let mapped = options.namespaces.user.as_ref().is_some_and(|user| *user != NamespaceChoice::Host);
    if options.namespaces.network != NamespaceChoice::Host && !mapped {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_string(), "0".to_string());
        sysctls.insert("net.ipv4.ping_group_range".to_string(), "0 2147483647".to_string());
    }
    sysctls.extend(options.sysctls.clone());
    sysctls
}

/// Nothing but null, zero, random, terminals and what was asked for; everything for a privileged container.
fn device_rules(
    privileged: bool,
    devices: &[LinuxDevice],
    extra: Vec<LinuxDeviceCgroup>,
) -> Vec<LinuxDeviceCgroup> {
    let rule = |kind: &str, major: i64, minor: i64| LinuxDeviceCgroup {
        allow: true,
        kind: kind.to_string(),
        major: Some(major),
        minor: Some(minor),
        access: "rwm".to_string(),
    };
    if privileged {
        let all =
            LinuxDeviceCgroup { allow: true, access: "rwm".to_string(), ..LinuxDeviceCgroup::default() };
        return alloc::vec![all];
    }
    let mut rules =
        alloc::vec![LinuxDeviceCgroup { access: "rwm".to_string(), ..LinuxDeviceCgroup::default() }];
    let usual = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)];
    rules.extend(usual.map(|(major, minor)| rule("c", major, minor)));
    // A device without a rule of its own could not be opened.
    for device in devices {
        let same = |rule: &&LinuxDeviceCgroup| {
            rule.kind == device.kind && rule.major == Some(device.major) && rule.minor == Some(device.minor)
        };
        if extra.iter().find(same).is_none() && matches!(device.kind.as_str(), "c" | "b" | "u") {
            rules.push(rule(if device.kind == "b" { "b" } else { "c" }, device.major, device.minor));
        }
    }
    rules.extend(extra);
    rules
}
