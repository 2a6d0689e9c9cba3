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

/// What a container asks when the host names no server it could reach (docker's choice).
const FALLBACK_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 4, 4))];

/// Where systemd-resolved keeps the servers behind its stub.
pub const RESOLVED_SERVERS: &str = "/run/systemd/resolve/resolv.conf";

/// Whether the host's resolv.conf names the stub of systemd-resolved alone; then [`RESOLVED_SERVERS`] is the
/// text to pass on.
pub fn names_stub_resolver(host_text: &str) -> bool {
    let mut servers = host_text.lines().filter_map(server_of).peekable();
    servers.peek().is_some() && servers.all(|server| server == "127.0.0.53")
}

/// `/etc/resolv.conf` of a container in the host's network: the host's own, but for what was asked for.
pub fn host_network_resolv_conf(host_text: &str, options: &ResolverOptions) -> String {
    resolver_text(host_text, options, |_| true)
}

/// `/etc/resolv.conf` of a container with a network of its own: the host's text without the servers it cannot
/// reach (loopback ones and those of IPv6, which no network has yet), but for what was asked for.
///
/// With no server left the container asks the same public ones as under docker.
pub fn resolv_conf(host_text: &str, options: &ResolverOptions) -> String {
    let reachable = |server: &str| server.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() && !ip.is_loopback());
    let mut text = resolver_text(host_text, options, reachable);
    if !text.lines().any(|line| server_of(line).is_some()) {
        for server in FALLBACK_SERVERS {
            text.push_str(&format!("nameserver {server}\n"));
        }
    }
    text
}

fn resolver_text(host_text: &str, options: &ResolverOptions, keep: impl Fn(&str) -> bool) -> String {
    let replaced = |line: &str| match line.split_whitespace().next() {
        Some("nameserver") => !options.servers.is_empty(),
        Some("search" | "domain") => !options.search.is_empty(),
        Some("options") => !options.options.is_empty(),
        _ => false,
    };
    let mut text = String::new();
    for line in host_text.lines() {
        if !replaced(line) && server_of(line).is_none_or(&keep) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !options.search.is_empty() && options.search != ["."] {
        text.push_str(&format!("search {}\n", options.search.join(" ")));
    }
    for server in &options.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.options.is_empty() {
        text.push_str(&format!("options {}\n", options.options.join(" ")));
    }
    text
}

/// The server a line of resolv.conf(5) names.
fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, names: &[&str]) -> HostEntry {
        HostEntry {
            address: address.parse().unwrap(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    #[test]
    fn hosts_file() {
        let text = hosts(&[entry("10.0.0.1", &["db"])], &[entry("172.17.0.2", &["0123456789ab", "web"])]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "127.0.0.1\tlocalhost");
        assert_eq!(lines[1], "::1\tlocalhost ip6-localhost ip6-loopback");
        assert_eq!(lines[6..], ["10.0.0.1\tdb", "172.17.0.2\t0123456789ab web"]);
        assert_eq!(host_network_hosts("1.2.3.4 x", &[entry("::1", &["y"])]), "1.2.3.4 x\n::1\ty\n");
        assert_eq!(hostname("web"), "web\n");
    }

    #[test]
    fn servers_a_container_cannot_reach_are_left_out() {
        let host = "# made by hand\nnameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver ::1\n\
                    nameserver 2001:db8::53\nnameserver fe80::1%eth0\nsearch example.org\noptions ndots:2\n";
        let none = ResolverOptions::default();
        assert_eq!(
            resolv_conf(host, &none),
            "# made by hand\nnameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n"
        );
        assert_eq!(host_network_resolv_conf(host, &none), host);
    }

    #[test]
    fn with_no_server_left_the_public_ones_are_asked() {
        let none = ResolverOptions::default();
        for host in ["", "nameserver 127.0.0.53\n", "nameserver\nnameserver rubbish\n", "search x"] {
            let text = resolv_conf(host, &none);
            assert!(text.contains("nameserver 8.8.8.8\nnameserver 8.8.4.4\n"), "{host}: {text}");
        }
    }

    #[test]
    fn what_is_asked_for_replaces_the_hosts() {
        let host = "nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n";
        let options = ResolverOptions {
            servers: vec!["192.0.2.1".parse().unwrap(), "127.0.0.9".parse().unwrap()],
            search: vec!["a.example".to_owned(), "b.example".to_owned()],
            options: vec!["timeout:1".to_owned()],
        };
        let expected =
            "search a.example b.example\nnameserver 192.0.2.1\nnameserver 127.0.0.9\noptions timeout:1\n";
        assert_eq!(resolv_conf(host, &options), expected);
        let no_search = ResolverOptions { search: vec![".".to_owned()], ..ResolverOptions::default() };
        assert_eq!(resolv_conf(host, &no_search), "nameserver 192.0.2.53\noptions ndots:2\n");
    }

    #[test]
    fn the_stub_of_systemd_resolved() {
        assert!(names_stub_resolver("nameserver 127.0.0.53\noptions edns0\n"));
        assert!(!names_stub_resolver("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"));
        assert!(!names_stub_resolver(""));
    }
}
