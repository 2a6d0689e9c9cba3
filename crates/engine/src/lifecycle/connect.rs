//! A container's network around its run: attached before, published when the shim holds the ports, released after.

use crate::{
    Engine, Error, Result,
    entry::Entry,
    lifecycle::names,
    network::EndpointState,
    record::EngineFields,
    request::{NetworkAttachment, NetworkMode, PortMapping, Protocol},
    shim::Shim,
    stores::blocking,
};
use std::{net::IpAddr, sync::Arc};
use tare_api::tare::shim::v1::{BoundPort, PortBinding};
use tare_net::{AttachRequest, ContainerKey, Sandbox};
use tare_types::{ErrorKind, port::PublishedPort};

/// The key of a container at the networks.
pub(crate) fn key(entry: &Entry) -> ContainerKey {
    ContainerKey { namespace: entry.key.namespace.clone(), id: entry.key.id.clone() }
}

pub(crate) fn failed(operation: &'static str, entry: &Entry, error: tare_net::Error) -> Error {
    Error::new(error.kind(), operation, "container", entry.key.id.as_str(), "network").with_source(error)
}

/// The name under which the networks know a mode; `None` for another container's network.
fn network_name(mode: &NetworkMode) -> Option<&str> {
    match mode {
        NetworkMode::Bridge => Some("bridge"),
        NetworkMode::None => Some("none"),
        NetworkMode::Host => Some("host"),
        NetworkMode::Named(name) => Some(name),
        NetworkMode::Container(_) => None,
    }
}

/// Gives a container its network. Blocks on the kernel: to be called on a blocking thread.
pub(crate) fn attach(engine: &Engine, entry: &Entry, fields: &EngineFields) -> Result<EndpointState> {
    let Some(network) = network_name(&fields.network.mode) else {
        return join(engine, entry, fields);
    };
    let invalid = |what: &'static str, value: String| {
        Error::new(ErrorKind::InvalidArgument, "attach", what, value, "it is not of the network's kind")
    };
    let ip = match fields.network.ipv4_address {
        None => None,
        Some(IpAddr::V4(address)) => Some(address),
        Some(address) => return Err(invalid("address", address.to_string())),
    };
    let mac = match &fields.network.mac_address {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| invalid("MAC address", text.clone()))?),
    };
    let request = AttachRequest {
        container: key(entry),
        network: network.to_owned(),
        name: fields.name.clone(),
        ip,
        mac,
    };
    let networks = &engine.inner().networks;
    let sandbox = match networks.attach(&request) {
        // Left by a run whose release never came: this run has the turn.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            networks.release(&request.container).map_err(|error| failed("release", entry, error))?;
            networks.attach(&request)
        }
        other => other,
    };
    let sandbox = sandbox.map_err(|error| match error.kind() {
        ErrorKind::NotFound if networks.inspect(network).is_err() => {
            Error::not_found("attach", "network", network)
        }
        kind => {
            let detail = error.hint().map_or_else(|| error.to_string(), str::to_owned);
            Error::new(kind, "attach", "endpoint", entry.key.id.as_str(), detail).with_source(error)
        }
    })?;
    let name = networks.inspect(&sandbox.network).map_or_else(|_| network.to_owned(), |network| network.name);
    let mut state = EndpointState { aliases: fields.network.aliases.clone(), ..state(name, sandbox) };
    for other in &fields.network.others {
        state.others.push(attach_more(engine, entry, &fields.name, other)?);
    }
    Ok(state)
}

/// Puts an attached container on a further network. Blocks on the kernel.
pub(crate) fn attach_more(
    engine: &Engine,
    entry: &Entry,
    name: &str,
    wanted: &NetworkAttachment,
) -> Result<EndpointState> {
    let invalid = |what: &'static str, value: String| {
        Error::new(ErrorKind::InvalidArgument, "attach", what, value, "it is not of the network's kind")
    };
    let request = AttachRequest {
        container: key(entry),
        network: wanted.network.clone(),
        name: name.to_owned(),
        ip: match wanted.ipv4_address {
            None => None,
            Some(IpAddr::V4(address)) => Some(address),
            Some(address) => return Err(invalid("address", address.to_string())),
        },
        mac: match &wanted.mac_address {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| invalid("MAC address", text.clone()))?),
        },
    };
    let connection = engine.inner().networks.connect(&request).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found("connect", "network", wanted.network.as_str()),
        kind => {
            let detail = error.hint().map_or_else(|| error.to_string(), str::to_owned);
            Error::new(kind, "connect", "network", wanted.network.as_str(), detail)
        }
    })?;
    let base = EndpointState {
        network: wanted.network.clone(),
        network_id: connection.network,
        aliases: wanted.aliases.clone(),
        ..EndpointState::default()
    };
    Ok(with_endpoint(base, connection.endpoint))
}

