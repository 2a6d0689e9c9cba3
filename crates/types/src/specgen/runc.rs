//! The document of `runc spec`: a starting point for people, not what an engine uses.

use crate::spec::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxIdMapping, LinuxNamespace, LinuxResources, Mount,
    PosixRlimit, Process, Root, Spec, VERSION,
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A container that runs `sh` on a terminal with three capabilities. A host of cgroup version 2 gets a cgroup
/// namespace too. Unlike runc before 1.2, no ambient capabilities: without inheritable ones they mean nothing.
pub fn default_spec(cgroup_v2: bool) -> Spec {
    let granted = texts(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut namespaces = texts(&["pid", "network", "ipc", "uts", "mount"]);
    if cgroup_v2 {
        namespaces.push("cgroup".to_string());
    }
    Spec {
        version: VERSION.to_string(),
        process: Some(Box::new(Process {
            terminal: true,
            args: texts(&["sh"]),
            env: texts(&[DEFAULT_PATH, "TERM=xterm"]),
            cwd: "/".to_string(),
            capabilities: Some(LinuxCapabilities {
                bounding: granted.clone(),
                effective: granted.clone(),
                permitted: granted,
                ..LinuxCapabilities::default()
            }),
            rlimits: alloc::vec![PosixRlimit { kind: "RLIMIT_NOFILE".to_string(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        })),
        root: Some(Root { path: "rootfs".to_string(), readonly: true }),
        hostname: "runc".to_string(),
        mounts: mounts(),
        linux: Some(Box::new(Linux {
            resources: Some(Box::new(LinuxResources {
                devices: alloc::vec![LinuxDeviceCgroup {
                    access: "rwm".to_string(),
                    ..LinuxDeviceCgroup::default()
                }],
                ..LinuxResources::default()
            })),
            namespaces: namespaces
                .into_iter()
                .map(|kind| LinuxNamespace { kind, path: String::new() })
                .collect(),
            masked_paths: texts(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: super::default_readonly_paths(),
            ..Linux::default()
        })),
        ..Spec::default()
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_string(),
        kind: kind.to_string(),
        source: source.to_string(),
        options: texts(options),
        ..Mount::default()
    }
}

fn mounts() -> Vec<Mount> {
    alloc::vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

/// Changes a document so that a user without privileges can run it: a user namespace with one id, the host's
/// network, `/sys` as it is, no limits.
pub fn make_rootless(spec: &mut Spec, uid: u32, gid: u32) {
    let linux = spec.linux.get_or_insert_default();
    linux.namespaces.retain(|namespace| namespace.kind != "network" && namespace.kind != "user");
    linux.namespaces.push(LinuxNamespace { kind: "user".to_string(), path: String::new() });
    linux.uid_mappings = alloc::vec![LinuxIdMapping { container_id: 0, host_id: uid, size: 1 }];
    linux.gid_mappings = alloc::vec![LinuxIdMapping { container_id: 0, host_id: gid, size: 1 }];
    linux.resources = None;
    for entry in &mut spec.mounts {
        if entry.destination.trim_end_matches('/') == "/sys" {
            *entry = mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        } else {
            entry.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        }
    }
}
