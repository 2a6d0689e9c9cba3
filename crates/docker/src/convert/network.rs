//! Networks of containers: what is asked for, and what is shown.

use crate::convert::new_network::to_attachment;
use crate::convert::{ports, time_text};
use crate::error::ApiError;
use crate::wire::StringMap;
use crate::wire::config::Config;
use crate::wire::host_config::HostConfig;
use crate::wire::network::{
    EndpointIpam, EndpointResource, EndpointSettings, Ipam, IpamPool, Network, NetworkSettings,
    NetworkingConfig, PortMap,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tare_engine::network as domain;
use tare_engine::network::EndpointState;
use tare_engine::request::{Link, NetworkAttachment, NetworkMode, NetworkRequest};
use tare_engine::state::ContainerView;

/// Reads `HostConfig.NetworkMode`.
pub(crate) fn parse_mode(mode: &str) -> NetworkMode {
    match mode {
        "" | "default" | "bridge" => NetworkMode::Bridge,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => match other.strip_prefix("container:") {
            Some(container) => NetworkMode::Container(container.to_owned()),
            None => NetworkMode::Named(other.to_owned()),
        },
    }
}

/// The engine's request for a network.
pub(crate) fn to_request(
    config: &Config,
    host: &HostConfig,
    networking: &NetworkingConfig,
) -> Result<NetworkRequest, ApiError> {
    let mode = if config.network_disabled { NetworkMode::None } else { parse_mode(&host.network_mode) };
    check(config, host, &mode)?;
    let (endpoint, others) = endpoints(networking, &mode)?;
    let ipam = endpoint.ipam_config.unwrap_or_default();
    let has_address = [&ipam.ipv4_address, &ipam.ipv6_address].iter().any(|text| !text.is_empty());
    if has_address && !matches!(mode, NetworkMode::Named(_)) {
        return Err(ApiError::bad_parameter(
            "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only",
        ));
    }
    let exposed = config.exposed_ports.iter().flatten();
    let links = match mode {
        NetworkMode::Named(_) => endpoint.links.clone(),
        _ => host.links.clone(),
    };
    Ok(NetworkRequest {
        links: to_links(links.as_deref().unwrap_or_default())?,
        aliases: endpoint.aliases.unwrap_or_default(),
        ipv4_address: optional_ip(&ipam.ipv4_address, "invalid IPv4 address")?,
        mac_address: [endpoint.mac_address, config.mac_address.clone()]
            .into_iter()
            .find(|mac| !mac.is_empty()),
        dns: host
            .dns
            .iter()
            .flatten()
            .map(|text| parse_ip(text, "invalid DNS server"))
            .collect::<Result<_, _>>()?,
        dns_search: host.dns_search.clone().unwrap_or_default(),
        dns_options: host.dns_options.clone().unwrap_or_default(),
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        ports: ports::to_mappings(host.port_bindings.as_ref().unwrap_or(&PortMap::new()))?,
        publish_all: host.publish_all_ports,
        exposed: exposed.map(|(port, _)| ports::parse_port(port)).collect::<Result<_, _>>()?,
        others,
        mode,
        left: false,
    })
}

/// The endpoint on the network of the mode, and the further networks.
fn endpoints(
    networking: &NetworkingConfig,
    mode: &NetworkMode,
) -> Result<(EndpointSettings, Vec<NetworkAttachment>), ApiError> {
    let first = match mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
        NetworkMode::Named(name) => name,
        NetworkMode::Container(_) => "",
    };
    let asked = &networking.endpoints_config;
    if asked.len() <= 1 {
        // Whatever its name: it may be the id of the network.
        let only = asked.values().next().and_then(Clone::clone);
        return Ok((only.unwrap_or_default(), Vec::new()));
    }
    if !matches!(mode, NetworkMode::Bridge | NetworkMode::Named(_)) {
        return Err(ApiError::bad_parameter(format!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes: {first}"
        )));
    }
    let others = asked.iter().filter(|(name, _)| *name != first);
    let others = others.map(|(name, endpoint)| to_attachment(name, endpoint.clone().unwrap_or_default()));
    Ok((asked.get(first).cloned().flatten().unwrap_or_default(), others.collect::<Result<_, _>>()?))
}

