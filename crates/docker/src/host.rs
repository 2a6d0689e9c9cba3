//! What `info` and `version` tell of the host: read from the kernel when asked, nothing kept.

use std::fs;

/// One line of a file, trimmed; empty when it cannot be read.
fn line(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// `6.1.0-18-amd64`.
pub(crate) fn kernel_version() -> String {
    line("/proc/sys/kernel/osrelease")
}

/// Host name.
pub(crate) fn name() -> String {
    line("/proc/sys/kernel/hostname")
}

/// Whether IPv4 packets are forwarded.
pub(crate) fn forwards_ipv4() -> bool {
    line("/proc/sys/net/ipv4/ip_forward") == "1"
}

/// Memory in bytes.
pub(crate) fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
    });
    kilobytes.map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

/// A value of os-release(5).
pub(crate) fn os_release(key: &str) -> String {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

/// Whether the one tree of cgroup v2 has the controllers.
pub(crate) fn has_cgroup_v2() -> bool {
    fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("memory"))
}

/// Whether a v1 controller is there, or on v2 the controller of that name.
pub(crate) fn has_controller(name: &str) -> bool {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    v2.split_whitespace().any(|controller| controller == name)
        || fs::metadata(format!("/sys/fs/cgroup/{name}")).is_ok()
}

/// Processors and memory nodes that can be used, as lists of the kernel's form; empty where it does not say.
pub(crate) fn online_sets() -> (String, String) {
    (line("/sys/devices/system/cpu/online"), line("/sys/devices/system/node/online"))
}

/// Whether block I/O can be weighted (v1, or the controller of v2 with its weight).
pub(crate) fn has_block_weight() -> bool {
    fs::metadata("/sys/fs/cgroup/blkio/blkio.weight").is_ok() || has_cgroup_v2()
}

/// Open descriptors of this process.
pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Architecture as uname(2) and `info` say it.
pub(crate) fn machine() -> &'static str {
    std::env::consts::ARCH
}

/// Architecture as Go and `version` say it.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether the kernel has AppArmor switched on.
pub(crate) fn has_apparmor() -> bool {
    line("/sys/module/apparmor/parameters/enabled") == "Y"
}
