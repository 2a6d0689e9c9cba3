//! Names of Linux capabilities (capabilities(7)), by number.

/// Names without the prefix `CAP_`; the position is the number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Number of a capability by its name with `CAP_`, in any case.
pub fn parse(name: &str) -> Option<u8> {
    let prefix = name.get(..4)?;
    let rest = name.get(4..)?;
    if !prefix.eq_ignore_ascii_case("CAP_") {
        return None;
    }
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(rest)).map(|number| number as u8)
}

/// All names without the prefix, by number.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse("CAP_CHOWN"), Some(0));
        assert_eq!(parse("cap_sys_admin"), Some(21));
        assert_eq!(parse("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(parse("SYS_ADMIN"), None);
        assert_eq!(parse("CAP_NOPE"), None);
    }
}