/// Combinations that dockerd refuses.
fn check(config: &Config, host: &HostConfig, mode: &NetworkMode) -> Result<(), ApiError> {
    let has = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    let refuse = |message: &str| Err(ApiError::bad_parameter(message));
    if has(&host.links) {
        let undefined = "This would result in undefined behavior";
        match mode {
            NetworkMode::Host => {
                return refuse(&format!(
                    "conflicting options: host type networking can't be used with links. {undefined}"
                ));
            }
            NetworkMode::Container(_) => {
                return refuse(&format!(
                    "conflicting options: container type network can't be used with links. {undefined}"
                ));
            }
            NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_) => {}
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the UTS mode");
    }
    for entry in host.extra_hosts.iter().flatten() {
        if entry.split_once([':', '=']).is_none_or(|(name, address)| name.is_empty() || address.is_empty()) {
            return refuse(&format!("bad format for add-host: {}", crate::query::quote(entry)));
        }
    }
    if !matches!(mode, NetworkMode::Container(_)) {
        return Ok(());
    }
    if !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the network mode");
    }
    if has(&host.dns) {
        return refuse("conflicting options: dns and the network mode");
    }
    if has(&host.extra_hosts) {
        return refuse("conflicting options: custom host-to-IP mapping and the network mode");
    }
    if host.port_bindings.as_ref().is_some_and(|map| !map.is_empty()) || host.publish_all_ports {
        return refuse("conflicting options: port publishing and the container type network mode");
    }
    if config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
        return refuse("conflicting options: port exposing and the container type network mode");
    }
    Ok(())
}

/// `container[:alias]`, or the form in which `inspect` shows it: `/container:/owner/alias`.
pub(crate) fn to_links(links: &[String]) -> Result<Vec<Link>, ApiError> {
    let link = |text: &String| {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().trim_start_matches('/');
        let alias = parts.next().unwrap_or(name);
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        if name.is_empty() || alias.is_empty() || parts.next().is_some() {
            return Err(ApiError::bad_parameter(format!("bad format for links: {text}")));
        }
        Ok(Link { container: name.to_owned(), alias: alias.to_owned() })
    };
    links.iter().map(link).collect()
}

pub(crate) fn optional_ip(text: &str, what: &str) -> Result<Option<IpAddr>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_ip(text, what).map(Some) }
}

fn parse_ip(text: &str, what: &str) -> Result<IpAddr, ApiError> {
    text.parse().map_err(|_| ApiError::bad_parameter(format!("{what}: {text}")))
}

/// The endpoint as `inspect` shows it; before the start only what was asked for.
pub(crate) fn from_endpoint(
    state: Option<&EndpointState>,
    request: &NetworkRequest,
    asked: Option<&EndpointSettings>,
) -> EndpointSettings {
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let mut endpoint = EndpointSettings {
        ipam_config: asked.and_then(|asked| asked.ipam_config.clone()),
        aliases: Some(request.aliases.clone()).filter(|aliases| !aliases.is_empty()),
        mac_address: request.mac_address.clone().unwrap_or_default(),
        driver_opts: asked.and_then(|asked| asked.driver_opts.clone()),
        links: shown_links(request),
        ..EndpointSettings::default()
    };
    if let Some(state) = state {
        endpoint.network_id.clone_from(&state.network_id);
        endpoint.endpoint_id.clone_from(&state.endpoint_id);
        endpoint.gateway = text(state.gateway);
        endpoint.ip_address = text(state.ip_address);
        endpoint.ip_prefix_len = state.prefix_length;
        endpoint.ipv6_gateway = text(state.ipv6_gateway);
        endpoint.global_ipv6_address = text(state.ipv6_address);
        endpoint.global_ipv6_prefix_len = state.ipv6_prefix_length;
        endpoint.mac_address.clone_from(&state.mac_address);
    }
    endpoint
}

