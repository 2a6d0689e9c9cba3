//! Kernel parameters: only those of the container's own namespaces (as runc's validator has them).

use super::{Kind, Namespaces, c_string};
use crate::{Error, Result};
use alloc::{collections::BTreeMap, ffi::CString, format, string::String, vec::Vec};

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(crate) fn plan(
    sysctl: &BTreeMap<String, String>,
    namespaces: &Namespaces,
) -> Result<Vec<(CString, Vec<u8>)>> {
    sysctl
        .iter()
        .map(|(key, value)| {
            let path = path_of(key);
            check(key, &path, namespaces)?;
            Ok((c_string("linux.sysctl", &format!("sys/{path}"))?, value.clone().into_bytes()))
        })
        .collect()
}

/// sysctl(8)'s rule: whichever of `.` and `/` comes first separates, the other is a character of a name.
fn path_of(key: &str) -> String {
    let first = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    if first == Some("/") {
        return key.into();
    }
    key.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

fn check(key: &str, path: &str, namespaces: &Namespaces) -> Result<()> {
    let refuse = |reason: String| Err(Error::invalid("linux.sysctl", reason));
    // CVE-2022-0811: a key is a path, not a list of assignments.
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return refuse(format!("{key:?} is not a parameter"));
    }
    let (kind, namespace) = if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        (Kind::Ipc, "IPC")
    } else if path.starts_with("net/") {
        (Kind::Network, "network")
    } else if path == "kernel/domainname" {
        (Kind::Uts, "UTS")
    } else if path == "kernel/hostname" {
        return refuse(format!("{key:?} conflicts with the OCI field hostname"));
    } else if path.starts_with("user/") {
        (Kind::User, "user")
    } else {
        return refuse(format!("{key:?} is not in a separate kernel namespace"));
    };
    if !namespaces.has(kind) {
        return refuse(format!("{key:?} is not allowed in the host's {namespace} namespace"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn only_own_namespaces() {
        let none = Namespaces::default();
        for key in [
            "kernel.core_pattern",
            "net.core.somaxconn",
            "kernel.shmmax",
            "net/../kernel/core_pattern",
            "",
            "vm",
        ] {
            let map = BTreeMap::from([(String::from(key), String::from("1"))]);
            assert!(plan(&map, &none).is_err(), "{key}");
        }
    }
}
