//! Further networks of a container that is attached: one more veth pair into the namespace it has.
//!
//! The journal first, as everywhere: a record with the connection is written before the kernel knows of it, and one
//! without it after the kernel has let go.

use crate::{
    AttachRequest, Connection, ContainerKey, Driver, Endpoint, Error, Network, Result, Sandbox,
    address::MacAddress,
    attach::{interface_name, take_address},
    bridge::Bridge,
    definitions::random_id,
    doctor,
    journal::SandboxNumber,
    pool::Pool,
    shared::{Shared, State},
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};
use tare_sys::{
    netlink::{
        Batch, Family, Socket,
        route::{self, VethPair, Which},
    },
    netns::Stay,
};
use tare_types::ErrorKind;

pub(crate) fn connect(shared: &Shared, pool: &Pool, request: &AttachRequest) -> Result<Connection> {
    let network = shared.network(&request.network)?;
    if network.driver != Driver::Bridge {
        return Err(refused(request, "container cannot be connected to host or none network"));
    }
    let bridge = shared.bridge(&network, false)?;
    let (path, connection) = reserve(shared, pool, request, &network, &bridge)?;
    let made = open(&path).and_then(|namespace| plug(shared, &bridge, &connection, namespace));
    made.map_err(|error| match disconnect(shared, &request.container, &network.id) {
        Ok(()) => error,
        Err(second) => error.with_hint(format!("and to undo it: {second}")),
    })?;
    Ok(connection)
}

fn refused(request: &AttachRequest, hint: impl Into<String>) -> Error {
    let object = format!("{} to {}", request.container, request.network);
    Error::new(ErrorKind::PermissionDenied, "connect container", object).with_hint(hint)
}

/// Takes an address and enters the connection in the journal.
fn reserve(
    shared: &Shared,
    pool: &Pool,
    request: &AttachRequest,
    network: &Network,
    bridge: &Bridge,
) -> Result<(PathBuf, Connection)> {
    let (id, link) = (random_id()?, pool.reserve_number());
    let (mut state, ip) = take_address(shared, request.ip, network)?;
    let fit = fit(&state, request, network).and_then(|(number, path, inside, gateway)| {
        let endpoint = Endpoint {
            id,
            interface: interface_name(&shared.config.instance, link),
            ip,
            prefix: bridge.subnet.prefix(),
            gateway: (gateway && !network.internal).then_some(bridge.gateway),
            mac: request.mac.unwrap_or_else(|| MacAddress::from_ip(ip)),
        };
        let connection = Connection { network: network.id.clone(), inside, endpoint };
        change(&mut state, number, |sandbox| sandbox.more.push(connection.clone()))?;
        Ok((path, connection))
    });
    if fit.is_err() {
        state.give_back(&network.id, ip);
    }
    fit
}

/// The sandbox of a container that can be connected: its number, its namespace, the name that is free in it, and
/// whether it has no way out yet.
fn fit(
    state: &State,
    request: &AttachRequest,
    network: &Network,
) -> Result<(SandboxNumber, PathBuf, String, bool)> {
    let Some((number, sandbox)) = state.sandbox(&request.container) else {
        return Err(Shared::not_attached("connect container", &request.container));
    };
    if sandbox.is_on(&network.id) {
        let hint = format!("endpoint with name {} already exists in network {}", sandbox.name, network.name);
        return Err(refused(request, hint));
    }
    let Some(path) = sandbox.path.clone() else {
        return Err(refused(request, "container sharing the host's network cannot be connected to another"));
    };
    let mut free = (0..).map(|index| format!("eth{index}"));
    let taken = |name: &str| {
        (name == "eth0" && sandbox.endpoint.is_some()) || sandbox.more.iter().any(|more| more.inside == name)
    };
    let inside = free.find(|name| !taken(name)).unwrap_or_default();
    let way_out = sandbox.endpoints().any(|(_, endpoint)| endpoint.gateway.is_some());
    Ok((number, path, inside, !way_out))
}

/// Changes a sandbox, in the journal first.
fn change(state: &mut State, number: SandboxNumber, change: impl FnOnce(&mut Sandbox)) -> Result<()> {
    let Some(mut record) = state.records.get(&number).cloned() else { return Ok(()) };
    change(&mut record.sandbox);
    state.journal.attach(number, &record)?;
    state.records.insert(number, record);
    Ok(())
}

