//! What a container gets that asks for nothing: Docker's defaults.

use crate::{
    Result,
    request::{Seccomp, Security},
    spec::resources::allow,
};
use tare_types::spec::{LinuxDevice, LinuxDeviceCgroup, LinuxSeccomp, Mount};
use tare_types::specgen::{NativeArch, default_seccomp, resolve_profile};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// Mounts without /dev/shm.
pub(crate) fn mounts(privileged: bool, _cgroup_namespace: bool) -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: strings(options),
        ..Mount::default()
    };
    let mode = if privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", mode]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", mode]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ]
}

/// What a container may do with devices: make nodes, and use the harmless ones.
pub(crate) fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![
        LinuxDeviceCgroup { allow: false, access: "rwm".into(), ..LinuxDeviceCgroup::default() },
        allow("c", None, None, "m"),
        allow("b", None, None, "m"),
    ];
    // null, zero, full, random, urandom, tty, console; ptmx; terminals.
    let nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(nodes.map(|(major, minor)| allow("c", Some(major), Some(minor), "rwm")));
    rules.push(allow("c", Some(136), None, "rwm"));
    rules
}

/// Device nodes of the host for a privileged container; terminals and shared memory are its own.
pub(crate) fn host_devices() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    let mut directories = vec![std::path::PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            let own = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"];
            if own.iter().any(|own| name == *own) {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if let Some(path) = path.to_str() {
                let request = crate::request::DeviceRequest {
                    host: path.to_owned(),
                    container: path.to_owned(),
                    permissions: String::new(),
                };
                // Sockets, links and files in /dev are no devices.
                if !kind.is_symlink()
                    && let Ok((nodes, _)) = crate::spec::resources::device(&request)
                {
                    found.extend(nodes);
                }
            }
        }
    }
    found
}

/// Whether this host has only the second version of cgroups: then a container gets a cgroup namespace.
pub(crate) fn cgroup2_only() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The system call filter for a container with these capabilities. A privileged container has one only if it is
/// asked for by its profile.
pub(crate) fn seccomp(security: &Security, capabilities: &[String]) -> Result<Option<LinuxSeccomp>> {
    let arch = NativeArch::CURRENT;
    match &security.seccomp {
        Seccomp::Default if !security.privileged => Ok(Some(default_seccomp(capabilities, arch))),
        Seccomp::Unconfined | Seccomp::Default => Ok(None),
        Seccomp::Profile(text) => Ok(resolve_profile(text, capabilities, arch)?),
    }
}
