//! Attaching a container: a ready namespace, an address, a veth pair, in that order and with the journal first.

use crate::{
    AttachRequest, Driver, Endpoint, Error, Network, Result, Sandbox,
    address::MacAddress,
    bridge::Bridge,
    definitions::random_id,
    ipam::Refusal,
    journal::{Record, SandboxNumber},
    pool::{Pool, ReadyNamespace},
    shared::{Shared, State},
};
use rustix::io::Errno;
use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tare_sys::netlink::{
    Batch,
    route::{self, VethPair, Which},
};
use tare_types::ErrorKind;

/// The interface a container sees.
const INSIDE: &str = "eth0";
/// The longest wait for an address that is being released.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn attach(shared: &Shared, pool: &Pool, request: &AttachRequest) -> Result<Sandbox> {
    let network = shared.network(&request.network)?;
    check(&network, request)?;
    if shared.state().sandbox(&request.container).is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, "attach container", request.container.to_string()));
    }
    match network.driver {
        Driver::Host => {
            let sandbox = sandbox(request, &network, None);
            record(shared, pool.reserve_number(), &sandbox)?;
            Ok(sandbox)
        }
        Driver::Null => {
            let ready = pool.take()?;
            let sandbox = sandbox(request, &network, Some(&ready));
            record(shared, ready.number, &sandbox)?;
            ready.pin().map_err(|error| undo(shared, &ready, error))?;
            Ok(sandbox)
        }
        Driver::Bridge => attach_to_bridge(shared, pool, request, &network),
    }
}

fn check(network: &Network, request: &AttachRequest) -> Result<()> {
    if network.driver != Driver::Bridge && (request.ip.is_some() || request.mac.is_some()) {
        return Err(Error::new(ErrorKind::InvalidArgument, "give address on network", &network.name)
            .with_hint("only a bridge network has addresses"));
    }
    Ok(())
}

fn sandbox(request: &AttachRequest, network: &Network, ready: Option<&ReadyNamespace>) -> Sandbox {
    Sandbox {
        container: request.container.clone(),
        name: request.name.clone(),
        network: network.id.clone(),
        path: ready.map(|ready| ready.path.clone()),
        endpoint: None,
        ports: Vec::new(),
        more: Vec::new(),
    }
}

/// Enters a sandbox in the journal and the records.
fn record(shared: &Shared, number: SandboxNumber, sandbox: &Sandbox) -> Result<()> {
    enter(&mut shared.state(), number, sandbox)
}

fn enter(state: &mut State, number: SandboxNumber, sandbox: &Sandbox) -> Result<()> {
    if state.active.contains_key(&sandbox.container) || state.records.contains_key(&number) {
        return Err(Error::new(ErrorKind::AlreadyExists, "attach container", sandbox.container.to_string()));
    }
    let record = Record { sandbox: sandbox.clone(), releasing: false };
    state.journal.attach(number, &record)?;
    state.records.insert(number, record);
    state.active.insert(sandbox.container.clone(), number);
    Ok(())
}

fn attach_to_bridge(
    shared: &Shared,
    pool: &Pool,
    request: &AttachRequest,
    network: &Network,
) -> Result<Sandbox> {
    let bridge = shared.bridge(network, false)?;
    let mut ready = pool.take()?;
    let sandbox = reserve(shared, request, network, &bridge, &ready)?;
    ready.pin().map_err(|error| undo(shared, &ready, error))?;
    let endpoint = sandbox.endpoint.as_ref().expect("invariant: reserve gives a bridge sandbox its endpoint");
    let mut connected = connect(shared, &bridge, endpoint, &mut ready);
    if matches!(&connected, Err(error) if error.is(Errno::NODEV) || error.is(Errno::INVAL)) {
        // Somebody removed the bridge: it is made again, once.
        let bridge = shared.bridge(&shared.network(&request.network)?, true);
        let same = bridge.and_then(|bridge| match bridge.subnet.contains(endpoint.ip) {
            true => Ok(bridge),
            false => Err(Error::new(ErrorKind::Aborted, "attach container", request.container.to_string())
                .with_hint("the bridge was removed and its subnet taken meanwhile; try again")),
        });
        match same {
            Ok(bridge) => connected = connect(shared, &bridge, endpoint, &mut ready),
            Err(error) => return Err(undo(shared, &ready, error)),
        }
    }
    match connected {
        Ok(()) => Ok(sandbox),
        Err(error) => {
            let error = Error::caused("attach container", request.container.to_string(), error);
            Err(undo(shared, &ready, error))
        }
    }
}

/// Hands what was made to the worker; the first error is the one to report.
fn undo(shared: &Shared, ready: &ReadyNamespace, error: Error) -> Error {
    let undone = shared.state().begin_release(ready.number);
    shared.changed.notify_all();
    match undone {
        Ok(()) => error,
        Err(second) => error.with_hint(format!("and to undo it: {second}")),
    }
}

