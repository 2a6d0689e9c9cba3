//! Published ports: what a person asks for, and the sockets which hold them.
//!
//! A published port has two carriers. The firewall's address translation carries what comes from outside,
//! from other containers and from the host's own addresses. A holder, a process that outlives the daemon,
//! binds the port, so that nobody else takes it, and carries what translation does not reach: 127.0.0.0/8,
//! `[::1]`, and IPv6 where the network has none. This file says which sockets the holder binds, as a pure
//! function; it opens nothing.

use crate::InvalidValue;
use alloc::{string::ToString, vec::Vec};
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};
use serde::{Deserialize, Serialize};

/// The transport protocol of a published port. SCTP, which the field knows too, is refused where ports are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The lower-case name, as in `80/tcp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => {
                Err(InvalidValue::new("port protocol", text, "publishing sctp ports is not implemented"))
            }
            _ => Err(InvalidValue::new("port protocol", text, "it must be tcp or udp")),
        }
    }
}

/// One published port: traffic to (`host_ip`, `host_port`) goes to `container_port` of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address of the host; `None` means all of both families (`0.0.0.0` and `[::]`).
    pub host_ip: Option<IpAddr>,
    /// The port on the host; 0 asks the holder to choose a free one.
    pub host_port: u16,
    /// The port in the container, never 0.
    pub container_port: u16,
}

/// A socket that the holder binds for a published port, and where it carries what arrives there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HolderSocket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address to bind. An IPv6 socket is bound with `IPV6_V6ONLY`, its IPv4 twin is a socket of its own.
    pub bind: SocketAddr,
    /// The container's address and port.
    pub target: SocketAddr,
}

/// The sockets that hold `port` for a container at `target`: one, or one per family where no address was named.
///
/// With `host_port` 0 the holder binds the first socket to a port the kernel chooses and the others to the same
/// one; when one of those is taken it starts again with another.
/// `ipv6` says whether the host speaks IPv6 at all (`/proc/net/if_inet6` exists).
pub fn holder_sockets(port: &PublishedPort, target: IpAddr, ipv6: bool) -> Vec<HolderSocket> {
    let target = SocketAddr::new(target, port.container_port);
    let addresses: &[IpAddr] = match &port.host_ip {
        Some(address) => core::slice::from_ref(address),
        None if ipv6 => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        None => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    };
    let socket = |address: &IpAddr| HolderSocket {
        protocol: port.protocol,
        bind: SocketAddr::new(*address, port.host_port),
        target,
    };
    addresses.iter().map(socket).collect()
}

impl PublishedPort {
    /// Parses docker's `PORT[/PROTOCOL]` of a container, as in `80/tcp`; without a protocol it is TCP.
    ///
    /// # Errors
    /// [`InvalidValue`] for a port outside 1 to 65535 or an unknown protocol.
    pub fn parse_container_port(text: &str) -> Result<(u16, Protocol), InvalidValue> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = port.parse::<u16>().ok().filter(|n| *n != 0 && !port.starts_with('+'));
        let number =
            number.ok_or_else(|| InvalidValue::new("port", text, "it must be between 1 and 65535"))?;
        Ok((number, protocol.parse()?))
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Some(address) => f.write_str(&address.to_string())?,
            None => f.write_str("0.0.0.0")?,
        }
        write!(f, ":{}->{}/{}", self.host_port, self.container_port, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 8080,
            container_port: 80,
        }
    }

    #[test]
    fn a_port_without_an_address_is_held_in_both_families() {
        let target = "172.17.0.2".parse().unwrap();
        let binds = |host_ip, ipv6| -> Vec<_> {
            holder_sockets(&port(host_ip), target, ipv6).iter().map(|s| s.bind.to_string()).collect()
        };
        assert_eq!(binds(None, true), ["0.0.0.0:8080", "[::]:8080"]);
        assert_eq!(binds(None, false), ["0.0.0.0:8080"]);
        assert_eq!(binds(Some("127.0.0.1"), true), ["127.0.0.1:8080"]);
        assert_eq!(binds(Some("::1"), true), ["[::1]:8080"]);
        assert_eq!(holder_sockets(&port(None), target, true)[1].target.to_string(), "172.17.0.2:80");
    }

    #[test]
    fn container_ports_are_parsed() {
        assert_eq!(PublishedPort::parse_container_port("80").unwrap(), (80, Protocol::Tcp));
        assert_eq!(PublishedPort::parse_container_port("53/udp").unwrap(), (53, Protocol::Udp));
        assert_eq!(PublishedPort::parse_container_port("53/UDP").unwrap(), (53, Protocol::Udp));
        for bad in ["", "0", "65536", "80/", "80/icmp", "80/sctp", "+80", "-1", "8 0"] {
            assert!(PublishedPort::parse_container_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_published_port_reads_as_docker_ps_shows_it() {
        assert_eq!(port(None).to_string(), "0.0.0.0:8080->80/tcp");
        assert_eq!(port(Some("::1")).to_string(), "[::1]:8080->80/tcp");
    }
}
