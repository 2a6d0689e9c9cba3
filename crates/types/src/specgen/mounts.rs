//! Mounts of the specification: the default ones and those that users ask for.

use crate::spec::Mount;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_string(),
        kind: kind.to_string(),
        source: source.to_string(),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

/// What every container has mounted. `shm_size` in bytes.
pub fn default_mounts(shm_size: u64) -> Vec<Mount> {
    let mut shm = mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]);
    shm.options.push(format!("size={shm_size}"));
    alloc::vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        shm,
    ]
}

/// A host path in the container. `propagation` is one of mount(8)'s words; `rprivate` unless given.
pub fn bind_mount(
    source: &str,
    destination: &str,
    read_only: bool,
    recursive: bool,
    propagation: Option<&str>,
) -> Mount {
    let mut options = alloc::vec![if recursive { "rbind" } else { "bind" }];
    if read_only {
        options.push("ro");
    }
    options.push(propagation.filter(|word| !word.is_empty()).unwrap_or("rprivate"));
    mount(destination, "bind", source, &options)
}

/// Memory in the container. `options` (`size=64m`, `exec`, `uid=1000`) win over the defaults `noexec`, `nosuid`,
/// `nodev` that they contradict.
pub fn tmpfs_mount(destination: &str, size: Option<u64>, mode: Option<u32>, options: &[String]) -> Mount {
    let given = |word: &str| options.iter().any(|option| option == word);
    let mut all: Vec<String> = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")]
        .into_iter()
        .filter(|(default, contrary)| !given(contrary) && !given(default))
        .map(|(default, _)| default.to_string())
        .collect();
    all.push("rprivate".to_string());
    all.extend(options.iter().filter(|option| !option.is_empty()).cloned());
    all.extend(size.map(|size| format!("size={size}")));
    all.extend(mode.map(|mode| format!("mode={mode:o}")));
    Mount { options: all, ..mount(destination, "tmpfs", "tmpfs", &[]) }
}

/// The defaults with the user's: a user's mount takes the place of a default one with the same destination, one on
/// `/dev` of all below it. Parents come before what lies under them.
pub fn merge_mounts(defaults: Vec<Mount>, mut user: Vec<Mount>) -> Vec<Mount> {
    let clean = |path: &str| path.trim_end_matches('/').to_string();
    let asked: Vec<String> = user.iter().map(|mount| clean(&mount.destination)).collect();
    let own_dev = asked.iter().any(|path| path == "/dev");
    let mut merged = defaults;
    merged.retain(|mount| {
        let path = clean(&mount.destination);
        !(asked.contains(&path) || own_dev && path.starts_with("/dev/"))
    });
    user.sort_by_key(|mount| clean(&mount.destination).matches('/').count());
    merged.extend(user);
    merged
}

/// Takes `ro` away.
pub(super) fn make_writable(mount: &mut Mount) {
    mount.options.retain(|option| option != "ro");
}

/// Makes a default mount read-only under a read-only root, but for those a container cannot do without.
pub(super) fn make_read_only(mount: &mut Mount) {
    let keep = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];
    if !keep.contains(&mount.destination.as_str()) && !mount.options.iter().any(|option| option == "ro") {
        mount.options.push("ro".to_string());
    }
}
