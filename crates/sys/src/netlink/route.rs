//! rtnetlink(7): links, addresses, routes. Requests are added to a [`Batch`], listings are read from a [`Socket`].

mod transfer;

pub use transfer::{LinkAddress, add_link_address, lasting_addresses, move_link, set_down};

use super::{Attribute, Attributes, Batch, Error, Message, Socket, Writer, flags};
use alloc::{string::String, string::ToString, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const UP: u32 = 1;
const NO_DUPLICATE_DETECTION: u32 = 0x02;
const SKIP_STATISTICS: u32 = 1 << 3;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The group of link changes for [`Socket::subscribe`] (`RTMGRP_LINK`).
pub const GROUP_LINK: u32 = 1;
/// The longest name of an interface, in bytes (`IFNAMSIZ` without its NUL).
pub const MAX_INTERFACE_NAME: usize = 15;

/// Which link is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// By number.
    Index(u32),
    /// By name.
    Name(&'a str),
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, state: u32, mask: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&state.to_ne_bytes());
    bytes[12..].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

fn which(writer: &mut Writer<'_>, which: Which<'_>, state: u32, mask: u32) {
    match which {
        Which::Index(index) => writer.header(&ifinfo(index, state, mask)),
        Which::Name(name) => {
            writer.header(&ifinfo(0, state, mask));
            writer.text(IFLA_IFNAME, name);
        }
    }
}

/// A pair of interfaces: one here, as a port of a bridge, the other in another network namespace.
#[derive(Debug, Clone, Copy)]
pub struct VethPair<'a> {
    /// The name of the end in the socket's namespace.
    pub name: &'a str,
    /// The bridge it becomes a port of.
    pub bridge: u32,
    /// The name of the other end.
    pub peer_name: &'a str,
    /// The Ethernet address of the other end.
    pub peer_address: [u8; 6],
    /// The namespace of the other end.
    pub peer_namespace: BorrowedFd<'a>,
    /// The largest packet of both ends, in bytes; `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
}

/// Makes a veth pair in one message: this end is up and a port of the bridge, the other end waits for its own
/// namespace to set it up.
pub fn add_veth(batch: &mut Batch, pair: &VethPair<'_>) {
    batch.message("new veth pair", NEWLINK, flags::CREATE | flags::EXCLUSIVE, |w| {
        w.header(&ifinfo(0, UP, UP));
        w.text(IFLA_IFNAME, pair.name);
        w.u32(IFLA_MASTER, pair.bridge);
        if let Some(mtu) = pair.mtu {
            w.u32(IFLA_MTU, mtu);
        }
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_KIND, "veth");
            w.nest(IFLA_INFO_DATA, |w| {
                w.nest(VETH_INFO_PEER, |w| {
                    // Not up: the kernel sets the peer up before it knows its other end, and fails with ENOTCONN.
                    w.header(&ifinfo(0, 0, 0));
                    w.text(IFLA_IFNAME, pair.peer_name);
                    w.bytes(IFLA_ADDRESS, &pair.peer_address);
                    let fd = u32::try_from(pair.peer_namespace.as_raw_fd());
                    w.u32(IFLA_NET_NS_FD, fd.expect("invariant: a borrowed descriptor is not negative"));
                    if let Some(mtu) = pair.mtu {
                        w.u32(IFLA_MTU, mtu);
                    }
                });
            });
        });
    });
}

/// Makes a bridge with a fixed Ethernet address (else it would change with the ports) and sets it up.
pub fn add_bridge(batch: &mut Batch, name: &str, address: [u8; 6]) {
    batch.message("new bridge", NEWLINK, flags::CREATE | flags::EXCLUSIVE, |w| {
        w.header(&ifinfo(0, UP, UP));
        w.text(IFLA_IFNAME, name);
        w.bytes(IFLA_ADDRESS, &address);
        w.nest(IFLA_LINKINFO, |w| w.text(IFLA_INFO_KIND, "bridge"));
    });
}

/// Sets a link up.
pub fn set_up(batch: &mut Batch, link: Which<'_>) {
    batch.message("set link up", SETLINK, 0, |w| which(w, link, UP, UP));
}

/// Makes a link a port of a bridge.
pub fn set_master(batch: &mut Batch, link: Which<'_>, bridge: u32) {
    batch.message("set bridge of link", SETLINK, 0, |w| {
        which(w, link, 0, 0);
        w.u32(IFLA_MASTER, bridge);
    });
}

/// Lets a port of a bridge send packets back to where they came from.
pub fn set_hairpin(batch: &mut Batch, port: &str) {
    const IFLA_INFO_SLAVE_KIND: u16 = 4;
    const IFLA_INFO_SLAVE_DATA: u16 = 5;
    const IFLA_BRPORT_MODE: u16 = 4;
    batch.message("set hairpin mode of port", NEWLINK, 0, |w| {
        which(w, Which::Name(port), 0, 0);
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_SLAVE_KIND, "bridge");
            w.nest(IFLA_INFO_SLAVE_DATA, |w| w.u8(IFLA_BRPORT_MODE, 1));
        });
    });
}

/// Deletes a link; one end of a veth pair takes the other with it.
pub fn delete_link(batch: &mut Batch, link: Which<'_>) {
    batch.message("delete link", DELLINK, 0, |w| which(w, link, 0, 0));
}