/// The network of another container.
fn join(engine: &Engine, entry: &Entry, fields: &EngineFields) -> Result<EndpointState> {
    let NetworkMode::Container(reference) = &fields.network.mode else {
        return Ok(EndpointState::default());
    };
    let other = engine.entry("join network of", &entry.key.namespace, reference)?;
    let pid = other.running_task().map(|task| task.init.pid()).filter(|pid| *pid != 0).ok_or_else(|| {
        let detail = "it does not run";
        Error::new(ErrorKind::FailedPrecondition, "join network of", "container", reference.as_str(), detail)
    })?;
    let mut state = other.live().endpoint.clone().unwrap_or_default();
    state.network = format!("container:{}", other.key.id);
    state.netns = format!("/proc/{pid}/ns/net");
    state.ports.clear();
    Ok(state)
}

fn state(network: String, sandbox: Sandbox) -> EndpointState {
    let state = EndpointState {
        network,
        network_id: sandbox.network,
        netns: sandbox.path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        ..EndpointState::default()
    };
    match sandbox.endpoint {
        Some(endpoint) => with_endpoint(state, endpoint),
        None => state,
    }
}

fn with_endpoint(state: EndpointState, endpoint: tare_net::Endpoint) -> EndpointState {
    EndpointState {
        endpoint_id: endpoint.id,
        ip_address: Some(endpoint.ip.into()),
        prefix_length: endpoint.prefix,
        gateway: endpoint.gateway.map(Into::into),
        mac_address: endpoint.mac.to_string(),
        ..state
    }
}

/// Ports a container asks for, ranges and exposed ones resolved to single mappings.
pub(crate) fn wanted_ports(fields: &EngineFields) -> Result<Vec<PortMapping>> {
    let mut wanted = fields.network.ports.clone();
    if fields.network.publish_all {
        for exposed in &fields.exposed {
            let (port, protocol) = PublishedPort::parse_container_port(exposed)?;
            let protocol = match protocol {
                tare_types::port::Protocol::Tcp => Protocol::Tcp,
                tare_types::port::Protocol::Udp => Protocol::Udp,
            };
            let known = wanted.iter().any(|p| p.container_port == port && p.protocol == protocol);
            if !known {
                let mapping =
                    PortMapping { host_ip: None, host_ports: (0, 0), container_port: port, protocol };
                wanted.push(mapping);
            }
        }
    }
    Ok(wanted)
}

/// What a shim is asked to bind for a port that leads to a container's address.
pub(crate) fn binding(port: &PortMapping, address: IpAddr) -> PortBinding {
    PortBinding {
        protocol: port.protocol.as_str().to_owned(),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: port.host_ports.0.into(),
        host_port_end: port.host_ports.1.into(),
        container_ip: address.to_string(),
        container_port: port.container_port.into(),
    }
}

/// Has the shim hold the ports of a container and the kernel lead their traffic to it.
pub(crate) async fn publish(
    engine: &Engine,
    entry: &Arc<Entry>,
    shim: &Shim,
    state: &mut EndpointState,
    wanted: &[PortMapping],
) -> Result<()> {
    let Some(address) = state.ip_address else { return Ok(()) };
    let bindings = wanted.iter().map(|port| binding(port, address)).collect();
    let bound = match shim.bind_ports(&entry.key.id, bindings).await {
        // The shim itself is in trouble, not a port.
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded) => {
            return Err(error);
        }
        Err(error) => return Err(in_use(engine, entry, state, wanted, &error)),
        Ok(bound) => bound,
    };
    state.ports = bound.iter().filter_map(|port| mapping(port, wanted)).collect();
    let ports: Vec<PublishedPort> = wanted
        .iter()
        .enumerate()
        .filter_map(|(index, port)| {
            let host = bound.iter().find(|bound| bound.binding as usize == index)?;
            Some(published(port, u16::try_from(host.host_port).ok()?))
        })
        .collect();
    let (networks, entry) = (engine.inner().networks.clone(), entry.clone());
    blocking("publish ports", move || {
        networks.publish(&key(&entry), &ports).map_err(|error| failed("publish ports of", &entry, error))
    })
    .await
}

fn published(port: &PortMapping, host_port: u16) -> PublishedPort {
    let protocol = match port.protocol {
        Protocol::Udp => tare_types::port::Protocol::Udp,
        Protocol::Tcp | Protocol::Sctp => tare_types::port::Protocol::Tcp,
    };
    PublishedPort { protocol, host_ip: port.host_ip, host_port, container_port: port.container_port }
}

