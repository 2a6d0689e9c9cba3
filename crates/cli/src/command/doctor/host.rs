//! What the kernel and the host offer. Each probe asks the kernel itself where it can.

use super::{Finding, Grade};
use crate::command::daemon::beside_us;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::path::Path;

/// All findings about this host.
pub(crate) fn check() -> Vec<Finding> {
    let mut findings = vec![kernel(), root(), openat2()];
    findings.extend(filesystems());
    findings.extend(namespaces());
    findings.extend(cgroups());
    findings.push(network());
    findings.push(forwarding());
    findings.extend(programs());
    findings
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let new_enough = version >= (5, 12);
    let detail = format!(
        "{release}{}",
        if new_enough { "" } else { "; 5.12 is needed (mount_setattr, clone3, openat2)" }
    );
    Finding::new(if new_enough { Grade::Good } else { Grade::Missing }, "kernel", detail)
}

fn root() -> Finding {
    let is_root = rustix::process::geteuid().is_root();
    Finding::good_or(
        is_root,
        Grade::Note,
        "user",
        "root",
        "not root: the daemon needs root, and some checks here too",
    )
}

fn openat2() -> Finding {
    let opened =
        rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
    Finding::good_or(
        opened.is_ok(),
        Grade::Missing,
        "openat2",
        "works",
        "refused: an old kernel, or a seccomp filter around us",
    )
}

fn filesystems() -> Vec<Finding> {
    let known = read("/proc/filesystems");
    let has = |name: &str| known.lines().any(|line| line.split_whitespace().last() == Some(name));
    vec![
        Finding::good_or(
            has("overlay"),
            Grade::Missing,
            "overlayfs",
            "available",
            "not available: modprobe overlay",
        ),
        Finding::good_or(has("mqueue"), Grade::Note, "mqueue", "available", "not available"),
    ]
}

fn namespaces() -> Vec<Finding> {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"]
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    let detail =
        if missing.is_empty() { "all".to_owned() } else { format!("without {}", missing.join(", ")) };
    let grade = if missing.is_empty() { Grade::Good } else { Grade::Missing };
    vec![Finding::new(grade, "namespaces", detail)]
}

fn cgroups() -> Vec<Finding> {
    let unified = read("/sys/fs/cgroup/cgroup.controllers");
    let (layout, found): (&str, Vec<String>) = if unified.is_empty() {
        let names = read("/proc/self/cgroup")
            .lines()
            .filter_map(|line| line.split(':').nth(1).map(str::to_owned))
            .flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        ("v1", names)
    } else {
        ("v2", unified.split_whitespace().map(str::to_owned).collect())
    };
    let mut findings = vec![Finding::new(Grade::Good, "cgroups", layout)];
    for (name, use_of_it) in
        [("memory", "--memory"), ("cpu", "--cpus"), ("pids", "--pids-limit"), ("cpuset", "--cpuset-cpus")]
    {
        let has = found.iter().any(|controller| controller == name);
        findings.push(Finding::good_or(
            has,
            Grade::Note,
            &format!("controller {name}"),
            "available",
            &format!("missing: {use_of_it} will be refused"),
        ));
    }
    findings
}

fn network() -> Finding {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::NETLINK,
        rustix::net::SocketType::RAW,
        rustix::net::SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::NETFILTER),
    );
    Finding::good_or(
        socket.is_ok(),
        Grade::Missing,
        "nftables",
        "netlink answers",
        "the kernel has no nf_tables: only --network none and host will work",
    )
}

fn forwarding() -> Finding {
    let on = read("/proc/sys/net/ipv4/ip_forward").trim() == "1";
    Finding::good_or(on, Grade::Note, "ip_forward", "on", "off: the daemon turns it on with its bridge")
}

fn programs() -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["tared", "containerd-shim-tare-v2", "tare-oci"] {
        let path = beside_us(name);
        let found = path.contains('/') || in_path(name).is_some();
        let detail = if path.contains('/') { path } else { in_path(name).unwrap_or_default() };
        let grade = if name == "tare-oci" { Grade::Note } else { Grade::Missing };
        findings.push(Finding::good_or(found, grade, name, &detail, "not beside tare and not in PATH"));
    }
    for (name, purpose) in [
        ("mmdebstrap", "tare image bootstrap"),
        ("docker-registry", "tare image bootstrap"),
        ("gzip", "tare image bootstrap"),
    ] {
        let found = in_path(name);
        let missing = format!("not installed: {purpose} needs it");
        findings.push(Finding::good_or(
            found.is_some(),
            Grade::Note,
            name,
            found.as_deref().unwrap_or(""),
            &missing,
        ));
    }
    findings
}

fn in_path(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .map(|path| path.display().to_string())
}