/// Takes a container off a network, its first one included; what was published there is published no more. If that was
/// its way out, the next network that leads anywhere becomes it.
pub(crate) fn disconnect(shared: &Shared, container: &ContainerKey, network: &str) -> Result<()> {
    let network = shared.network(network)?;
    let nowhere = shared.network("none")?;
    let not_on = || {
        Error::new(ErrorKind::NotFound, "disconnect container", container.to_string())
            .with_hint(format!("container is not connected to network {}", network.name))
    };
    let (endpoint, withdrawn) = {
        let state = shared.state();
        let Some((_, sandbox)) = state.sandbox(container) else { return Err(not_on()) };
        let found = sandbox.endpoints().find(|(id, _)| *id == network.id).ok_or_else(not_on)?;
        let is_first = sandbox.network == network.id;
        (found.1.clone(), if is_first { sandbox.ports.clone() } else { Vec::new() })
    };
    if !withdrawn.is_empty() {
        shared.firewall().withdraw(endpoint.ip, &withdrawn);
        shared.firewall().flush()?;
    }
    doctor::remove_interface(&mut shared.route(), &endpoint.interface)?;
    let mut state = shared.state();
    // Released meanwhile: its address goes with it.
    let Some((number, _)) = state.sandbox(container) else { return Ok(()) };
    change(&mut state, number, |sandbox| {
        sandbox.more.retain(|more| more.network != network.id);
        if sandbox.network == network.id {
            sandbox.network.clone_from(&nowhere.id);
            sandbox.endpoint = None;
            sandbox.ports.clear();
        }
    })?;
    state.give_back(&network.id, endpoint.ip);
    drop(state);
    shared.changed.notify_all();
    match endpoint.gateway {
        Some(_) => find_way_out(shared, container),
        None => Ok(()),
    }
}

/// Gives a container that lost its default route another one, through the first of its networks that has a gateway.
fn find_way_out(shared: &Shared, container: &ContainerKey) -> Result<()> {
    let mut found = None;
    {
        let mut state = shared.state();
        let Some((number, sandbox)) = state.sandbox(container) else { return Ok(()) };
        for more in &sandbox.more {
            let network = state.definitions.find(&more.network)?;
            if let Some(gateway) = network.gateway.filter(|_| !network.internal) {
                found = sandbox
                    .path
                    .clone()
                    .map(|path| (path, more.inside.clone(), more.network.clone(), gateway));
                break;
            }
        }
        let Some((_, _, network, gateway)) = &found else { return Ok(()) };
        change(&mut state, number, |sandbox| {
            let ours = sandbox.more.iter_mut().filter(|more| more.network == *network);
            ours.for_each(|more| more.endpoint.gateway = Some(*gateway));
        })?;
    }
    let Some((path, inside, _, gateway)) = found else { return Ok(()) };
    let failed = |error: tare_sys::netlink::Error| Error::caused("route through", &inside, error);
    let mut socket = socket_in(open(&path)?)?;
    let link = route::link(&mut socket, Which::Name(&inside)).map_err(failed)?;
    let index = link.ok_or_else(|| Error::new(ErrorKind::Aborted, "route through", &inside))?.index;
    let mut batch = Batch::new();
    route::add_default_route(&mut batch, index, IpAddr::V4(gateway));
    socket.execute(&mut batch).map_err(failed)
}

fn open(path: &PathBuf) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::caused("open network namespace", path.display().to_string(), errno))
}

/// The kernel's part: a pair from the bridge into the namespace, and its address there.
fn plug(shared: &Shared, bridge: &Bridge, connection: &Connection, namespace: OwnedFd) -> Result<()> {
    let endpoint = &connection.endpoint;
    let failed = |error: tare_sys::netlink::Error| Error::caused("connect", &endpoint.interface, error);
    let mut batch = Batch::new();
    let pair = VethPair {
        name: &endpoint.interface,
        bridge: bridge.index,
        peer_name: &connection.inside,
        peer_address: endpoint.mac.0,
        peer_namespace: namespace.as_fd(),
        mtu: None,
    };
    route::add_veth(&mut batch, &pair);
    if bridge.hairpin {
        route::set_hairpin(&mut batch, &endpoint.interface);
    }
    shared.route().execute(&mut batch).map_err(failed)?;
    let mut socket = socket_in(namespace)?;
    let inside = route::link(&mut socket, Which::Name(&connection.inside)).map_err(failed)?;
    let index = inside.ok_or_else(|| Error::new(ErrorKind::Aborted, "connect", &connection.inside))?.index;
    let mut batch = Batch::new();
    route::set_up(&mut batch, Which::Index(index));
    route::add_address(&mut batch, index, IpAddr::V4(endpoint.ip), endpoint.prefix);
    if let Some(gateway) = endpoint.gateway {
        route::add_default_route(&mut batch, index, IpAddr::V4(gateway));
    }
    socket.execute(&mut batch).map_err(failed)
}

/// A socket in a namespace, opened by a thread that enters it and ends.
fn socket_in(namespace: OwnedFd) -> Result<Socket> {
    let failed = |error: std::io::Error| Error::caused("enter network namespace", "of container", error);
    let open = move || -> Result<Socket> {
        let _stay = Stay::enter(namespace.as_fd()).map_err(|errno| failed(errno.into()))?;
        Socket::open(Family::Route).map_err(|e| Error::caused("open rtnetlink", "socket", e))
    };
    let thread = std::thread::Builder::new().name("tare-net-connect".to_owned()).spawn(open);
    let joined = thread.map_err(failed)?.join();
    joined.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "enter network namespace", "of container")))
}
