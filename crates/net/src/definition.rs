//! What a network is: name, id, driver, addresses. Plain data, stored as JSON in the root directory.

use crate::address::Subnet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr};
use tare_types::Timestamp;

/// Who moves the packets of a network; the names are docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A Linux bridge with masquerade.
    Bridge,
    /// The network namespace of the host.
    Host,
    /// A namespace with nothing but the loopback interface.
    Null,
}

impl Driver {
    /// The name as `docker network ls` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// What a person asks for when defining a bridge network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Letters, digits, `_`, `.` and `-`; no other network of the instance has it.
    pub name: String,
    /// A wished subnet; without one the first free of the pools.
    pub subnet: Option<Subnet>,
    /// A wished address of the bridge in the wished subnet; without one its first.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the wished subnet that addresses are given from; a container may still wish one outside of it.
    pub range: Option<Subnet>,
    /// Addresses of the wished subnet that no container gets, by the names of what has them.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// No way out of the network.
    pub internal: bool,
    /// What a person attached to it.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, in docker's names.
    pub options: BTreeMap<String, String>,
}

/// A network of this instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hex digits, made once.
    pub id: String,
    /// `bridge`, `host`, `none`, or what a person called it.
    pub name: String,
    /// Who moves its packets.
    pub driver: Driver,
    /// When it was defined.
    pub created: Timestamp,
    /// The name of the bridge interface on the host; `None` where the driver has none.
    pub interface: Option<String>,
    /// The addresses; `None` until the bridge was first needed, and for other drivers.
    pub subnet: Option<Subnet>,
    /// The address of the bridge, which containers use as their gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are given from, where that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Subnet>,
    /// Addresses that no container gets, by the names of what has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// No way out of the network.
    #[serde(default)]
    pub internal: bool,
    /// What a person attached to it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, in docker's names (`com.docker.network.bridge.name` and so on).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Network {
    /// Whether every instance has it: `bridge`, `host`, `none`.
    pub fn is_built_in(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }
}
