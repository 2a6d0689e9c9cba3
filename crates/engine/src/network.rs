//! Networks of containers: attach before the start, release after the end.

use crate::{
    Engine, Error, Result, clock,
    events::Body,
    lifecycle::members,
    request::{NetworkAttachment, PortMapping},
    stores::blocking,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};
pub use tare_net::NewNetwork;
use tare_types::{ErrorKind, Namespace, Timestamp};

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
    /// The part of the first subnet that addresses are given from, as CIDR; empty for all of it.
    pub range: String,
    /// Addresses of the first subnet that no container gets, by the names of what has them.
    pub reserved: BTreeMap<String, IpAddr>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// No way out of it.
    pub internal: bool,
    /// Every daemon has it.
    pub built_in: bool,
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
    /// Its further names on this network.
    pub aliases: Vec<String>,
    /// The further networks.
    pub others: Vec<EndpointState>,
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
    /// Defines a bridge network and makes its bridge.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken, `InvalidArgument`, `PermissionDenied` for a subnet of another network,
    /// `ResourceExhausted` when no subnet is free.
    pub async fn create(&self, new: NewNetwork) -> Result<Network> {
        let networks = self.engine.inner().networks.clone();
        let work = async move {
            blocking("create network", move || {
                networks.create(&new).map(shown).map_err(|error| failed("create", &new.name, error))
            })
            .await
        };
        let network = self.engine.run("create network", work).await?;
        self.tell("create", &network);
        Ok(network)
    }

    /// Removes a network that a person defined.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for a built-in one and for one with containers on it.
    pub async fn remove(&self, reference: &str) -> Result<Network> {
        let (networks, reference) = (self.engine.inner().networks.clone(), reference.to_owned());
        let work = async move {
            blocking("remove network", move || {
                networks.remove(&reference).map(shown).map_err(|error| failed("remove", &reference, error))
            })
            .await
        };
        let network = self.engine.run("remove network", work).await?;
        self.tell("destroy", &network);
        Ok(network)
    }

    /// Puts a container on one more network: now where it runs, and at each start from now on.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` where it is on it already or its kind of network allows no other.
    pub async fn connect(
        &self,
        namespace: &Namespace,
        container: &str,
        attachment: NetworkAttachment,
    ) -> Result<()> {
        let entry = self.engine.entry("connect", namespace, container)?;
        let network = self.get(&attachment.network).await?;
        let attachment = NetworkAttachment { network: network.name.clone(), ..attachment };
        let engine = self.engine.clone();
        let work = async move { members::connect(&engine, &entry, &network, attachment).await };
        self.engine.run("connect to network", work).await
    }

    /// Takes a container off a network.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` when it is not on it.
    pub async fn disconnect(&self, namespace: &Namespace, container: &str, network: &str) -> Result<()> {
        let entry = self.engine.entry("disconnect", namespace, container)?;
        let network = self.get(network).await?;
        let engine = self.engine.clone();
        let work = async move { members::disconnect(&engine, &entry, &network).await };
        self.engine.run("disconnect from network", work).await
    }

    fn tell(&self, action: &str, network: &Network) {
        let body = Body::Action { kind: "network", action: action.to_owned(), id: network.id.clone() };
        let attributes =
            [("name".to_owned(), network.name.clone()), ("type".to_owned(), network.driver.clone())].into();
        let namespace = Namespace::default_namespace();
        self.engine.events().publish(&namespace, clock::now(), body, Arc::new(attributes));
    }

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

/// An error of the networks: its reason is what a client is to read.
fn failed(operation: &'static str, name: &str, error: tare_net::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::not_found(operation, "network", name),
        kind => {
            let detail = error.hint().map_or_else(|| error.to_string(), str::to_owned);
            Error::new(kind, operation, "network", name, detail)
        }
    }
}

fn shown(network: tare_net::Network) -> Network {
    let built_in = network.is_built_in();
    let subnet = network.subnet.map(|subnet| subnet.to_string());
    let subnets = subnet.zip(network.gateway).map(|(subnet, gateway)| (subnet, IpAddr::V4(gateway)));
    Network {
        id: network.id,
        name: network.name,
        driver: network.driver.as_str().to_owned(),
        created_at: network.created,
        subnets: subnets.into_iter().collect(),
        range: network.range.map(|range| range.to_string()).unwrap_or_default(),
        reserved: network.reserved.into_iter().map(|(name, address)| (name, IpAddr::V4(address))).collect(),
        options: network.options,
        internal: network.internal,
        built_in,
        labels: network.labels,
    }
}
