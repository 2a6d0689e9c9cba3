//! Defining a bridge network: checked, written down, then made; undone when it cannot be made.

use crate::{
    Driver, Error, Network, NewNetwork, Result,
    definitions::{now, random_id},
    shared::Shared,
};
use std::net::Ipv4Addr;
use tare_types::ErrorKind;

/// Docker's option for the name of the bridge interface.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The longest name of an interface (IFNAMSIZ less its end).
const MAX_INTERFACE: usize = 15;

pub(crate) fn create(shared: &Shared, new: &NewNetwork) -> Result<Network> {
    check(new)?;
    let id = random_id()?;
    let given = new.options.get(BRIDGE_NAME).filter(|name| !name.is_empty());
    let interface =
        given.cloned().unwrap_or_else(|| format!("{}{}", shared.config.bridge_prefix(), &id[..6]));
    let network = Network {
        id,
        name: new.name.clone(),
        driver: Driver::Bridge,
        created: now(),
        interface: Some(interface.clone()),
        subnet: new.subnet,
        gateway: new.gateway,
        range: new.range,
        reserved: new.reserved.clone(),
        internal: new.internal,
        labels: new.labels.clone(),
        options: new.options.clone(),
    };
    define(shared, &network)?;
    match shared.bridge(&network, false) {
        Ok(_) => shared.network(&network.id),
        Err(error) => Err(match shared.remove_network(&network) {
            Ok(()) => error,
            Err(second) => error.with_hint(format!("and to undo it: {second}")),
        }),
    }
}

/// Enters the definition; from here on its name is taken.
fn define(shared: &Shared, network: &Network) -> Result<()> {
    let mut state = shared.state();
    let taken =
        |what: String| Error::new(ErrorKind::AlreadyExists, "define network", &network.name).with_hint(what);
    for other in state.definitions.all() {
        if other.name == network.name {
            return Err(taken(format!("network with name {} already exists", network.name)));
        }
        if other.interface.is_some() && other.interface == network.interface {
            return Err(taken(format!("network {} has the bridge of that name", other.name)));
        }
        if let (Some(mine), Some(theirs)) = (network.subnet, other.subnet)
            && mine.overlaps(theirs)
        {
            return Err(Error::new(ErrorKind::PermissionDenied, "define network", &network.name)
                .with_hint("Pool overlaps with other one on this address space"));
        }
    }
    state.definitions.add(network.clone())
}

fn check(new: &NewNetwork) -> Result<()> {
    let invalid = |hint: String| {
        Err(Error::new(ErrorKind::InvalidArgument, "define network", &new.name).with_hint(hint))
    };
    // As docker: a name is for people, and no part of a path or an interface.
    if new.name.trim().is_empty() {
        return invalid(format!("invalid name: {:?} is empty", new.name));
    }
    if let Some(name) = new.options.get(BRIDGE_NAME).filter(|name| !name.is_empty())
        && (name.len() > MAX_INTERFACE || name.contains(['/', ' ', ':', '.']) || !name.is_ascii())
    {
        return invalid(format!("{name} is no name of an interface of at most {MAX_INTERFACE} characters"));
    }
    match (new.subnet, new.gateway) {
        (Some(subnet), _) if subnet.prefix() > 30 => invalid(format!("{subnet} has no room for a container")),
        (Some(subnet), Some(gateway))
            if !subnet.contains(gateway) || gateway == subnet.address() || gateway == subnet.broadcast() =>
        {
            invalid(format!("no matching subnet for gateway {gateway}"))
        }
        (None, Some(gateway)) => invalid(format!("no matching subnet for gateway {gateway}")),
        _ => check_parts(new).or_else(invalid),
    }
}

/// The range and the reserved addresses lie in the subnet.
fn check_parts(new: &NewNetwork) -> std::result::Result<(), String> {
    let in_subnet = |address: Ipv4Addr| new.subnet.is_some_and(|subnet| subnet.contains(address));
    if let Some(range) = new.range.filter(|range| {
        !in_subnet(range.address()) || new.subnet.is_some_and(|subnet| range.prefix() < subnet.prefix())
    }) {
        return Err(format!("no matching subnet for range {range}"));
    }
    match new.reserved.values().find(|address| !in_subnet(**address)) {
        Some(address) => Err(format!("no matching subnet for aux-address {address}")),
        None => Ok(()),
    }
}
