//! What `network create` and `network connect` ask for.

use crate::convert::network::{optional_ip, to_links};
use crate::error::ApiError;
use crate::wire::network::{CreateNetwork, EndpointSettings};
use std::collections::BTreeMap;
use tare_engine::network::NewNetwork;
use tare_engine::request::NetworkAttachment;

/// The engine's request for a network.
pub(crate) fn to_new_network(wire: CreateNetwork) -> Result<NewNetwork, ApiError> {
    match wire.driver.as_str() {
        "" | "default" | "bridge" => {}
        name @ ("host" | "null") => {
            return Err(ApiError::new(
                http::StatusCode::FORBIDDEN,
                format!("only one instance of \"{name}\" network is allowed"),
            ));
        }
        name => {
            return Err(ApiError::not_found(format!(
                "could not find plugin {name} in v1 plugin registry: plugin \"{name}\" not found"
            )));
        }
    }
    if matches!(wire.name.as_str(), "bridge" | "host" | "none" | "default") {
        return Err(ApiError::new(
            http::StatusCode::FORBIDDEN,
            format!("operation is not permitted on predefined {} network", wire.name),
        ));
    }
    let asks_v6 = wire.enable_ipv6.unwrap_or(false);
    let unsupported = [
        (asks_v6, "networks with IPv6"),
        (wire.enable_ipv4 == Some(false), "networks without IPv4"),
        (wire.ingress || wire.scope == "swarm", "networks of a swarm"),
        (
            wire.config_only || wire.config_from.is_some_and(|from| !from.network.is_empty()),
            "config-only networks",
        ),
    ];
    if let Some((_, what)) = unsupported.into_iter().find(|(asked, _)| *asked) {
        return Err(ApiError::not_implemented(what));
    }
    let ipam = wire.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(ApiError::not_implemented("IPAM drivers"));
    }
    let mut pools = ipam.config.unwrap_or_default().into_iter();
    let pool = pools.next().unwrap_or_default();
    if pools.next().is_some() {
        return Err(ApiError::not_implemented("networks with several subnets"));
    }
    let invalid = |what: &str, text: &str| {
        let why = if what.contains("address") { "invalid address" } else { "invalid CIDR block notation" };
        ApiError::bad_parameter(format!("invalid network config:\ninvalid {what} {text}: {why}"))
    };
    let subnet = match pool.subnet.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("subnet", text))?),
    };
    let gateway = match pool.gateway.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("gateway address", text))?),
    };
    let range = match pool.ip_range.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("ip-range", text))?),
    };
    let mut reserved = BTreeMap::new();
    for (name, text) in pool.auxiliary_addresses.into_iter().flatten() {
        let address = text.parse().map_err(|_| invalid("auxiliary address", &text))?;
        reserved.insert(name, address);
    }
    Ok(NewNetwork {
        name: wire.name,
        subnet,
        gateway,
        range,
        reserved,
        internal: wire.internal,
        labels: wire.labels.unwrap_or_default(),
        options: wire.options.unwrap_or_default(),
    })
}

/// A further network of a container.
pub(crate) fn to_attachment(
    network: &str,
    endpoint: EndpointSettings,
) -> Result<NetworkAttachment, ApiError> {
    let ipam = endpoint.ipam_config.unwrap_or_default();
    let links = to_links(endpoint.links.as_deref().unwrap_or_default())?;
    if !ipam.ipv6_address.is_empty() {
        return Err(ApiError::not_implemented("networks with IPv6"));
    }
    Ok(NetworkAttachment {
        network: network.to_owned(),
        aliases: endpoint.aliases.unwrap_or_default(),
        ipv4_address: optional_ip(&ipam.ipv4_address, "invalid IPv4 address")?,
        mac_address: Some(endpoint.mac_address).filter(|mac| !mac.is_empty()),
        links,
    })
}
