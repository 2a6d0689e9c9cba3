//! The contents of a container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, as pure functions.
//!
//! The caller reads the host's files and writes the container's; nothing here touches a file.

use std::net::IpAddr;

/// A line of `/etc/hosts` beyond the fixed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The names, the canonical one first.
    pub names: Vec<String>,
}

/// `/etc/hosts` of a container with its own address: the loopback names, the given entries (`--add-host`), then
/// the container's own line.
pub fn hosts(extra: &[HostEntry], own: &[HostEntry]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for entry in extra.iter().chain(own) {
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names.join(" ")));
    }
    text
}

/// `/etc/hosts` of a container in the host's network: the host's own text and the given entries.
pub fn host_network_hosts(host_text: &str, extra: &[HostEntry]) -> String {
    let mut text = host_text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in extra {
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names.join(" ")));
    }
    text
}

/// `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// What a person asked for beyond the host's resolver (`--dns`, `--dns-search`, `--dns-option`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Name servers; they replace the host's.
    pub servers: Vec<IpAddr>,
    /// Search domains; they replace the host's. A single `.` means none.
    pub search: Vec<String>,
    /// Options as in resolv.conf(5); they replace the host's.
    pub options: Vec<String>,
}