/// Gives a link an address, `EEXIST` when it has it. IPv6 comes without duplicate detection: usable at once.
pub fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    batch.message("new address", NEWADDR, flags::CREATE | flags::EXCLUSIVE, |w| {
        let (family, attributes) = match address {
            IpAddr::V4(_) => (AF_INET, 0),
            IpAddr::V6(_) => (AF_INET6, NO_DUPLICATE_DETECTION),
        };
        let mut header = [family, prefix, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        w.header(&header);
        w.ip(IFA_LOCAL, address);
        w.ip(IFA_ADDRESS, address);
        if let (IpAddr::V4(address), 1..=30) = (address, prefix) {
            let broadcast = u32::from(address) | (u32::MAX >> prefix);
            w.ip(IFA_BROADCAST, IpAddr::V4(Ipv4Addr::from(broadcast)));
        }
        w.u32(IFA_FLAGS, attributes);
    });
}

/// A default route through a gateway.
pub fn add_default_route(batch: &mut Batch, index: u32, gateway: IpAddr) {
    batch.message("new default route", NEWROUTE, flags::CREATE | flags::EXCLUSIVE, |w| {
        const TABLE_MAIN: u8 = 254;
        const PROTOCOL_BOOT: u8 = 3;
        const UNICAST: u8 = 1;
        let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
        w.header(&[family, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, UNICAST, 0, 0, 0, 0]);
        w.ip(RTA_GATEWAY, gateway);
        w.u32(RTA_OIF, index);
    });
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// What it is, as `veth` or `bridge`; empty for hardware and loopback.
    pub kind: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its Ethernet address, where it has one of six bytes.
    pub address: Option<[u8; 6]>,
}

fn parse_link(message: &Message<'_>) -> Result<Link, Error> {
    let (header, attributes) = message.split::<16>()?;
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut link = Link { index: word(4), up: word(8) & UP != 0, ..Link::default() };
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text()?.to_string(),
            IFLA_MASTER => link.master = Some(attribute.u32()?),
            IFLA_ADDRESS => link.address = attribute.payload.try_into().ok(),
            IFLA_LINKINFO => {
                if let Some(kind) = find(attribute.nested(), IFLA_INFO_KIND)? {
                    link.kind = kind.text()?.to_string();
                }
            }
            _ => {}
        }
    }
    Ok(link)
}

fn find<'a>(attributes: Attributes<'a>, kind: u16) -> Result<Option<Attribute<'a>>, Error> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute));
        }
    }
    Ok(None)
}

/// Looks for a link by name or number.
///
/// # Errors
/// The kernel's, other than that there is none.
pub fn link(socket: &mut Socket, link: Which<'_>) -> Result<Option<Link>, Error> {
    let mut batch = Batch::new();
    batch.message("get link", GETLINK, 0, |w| {
        which(w, link, 0, 0);
        w.u32(IFLA_EXT_MASK, SKIP_STATISTICS);
    });
    match socket.get(&mut batch, parse_link) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.is(Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All links of the socket's namespace.
///
/// # Errors
/// The kernel's.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let mut batch = Batch::new();
    batch.message("list links", GETLINK, flags::DUMP, |w| {
        w.header(&ifinfo(0, 0, 0));
        w.u32(IFLA_EXT_MASK, SKIP_STATISTICS);
    });
    list(socket, &mut batch, NEWLINK, |message| parse_link(message).map(Some))
}

/// An IPv4 address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub index: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// The prefix of its network.
    pub prefix: u8,
}

/// All IPv4 addresses of the socket's namespace.
///
/// # Errors
/// The kernel's.
pub fn ipv4_addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let mut batch = Batch::new();
    batch.message("list addresses", GETADDR, flags::DUMP, |w| w.header(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]));
    list(socket, &mut batch, NEWADDR, |message| {
        let (header, attributes) = message.split::<8>()?;
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let Some(address) = find(attributes.clone(), IFA_LOCAL)?.or(find(attributes, IFA_ADDRESS)?) else {
            return Ok(None);
        };
        Ok(Some(Address { index, address: address.ipv4()?, prefix: header[1].min(32) }))
    })
}

/// An IPv4 route of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network it leads to; `0.0.0.0` with prefix 0 is a default route.
    pub destination: Ipv4Addr,
    /// The prefix of that network.
    pub prefix: u8,
    /// The link it leaves by, where it has one.
    pub link: Option<u32>,
}

/// All unicast IPv4 routes of the socket's namespace.
///
/// # Errors
/// The kernel's.
pub fn ipv4_routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    const UNICAST: u8 = 1;
    let mut batch = Batch::new();
    batch.message("list routes", GETROUTE, flags::DUMP, |w| {
        w.header(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
    list(socket, &mut batch, NEWROUTE, |message| {
        let (header, attributes) = message.split::<12>()?;
        if header[7] != UNICAST {
            return Ok(None);
        }
        let destination = find(attributes.clone(), RTA_DST)?.map(|a| a.ipv4()).transpose()?;
        let link = find(attributes, RTA_OIF)?.map(|a| a.u32()).transpose()?;
        let destination = destination.unwrap_or(Ipv4Addr::UNSPECIFIED);
        Ok(Some(Route { destination, prefix: header[1].min(32), link }))
    })
}

fn list<T>(
    socket: &mut Socket,
    batch: &mut Batch,
    kind: u16,
    mut parse: impl FnMut(&Message<'_>) -> Result<Option<T>, Error>,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    socket.dump(batch, |message| {
        match message {
            None => found.clear(),
            Some(message) if message.kind == kind => found.extend(parse(message)?),
            Some(_) => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// The link whose deletion a message of [`GROUP_LINK`] reports in the socket's namespace.
///
/// # Errors
/// [`Error::Malformed`].
pub fn deleted_link(message: &Message<'_>) -> Result<Option<Link>, Error> {
    // A bridge reports the end of a port with family AF_BRIDGE; the link itself ends with AF_UNSPEC.
    let (header, _) = message.split::<16>()?;
    if message.kind != DELLINK || header[0] != AF_UNSPEC {
        return Ok(None);
    }
    parse_link(message).map(Some)
}
