//! Capability names and what `--cap-add`, `--cap-drop` and `--privileged` make of the default ones.

use crate::InvalidValue;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// All capabilities of Linux, by number (`linux/capability.h`).
pub const ALL_CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN` as `CAP_NET_ADMIN`; `ALL` stays `ALL`.
///
/// # Errors
/// [`InvalidValue`] for a name that Linux does not have.
pub fn normalize_capability(name: &str) -> Result<String, InvalidValue> {
    let upper = name.trim().to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok("ALL".to_string());
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if ALL_CAPABILITIES.contains(&full.as_str()) {
        return Ok(full);
    }
    Err(InvalidValue::new("capability", &full, "it is unknown"))
}

/// The capabilities of a container. `ALL` on one side makes the other side the exceptions; named on both sides, a
/// capability is added.
///
/// # Errors
/// As [`normalize_capability`].
pub fn adjust_capabilities<A: AsRef<str>, D: AsRef<str>>(
    add: &[A],
    drop: &[D],
    privileged: bool,
) -> Result<Vec<String>, InvalidValue> {
    let add = add.iter().map(|name| normalize_capability(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let drop = drop.iter().map(|name| normalize_capability(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let has_all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let named = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    if privileged {
        return Ok(named(&ALL_CAPABILITIES));
    }
    let mut result = if has_all(&add) {
        let mut all = named(&ALL_CAPABILITIES);
        all.retain(|name| !drop.contains(name));
        return Ok(all);
    } else if has_all(&drop) {
        Vec::new()
    } else {
        let mut kept = named(&DEFAULT_CAPABILITIES);
        kept.retain(|name| !drop.contains(name));
        kept
    };
    for name in add {
        if !result.contains(&name) {
            result.push(name);
        }
    }
    Ok(result)
}
