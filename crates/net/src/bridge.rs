//! A network's bridge in the kernel: found or made, with a subnet that nobody else on the host uses.

use crate::{
    Config, Error, Network, Result,
    address::{MacAddress, Subnet},
    ipam::choose_subnet,
};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    io::Errno,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};
use tare_sys::netlink::{
    Batch, Socket,
    route::{self, Which},
};
use tare_types::ErrorKind;

/// The longest wait for another daemon to choose its subnet; that takes it a few milliseconds.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const BRIDGED_TO_FIREWALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The bridge as it stands in the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    /// Its number.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) interface: String,
    /// The network behind it.
    pub(crate) subnet: Subnet,
    /// Its own address.
    pub(crate) gateway: Ipv4Addr,
    /// The kernel shows bridged packets to the firewall (module br_netfilter): a packet whose destination is
    /// translated to where it came from leaves by its own port, which must allow it (hairpin).
    pub(crate) hairpin: bool,
    /// No way out of the network.
    pub(crate) internal: bool,
}

/// Finds the bridge of `network`, or makes it with a free subnet, under the lock of the host.
///
/// `reserved` are the subnets of the instance's other networks, whose bridges may not be there now.
pub(crate) fn ensure(
    config: &Config,
    network: &Network,
    reserved: &[Subnet],
    socket: &mut Socket,
) -> Result<Bridge> {
    let interface = network
        .interface
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "make bridge of network", &network.name))?;
    let _lock = lock_host(&config.host_lock)?;
    let failed = |what: &'static str| {
        let interface = interface.clone();
        move |error: tare_sys::netlink::Error| Error::caused(what, interface, error)
    };
    let found = route::link(socket, Which::Name(&interface)).map_err(failed("look for bridge"))?;
    if let Some(link) = &found
        && link.kind != "bridge"
    {
        return Err(Error::new(ErrorKind::AlreadyExists, "make bridge", &interface)
            .with_hint("an interface of that name exists and is no bridge"));
    }
    let addresses = route::ipv4_addresses(socket).map_err(failed("list addresses for bridge"))?;
    let own = found.as_ref().and_then(|link| addresses.iter().find(|a| a.index == link.index));
    let (subnet, gateway) = match own {
        Some(address) => (Subnet::containing(address.address, address.prefix), address.address),
        None => {
            let subnet = choose(config, network, reserved, socket, &addresses)?;
            let first = Ipv4Addr::from(u32::from(subnet.address()) + 1);
            (subnet, network.gateway.filter(|wished| subnet.contains(*wished)).unwrap_or(first))
        }
    };
    let index = match &found {
        Some(link) => link.index,
        None => {
            let mut batch = Batch::new();
            route::add_bridge(&mut batch, &interface, MacAddress::from_ip(gateway).0);
            socket.execute(&mut batch).map_err(failed("make bridge"))?;
            let made = route::link(socket, Which::Name(&interface)).map_err(failed("look for bridge"))?;
            made.ok_or_else(|| Error::new(ErrorKind::Aborted, "make bridge", &interface))?.index
        }
    };
    if own.is_none() {
        let mut batch = Batch::new();
        // Its containers have no IPv6: neither has the bridge. Where the kernel has none there is nothing to do.
        let _absent = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
        route::add_address(&mut batch, index, IpAddr::V4(gateway), subnet.prefix());
        route::set_up(&mut batch, Which::Index(index));
        match socket.execute(&mut batch) {
            Err(error) if !error.is(Errno::EXIST) => return Err(failed("give address to bridge")(error)),
            _ => {}
        }
    } else if found.is_some_and(|link| !link.up) {
        let mut batch = Batch::new();
        route::set_up(&mut batch, Which::Index(index));
        socket.execute(&mut batch).map_err(failed("set up bridge"))?;
    }
    let hairpin = std::fs::read(BRIDGED_TO_FIREWALL).is_ok_and(|text| text.starts_with(b"1"));
    Ok(Bridge { index, interface, subnet, gateway, hairpin, internal: network.internal })
}

fn choose(
    config: &Config,
    network: &Network,
    reserved: &[Subnet],
    socket: &mut Socket,
    addresses: &[route::Address],
) -> Result<Subnet> {
    let routes =
        route::ipv4_routes(socket).map_err(|e| Error::caused("list routes for", &network.name, e))?;
    let routed = routes.iter().filter(|r| r.prefix > 0).map(|r| Subnet::containing(r.destination, r.prefix));
    let assigned = addresses.iter().map(|a| Subnet::containing(a.address, a.prefix));
    let used: Vec<Subnet> = routed.chain(assigned).chain(reserved.iter().copied()).collect();
    let exhausted = |object: String, hint: &str| {
        Error::new(ErrorKind::ResourceExhausted, "find free subnet for network", object).with_hint(hint)
    };
    // A person's network keeps its addresses: its containers were given some of them for good.
    let fixed = if network.is_built_in() { config.bridge_subnet } else { network.subnet };
    if let Some(fixed) = fixed {
        return choose_subnet(&[fixed], &[], &used).ok_or_else(|| {
            exhausted(format!("{} in {fixed}", network.name), "a route or an address of the host overlaps it")
        });
    }
    let wished: Vec<Subnet> = network.subnet.into_iter().collect();
    choose_subnet(&wished, &config.pools, &used).ok_or_else(|| {
        exhausted(network.name.clone(), "the routes of the host cover every address pool; configure another")
    })
}

/// Takes the lock all daemons of the host share while they choose subnets.
fn lock_host(path: &Path) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::caused("lock", path.display().to_string(), errno);
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                // flock(2) has no deadline of its own, and this wait is rare and short.
                std::thread::park_timeout(Duration::from_millis(2));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(ErrorKind::DeadlineExceeded, "lock", path.display().to_string())
                    .with_hint("another daemon holds it for more than 10 s"));
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Switches IPv4 forwarding on when it is off; says whether it was.
pub(crate) fn enable_forwarding() -> Result<bool> {
    let failed = |error| Error::caused("enable forwarding", FORWARDING, error);
    if std::fs::read(FORWARDING).map_err(failed)?.starts_with(b"1") {
        return Ok(false);
    }
    std::fs::write(FORWARDING, "1").map_err(|error| {
        failed(error).with_hint("containers reach other hosts only when net.ipv4.ip_forward is 1")
    })?;
    Ok(true)
}