/// Takes an address and enters the sandbox in the journal.
fn reserve(
    shared: &Shared,
    request: &AttachRequest,
    network: &Network,
    bridge: &Bridge,
    ready: &ReadyNamespace,
) -> Result<Sandbox> {
    let id = random_id()?;
    let (mut state, ip) = take_address(shared, request.ip, network)?;
    let sandbox = Sandbox {
        endpoint: Some(Endpoint {
            id,
            interface: interface_name(&shared.config.instance, ready.number),
            ip,
            prefix: bridge.subnet.prefix(),
            gateway: (!network.internal).then_some(bridge.gateway),
            mac: request.mac.unwrap_or_else(|| MacAddress::from_ip(ip)),
        }),
        ..sandbox(request, network, Some(ready))
    };
    let entered = enter(&mut state, ready.number, &sandbox);
    if entered.is_err() {
        state.give_back(&network.id, ip);
    }
    entered.map(|()| sandbox)
}

/// Takes the wished or a free address; one that is being released is waited for.
pub(crate) fn take_address<'a>(
    shared: &'a Shared,
    wished: Option<Ipv4Addr>,
    network: &Network,
) -> Result<(MutexGuard<'a, State>, Ipv4Addr)> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    let mut state = shared.state();
    loop {
        let Some(addresses) = state.addresses.get_mut(&network.id) else {
            return Err(Error::new(ErrorKind::NotFound, "find network", &network.name)
                .with_hint("it was removed meanwhile"));
        };
        let refusal = match addresses.take(wished) {
            Ok(ip) => return Ok((state, ip)),
            Err(refusal) => refusal,
        };
        let coming = state.records.values().filter(|record| record.releasing).any(|record| {
            let mut here = record.sandbox.endpoints().filter(|(id, _)| *id == network.id);
            here.any(|(_, endpoint)| wished.is_none_or(|wished| wished == endpoint.ip))
        });
        let left = deadline.saturating_duration_since(Instant::now());
        if refusal == Refusal::Outside || !coming || left.is_zero() {
            return Err(refused(refusal, wished, network));
        }
        state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn refused(refusal: Refusal, wished: Option<Ipv4Addr>, network: &Network) -> Error {
    let wished = wished.map(|ip| ip.to_string()).unwrap_or_default();
    match refusal {
        Refusal::Exhausted => {
            Error::new(ErrorKind::ResourceExhausted, "find free address on network", &network.name)
                .with_hint("no available IPv4 addresses on this network's address pools")
        }
        Refusal::Taken => {
            Error::new(ErrorKind::AlreadyExists, "take address", wished).with_hint("address already in use")
        }
        Refusal::Outside => {
            Error::new(ErrorKind::InvalidArgument, "take address", &wished).with_hint(format!(
                "invalid endpoint settings: no configured subnet of network {} contains IP address {wished}",
                network.name
            ))
        }
    }
}

/// The name of the host's end of a veth pair: 15 characters, the longest there is.
pub(crate) fn interface_name(instance: &str, number: SandboxNumber) -> String {
    format!("v{instance}{number:06x}")
}

/// The kernel's part: one batch on the host, one in the namespace.
fn connect(
    shared: &Shared,
    bridge: &Bridge,
    endpoint: &Endpoint,
    ready: &mut ReadyNamespace,
) -> std::result::Result<(), tare_sys::netlink::Error> {
    let mut batch = Batch::new();
    let pair = VethPair {
        name: &endpoint.interface,
        bridge: bridge.index,
        peer_name: INSIDE,
        peer_address: endpoint.mac.0,
        peer_namespace: ready.namespace.as_fd(),
        mtu: None,
    };
    route::add_veth(&mut batch, &pair);
    if bridge.hairpin {
        route::set_hairpin(&mut batch, &endpoint.interface);
    }
    shared.route().execute(&mut batch)?;

    match configure(ready, ready.next_index, endpoint) {
        // A first attempt that failed has used up the number that was foreseen.
        Err(error) if error.is(Errno::NODEV) => {
            let inside = route::link(&mut ready.socket, Which::Name(INSIDE))?;
            inside.map_or(Err(error), |link| configure(ready, link.index, endpoint))
        }
        configured => configured,
    }
}

/// The container's side: the interface up, its address, its way out.
fn configure(
    ready: &mut ReadyNamespace,
    index: u32,
    endpoint: &Endpoint,
) -> std::result::Result<(), tare_sys::netlink::Error> {
    let mut batch = Batch::new();
    route::set_up(&mut batch, Which::Index(index));
    route::add_address(&mut batch, index, IpAddr::V4(endpoint.ip), endpoint.prefix);
    if let Some(gateway) = endpoint.gateway {
        route::add_default_route(&mut batch, index, IpAddr::V4(gateway));
    }
    ready.socket.execute(&mut batch)
}