/// A port that cannot be bound, in docker's words: another container has it, or some program of the host, or the address
/// is not the host's.
fn in_use(
    engine: &Engine,
    entry: &Entry,
    state: &EndpointState,
    wanted: &[PortMapping],
    error: &Error,
) -> Error {
    let asked: Vec<_> = wanted.iter().map(|port| published(port, port.host_ports.0)).collect();
    let taken = engine.inner().networks.port_conflict(&key(entry), &asked);
    let address = |ip: Option<IpAddr>| ip.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let reason = match taken {
        Some((port, _)) => {
            let at = std::net::SocketAddr::new(address(port.host_ip), port.host_port);
            format!("Bind for {at} failed: port is already allocated")
        }
        None => format!("failed to bind host port: {}", error.detail()),
    };
    let name = entry.record().engine.as_ref().map(|fields| fields.name.clone()).unwrap_or_default();
    let endpoint = &state.endpoint_id;
    let detail =
        format!("driver failed programming external connectivity on endpoint {name} ({endpoint}): {reason}");
    Error::new(error.kind(), "publish", "port", "", detail)
}

/// One bound socket as a mapping, with the port that was given.
fn mapping(bound: &BoundPort, wanted: &[PortMapping]) -> Option<PortMapping> {
    let asked = wanted.get(bound.binding as usize)?;
    let port = u16::try_from(bound.host_port).ok()?;
    Some(PortMapping { host_ip: bound.host_ip.parse().ok(), host_ports: (port, port), ..asked.clone() })
}

/// Tells that a run uses its network and its volumes.
pub(crate) fn tell_connected(engine: &Engine, entry: &Entry) {
    let endpoint = entry.live().endpoint.clone();
    if let Some(endpoint) = endpoint {
        tell(engine, entry, &endpoint, "connect", "mount");
    }
}

/// Docker's event about one network.
pub(crate) fn tell_of(engine: &Engine, entry: &Entry, endpoint: &EndpointState, action: &str) {
    let attributes = [
        ("container".to_owned(), entry.key.id.to_string()),
        ("name".to_owned(), endpoint.network.clone()),
        ("type".to_owned(), "bridge".to_owned()),
    ];
    let body = crate::events::Body::Action {
        kind: "network",
        action: action.to_owned(),
        id: endpoint.network_id.clone(),
    };
    engine.events().publish(&entry.key.namespace, crate::clock::now(), body, Arc::new(attributes.into()));
}

/// Docker's events about what a run uses.
fn tell(engine: &Engine, entry: &Entry, endpoint: &EndpointState, of_network: &str, of_volume: &str) {
    let record = entry.record();
    let mounts = record.engine.iter().flat_map(|fields| &fields.mounts);
    let id = entry.key.id.to_string();
    let publish = |kind: &'static str, action: &str, actor: &str, attributes: Vec<(&str, String)>| {
        let attributes: std::collections::BTreeMap<String, String> =
            attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = crate::events::Body::Action { kind, action: action.to_owned(), id: actor.to_owned() };
        engine.events().publish(&entry.key.namespace, crate::clock::now(), body, Arc::new(attributes));
    };
    // One that joined another's network is not on any.
    if !endpoint.network_id.is_empty() && !endpoint.network.starts_with("container:") {
        for endpoint in std::iter::once(endpoint).chain(&endpoint.others) {
            let kind = match endpoint.network.as_str() {
                "none" => "null",
                "host" => "host",
                _ => "bridge",
            };
            let attributes = vec![
                ("container", id.clone()),
                ("name", endpoint.network.clone()),
                ("type", kind.to_owned()),
            ];
            publish("network", of_network, &endpoint.network_id, attributes);
        }
    }
    for mount in mounts.filter(|mount| !mount.name.is_empty()) {
        let mut attributes = vec![("container", id.clone()), ("driver", mount.driver.clone())];
        if of_volume == "mount" {
            attributes.extend([
                ("destination", mount.target.clone()),
                ("propagation", mount.propagation.clone()),
                ("read/write", mount.read_write.to_string()),
            ]);
        }
        publish("volume", of_volume, &mount.name, attributes);
    }
}

/// Releases a container's network. The entry in the journal is made when this returns; the kernel follows.
pub(crate) async fn release(engine: &Engine, entry: &Arc<Entry>) {
    let endpoint = entry.live().endpoint.take();
    if let Some(endpoint) = &endpoint {
        tell(engine, entry, endpoint, "disconnect", "unmount");
    }
    let (networks, entry) = (engine.inner().networks.clone(), entry.clone());
    let engine = engine.clone();
    let released = blocking("release network", move || {
        let released = networks.release(&key(&entry)).map_err(|error| failed("release", &entry, error));
        if let Some(endpoint) = endpoint {
            names::refresh(&engine, &endpoint);
        }
        released
    })
    .await;
    if let Err(error) = released {
        tracing::error!(%error, "a network stays attached until the daemon starts again");
    }
}