/// The links of an endpoint; those of the built-in bridge belong to the container.
fn shown_links(request: &NetworkRequest) -> Option<Vec<String>> {
    let of_endpoint = matches!(request.mode, NetworkMode::Named(_)) && !request.links.is_empty();
    let link = |link: &Link| format!("{}:{}", link.container, link.alias);
    of_endpoint.then(|| request.links.iter().map(link).collect())
}

/// Name under which the network of a container is shown; `None` when it uses another container's.
pub(crate) fn network_name(view: &ContainerView, mode: &NetworkMode) -> Option<String> {
    match (mode, &view.endpoint) {
        (NetworkMode::Container(_), _) => None,
        (NetworkMode::None, _) if view.record.engine.as_ref().is_some_and(|fields| fields.network.left) => {
            None
        }
        (_, Some(endpoint)) if !endpoint.network.is_empty() => Some(endpoint.network.clone()),
        (NetworkMode::Bridge, _) => Some("bridge".to_owned()),
        (NetworkMode::None, _) => Some("none".to_owned()),
        (NetworkMode::Host, _) => Some("host".to_owned()),
        (NetworkMode::Named(name), _) => Some(name.clone()),
    }
}

/// `NetworkSettings` of an inspected container.
pub(crate) fn to_settings(
    view: &ContainerView,
    request: &NetworkRequest,
    exposed: &[String],
    asked: &NetworkingConfig,
) -> NetworkSettings {
    let state = view.endpoint.as_ref();
    let mut settings = NetworkSettings::default();
    let Some(name) = network_name(view, &request.mode) else { return settings };
    let asked = asked.endpoints_config.get(&name).and_then(Option::as_ref);
    let endpoint = from_endpoint(state, request, asked);
    if let Some(state) = state {
        settings.sandbox_key.clone_from(&state.netns);
        settings.sandbox_id.clone_from(&state.endpoint_id);
        if view.state.status.is_running() && !matches!(request.mode, NetworkMode::Host | NetworkMode::None) {
            settings.ports = ports::from_mappings(&state.ports, exposed);
        }
    }
    if name == "bridge" {
        settings.endpoint_id.clone_from(&endpoint.endpoint_id);
        settings.gateway.clone_from(&endpoint.gateway);
        settings.global_ipv6_address.clone_from(&endpoint.global_ipv6_address);
        settings.global_ipv6_prefix_len = endpoint.global_ipv6_prefix_len;
        settings.ip_address.clone_from(&endpoint.ip_address);
        settings.ip_prefix_len = endpoint.ip_prefix_len;
        settings.ipv6_gateway.clone_from(&endpoint.ipv6_gateway);
        settings.mac_address.clone_from(&endpoint.mac_address);
    }
    settings.networks = BTreeMap::from([(name, endpoint)]);
    for other in &request.others {
        let running = state.and_then(|state| state.others.iter().find(|one| one.network == other.network));
        settings.networks.insert(other.network.clone(), from_other(running, other));
    }
    settings
}

/// A further network as `inspect` shows it.
fn from_other(state: Option<&EndpointState>, asked: &NetworkAttachment) -> EndpointSettings {
    let request = NetworkRequest {
        aliases: asked.aliases.clone(),
        mac_address: asked.mac_address.clone(),
        mode: NetworkMode::Named(asked.network.clone()),
        links: asked.links.clone(),
        ..NetworkRequest::default()
    };
    let ipam = asked
        .ipv4_address
        .map(|address| EndpointIpam { ipv4_address: address.to_string(), ..EndpointIpam::default() });
    EndpointSettings { ipam_config: ipam, ..from_endpoint(state, &request, None) }
}

