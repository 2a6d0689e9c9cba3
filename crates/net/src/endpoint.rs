//! What a container asks of a network and what it gets.

use crate::address::MacAddress;
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, path::PathBuf};
use tare_types::{ContainerId, Namespace, port::PublishedPort};

/// A container, the owner of addresses and ports: its namespace of the daemon and its id there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// The namespace of the daemon (not of the kernel).
    pub namespace: Namespace,
    /// The container's id in it.
    pub id: ContainerId,
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}

/// What a container asks for when it is to start.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// Who asks.
    pub container: ContainerKey,
    /// The network, by name or id: `bridge`, `none`, `host`.
    pub network: String,
    /// The container's name, for those who look at the network.
    pub name: String,
    /// A wished address; it must be free.
    pub ip: Option<Ipv4Addr>,
    /// A wished Ethernet address; without one it follows from the IP.
    pub mac: Option<MacAddress>,
}

/// What a started container has: a namespace, and on a bridge an address.
///
/// For the driver `host` both parts are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The container it belongs to.
    pub container: ContainerKey,
    /// The container's name when it was attached.
    pub name: String,
    /// The id of the network.
    pub network: String,
    /// The path of the network namespace, a file to be joined with setns(2) (`linux.namespaces[].path` of the
    /// runtime specification); `None` for the host's own.
    ///
    /// It stays valid until the container is released, also when the daemon dies.
    pub path: Option<PathBuf>,
    /// The interface `eth0`, on a bridge.
    pub endpoint: Option<Endpoint>,
    /// The ports that are published now, at the first endpoint.
    pub ports: Vec<PublishedPort>,
    /// The networks it is on besides the first.
    #[serde(default)]
    pub more: Vec<Connection>,
}

/// A further network of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The id of the network.
    pub network: String,
    /// The name of the interface in the container: `eth1` and so on.
    pub inside: String,
    /// The interface.
    pub endpoint: Endpoint,
}

impl Sandbox {
    /// All its endpoints, with the ids of their networks.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        let first = self.endpoint.iter().map(|endpoint| (self.network.as_str(), endpoint));
        first.chain(self.more.iter().map(|more| (more.network.as_str(), &more.endpoint)))
    }

    /// Whether it is on a network, by its id.
    pub fn is_on(&self, network_id: &str) -> bool {
        self.network == network_id || self.more.iter().any(|more| more.network == network_id)
    }
}

/// The interface of a container on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hex digits, for docker's `EndpointID`.
    pub id: String,
    /// The name of the interface on the host's side.
    pub interface: String,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// The prefix of the network.
    pub prefix: u8,
    /// The container's default gateway; `None` on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// The Ethernet address of `eth0`.
    pub mac: MacAddress,
}
