//! Networks of containers: attach before the start, release after the end.

use crate::{Engine, Error, Result, request::PortMapping};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};
use tare_types::{ErrorKind, Timestamp};

/// The verbs of networks.
#[derive(Debug, Clone)]
pub struct Networks {
    engine: Engine,
}

/// A network as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Subnets as CIDR with their gateways.
    pub subnets: Vec<(String, IpAddr)>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Network of one container while it has one; also kept in its bundle, for a restarted daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointState {
    /// Name of the network: `bridge`, `host`, `none`.
    pub network: String,
    /// Id of the network.
    pub network_id: String,
    /// Id of this endpoint; empty for host and none.
    pub endpoint_id: String,
    /// Address, or empty.
    pub ip_address: Option<IpAddr>,
    /// Bits of the subnet.
    pub prefix_length: u8,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// IPv6 address.
    pub ipv6_address: Option<IpAddr>,
    /// Bits of the IPv6 subnet.
    pub ipv6_prefix_length: u8,
    /// IPv6 gateway.
    pub ipv6_gateway: Option<IpAddr>,
    /// `02:42:…`.
    pub mac_address: String,
    /// Path of the network namespace; empty for host.
    pub netns: String,
    /// Published ports with the host port that was given.
    pub ports: Vec<PortMapping>,
}

impl Networks {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// None today: they are in memory.
    pub async fn list(&self) -> Result<Vec<Network>> {
        Ok(self.engine.inner().networks.list().into_iter().map(shown).collect())
    }

    /// One network by name, id or a unique prefix of its id.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a prefix of several ids.
    pub async fn get(&self, reference: &str) -> Result<Network> {
        self.engine.inner().networks.inspect(reference).map(shown).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::not_found("inspect", "network", reference),
            kind => Error::new(kind, "inspect", "network", reference, "").with_source(error),
        })
    }
}

impl Networks {
    /// Chains of other programs that throw forwarded packets away, as `family table chain`: containers reach nobody
    /// then. Empty also when the kernel cannot be asked.
    pub async fn other_firewalls(&self) -> Vec<String> {
        let found = crate::stores::blocking("look for firewalls", || {
            tare_net::other_firewalls()
                .map_err(|error| Error::new(error.kind(), "list", "firewalls", "", "").with_source(error))
        });
        found.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "other firewalls are not known");
            Vec::new()
        })
    }
}

fn shown(network: tare_net::Network) -> Network {
    let subnet = network.subnet.map(|subnet| subnet.to_string());
    let subnets = subnet.zip(network.gateway).map(|(subnet, gateway)| (subnet, IpAddr::V4(gateway)));
    Network {
        id: network.id,
        name: network.name,
        driver: network.driver.as_str().to_owned(),
        created_at: network.created,
        subnets: subnets.into_iter().collect(),
        options: network.options,
        labels: network.labels,
    }
}