/// A network as `network inspect` shows it, with the containers on it.
pub(crate) fn to_network(network: &domain::Network, containers: &[ContainerView]) -> Network {
    let pools = network.subnets.iter().map(|(subnet, gateway)| IpamPool {
        subnet: subnet.clone(),
        gateway: gateway.to_string(),
        ip_range: network.range.clone(),
        auxiliary_addresses: Some(
            network.reserved.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
        )
        .filter(|map: &StringMap| !map.is_empty()),
    });
    let is_v6 = |subnet: &(String, IpAddr)| subnet.1.is_ipv6();
    Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: time_text(Some(network.created_at)),
        scope: "local".to_owned(),
        driver: network.driver.clone(),
        enable_ipv4: true,
        enable_ipv6: network.subnets.iter().any(is_v6),
        ipam: Ipam {
            driver: "default".to_owned(),
            options: (!network.built_in).then(StringMap::new),
            config: Some(pools.collect()),
        },
        internal: network.internal,
        containers: containers.iter().filter_map(|view| to_resource(network, view)).collect(),
        options: Some(network.options.clone()),
        labels: network.labels.clone(),
        ..Network::default()
    }
}

fn to_resource(network: &domain::Network, view: &ContainerView) -> Option<(String, EndpointResource)> {
    let first = view.endpoint.as_ref().filter(|_| view.state.status.is_running())?;
    let mut endpoints = std::iter::once(first).chain(&first.others);
    let endpoint = endpoints.find(|endpoint| endpoint.network_id == network.id)?;
    let cidr = |ip: Option<IpAddr>, bits: u8| ip.map(|ip| format!("{ip}/{bits}")).unwrap_or_default();
    let resource = EndpointResource {
        name: view.record.engine.as_ref().map(|fields| fields.name.clone()).unwrap_or_default(),
        endpoint_id: endpoint.endpoint_id.clone(),
        mac_address: endpoint.mac_address.clone(),
        ipv4_address: cidr(endpoint.ip_address, endpoint.prefix_length),
        ipv6_address: cidr(endpoint.ipv6_address, endpoint.ipv6_prefix_length),
    };
    Some((view.record.id.to_string(), resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, host: &str) -> Result<NetworkRequest, String> {
        let config = crate::wire::parse(config.as_bytes()).unwrap();
        let host = crate::wire::parse(host.as_bytes()).unwrap();
        to_request(&config, &host, &NetworkingConfig::default()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn modes_are_read() {
        assert_eq!(parse_mode("default"), NetworkMode::Bridge);
        assert_eq!(parse_mode("container:web"), NetworkMode::Container("web".into()));
        assert_eq!(parse_mode("mynet"), NetworkMode::Named("mynet".into()));
        assert_eq!(read(r#"{"NetworkDisabled":true}"#, "{}").unwrap().mode, NetworkMode::None);
    }

    #[test]
    fn conflicts_are_refused_in_dockerds_words() {
        let table = [
            (
                r#"{"Hostname":"a"}"#,
                r#"{"NetworkMode":"container:x"}"#,
                "conflicting options: hostname and the network mode",
            ),
            (
                "{}",
                r#"{"NetworkMode":"container:x","Dns":["1.1.1.1"]}"#,
                "conflicting options: dns and the network mode",
            ),
            (
                "{}",
                r#"{"NetworkMode":"container:x","PortBindings":{"80/tcp":[{}]}}"#,
                "conflicting options: port publishing and the container type network mode",
            ),
            (
                r#"{"Hostname":"a"}"#,
                r#"{"UTSMode":"host"}"#,
                "conflicting options: hostname and the UTS mode",
            ),
            ("{}", r#"{"Dns":["here"]}"#, "invalid DNS server: here"),
            ("{}", r#"{"ExtraHosts":["here"]}"#, "bad format for add-host: \"here\""),
        ];
        for (config, host, message) in table {
            assert_eq!(read(config, host).unwrap_err(), message);
        }
    }
}
