//! The nftables table of an instance: masquerade, published ports, and what may be forwarded to the bridges.
//!
//! ```text
//! table inet tare-<instance> {
//!   map publish     { protocol . port : address . port }             ports of all addresses of the host
//!   map publish-at  { address . protocol . port : address . port }   ports of one address
//!   chain publish     looks in both maps and translates the destination
//!   chain prerouting  to a local address → publish
//!   chain output      to a local address that is not 127.0.0.0/8 → publish
//!   chain postrouting from a network, not to its bridge → masquerade
//!                     from a network back into it by a published port → masquerade (else the answer would not
//!                     come back through here)
//!   chain forward     from an internal network to another interface: thrown away
//!                     to a bridge: answers, its own containers, published ports; all else is thrown away
//! }
//! ```
//!
//! A container costs elements in the maps, never rules: its cost does not grow with their number, and a look-up is
//! a hash. Rules are per network. Traffic to 127.0.0.1 and `[::1]` is not translated (that would need
//! `route_localnet`): the holder of the port carries it.
//!
//! Another table that drops at the forward hook (dockerd sets the policy of iptables' FORWARD chain to DROP) drops
//! our packets too: an accept here does not overrule it. [`crate::other_firewalls`] finds such chains.

use crate::{Result, address::Subnet, endpoint::Sandbox, error::Error};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};
use tare_sys::netlink::{
    Family, Socket,
    nftables::{
        Chain, CtKey, DataType, Element, Expression, Hook, INET, IPV4, Map, MetaKey, PayloadBase,
        Transaction, Verdict,
    },
};
use tare_types::port::PublishedPort;

/// Ports of all addresses of the host.
const PUBLISH: Map<'_> = Map {
    name: "publish",
    key: &[DataType::Protocol, DataType::Port],
    data: &[DataType::Ipv4, DataType::Port],
};
/// Ports of one address.
const PUBLISH_AT: Map<'_> = Map {
    name: "publish-at",
    key: &[DataType::Ipv4, DataType::Protocol, DataType::Port],
    data: &[DataType::Ipv4, DataType::Port],
};

const CHAINS: [Chain<'_>; 5] = [
    Chain { name: "publish", base: None },
    Chain { name: "prerouting", base: Some(("nat", Hook::Prerouting, -100)) },
    Chain { name: "output", base: Some(("nat", Hook::Output, -100)) },
    Chain { name: "postrouting", base: Some(("nat", Hook::Postrouting, 100)) },
    Chain { name: "forward", base: Some(("filter", Hook::Forward, 0)) },
];

/// What the rules of one bridge need to know.
#[derive(Debug, Clone)]
pub(crate) struct BridgeRules {
    /// The name of the interface.
    pub(crate) interface: String,
    /// The addresses behind it.
    pub(crate) subnet: Subnet,
    /// No way out.
    pub(crate) internal: bool,
}

/// The table of an instance and the socket to it.
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    table: String,
    /// Elements of released containers: they go with the next transaction, whoever makes it.
    withdrawn: Elements,
}

/// Elements of both maps.
#[derive(Debug, Default, Clone)]
struct Elements {
    any: Vec<Element>,
    at: Vec<Element>,
}

impl Elements {
    fn of(ip: Ipv4Addr, ports: &[PublishedPort]) -> Self {
        let mut elements = Self::default();
        for port in ports {
            let [high, low] = port.container_port.to_be_bytes();
            let mut data = ip.octets().to_vec();
            data.extend([high, low, 0, 0]);
            let [high, low] = port.host_port.to_be_bytes();
            let key = [port.protocol.number(), 0, 0, 0, high, low, 0, 0];
            match port.host_ip {
                None | Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => elements.any.push((key.to_vec(), data)),
                // The holder alone carries these.
                Some(IpAddr::V6(_)) => {}
                Some(IpAddr::V4(address)) if address.is_loopback() => {}
                Some(IpAddr::V4(address)) => {
                    elements.at.push(([address.octets().as_slice(), &key].concat(), data));
                }
            }
        }
        elements
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.at.is_empty()
    }

    fn extend(&mut self, other: Self) {
        self.any.extend(other.any);
        self.at.extend(other.at);
    }

    fn delete(&self, transaction: &mut Transaction<'_>) {
        transaction.delete_elements(PUBLISH.name, &self.any);
        transaction.delete_elements(PUBLISH_AT.name, &self.at);
    }

    fn add(&self, transaction: &mut Transaction<'_>) {
        transaction.add_elements(PUBLISH.name, &self.any);
        transaction.add_elements(PUBLISH_AT.name, &self.at);
    }
}

impl Firewall {
    pub(crate) fn open(table: String) -> Result<Self> {
        let socket = Socket::open(Family::Netfilter)
            .map_err(|e| Error::caused("open firewall of table", &table, e))?;
        Ok(Self { socket, table, withdrawn: Elements::default() })
    }

    /// Makes the table what `bridges` and `sandboxes` say, whatever it was, in one transaction: no packet meets a
    /// half-made table.
    pub(crate) fn rebuild<'a>(
        &mut self,
        bridges: &[BridgeRules],
        sandboxes: impl Iterator<Item = &'a Sandbox> + Clone,
    ) -> Result<()> {
        let mut elements = Elements::default();
        for sandbox in sandboxes {
            if let Some(endpoint) = &sandbox.endpoint {
                elements.extend(Elements::of(endpoint.ip, &sandbox.ports));
            }
        }
        self.withdrawn = Elements::default();
        let mut result = self.rebuild_with(bridges, &elements, false);
        if let Err(Errno::EXIST | Errno::INVAL | Errno::OPNOTSUPP) =
            result.as_ref().map_err(|e| e.errno().unwrap_or(Errno::IO))
        {
            // A table of another layout, as an older version made it: replaced, still in one transaction.
            result = self.rebuild_with(bridges, &elements, true);
        }
        result.map_err(|e| Error::caused("build nftables table", &self.table, e))
    }

    fn rebuild_with(
        &mut self,
        bridges: &[BridgeRules],
        elements: &Elements,
        replace: bool,
    ) -> std::result::Result<(), tare_sys::netlink::Error> {
        let mut transaction = Transaction::new(INET, &self.table);
        transaction.add_table();
        if replace {
            transaction.delete_table();
            transaction.add_table();
        }
        CHAINS.iter().for_each(|chain| transaction.add_chain(chain));
        transaction.add_map(&PUBLISH);
        transaction.add_map(&PUBLISH_AT);
        if !replace {
            transaction.flush_rules();
            transaction.flush_map(PUBLISH.name);
            transaction.flush_map(PUBLISH_AT.name);
        }
        add_publish_rules(&mut transaction);
        // First: a rule of another bridge could accept what comes out of an internal network.
        bridges.iter().filter(|b| b.internal).for_each(|bridge| add_inner_rules(&mut transaction, bridge));
        bridges.iter().for_each(|bridge| add_bridge_rules(&mut transaction, bridge));
        elements.add(&mut transaction);
        transaction.commit(&mut self.socket)
    }

    /// Publishes ports of a container at `ip`; takes withdrawn elements out in the same transaction.
    pub(crate) fn publish(&mut self, ip: Ipv4Addr, ports: &[PublishedPort]) -> Result<()> {
        let elements = Elements::of(ip, ports);
        if elements.is_empty() {
            return Ok(());
        }
        self.change(&elements).map_err(|e| Error::caused("publish ports in nftables table", &self.table, e))
    }

    /// Notes that ports of a container are no longer published; [`Firewall::flush`] carries it out.
    pub(crate) fn withdraw(&mut self, ip: Ipv4Addr, ports: &[PublishedPort]) {
        self.withdrawn.extend(Elements::of(ip, ports));
    }

    /// Takes out what was withdrawn.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.withdrawn.is_empty() {
            return Ok(());
        }
        self.change(&Elements::default())
            .map_err(|e| Error::caused("withdraw ports in nftables table", &self.table, e))
    }

    fn change(&mut self, added: &Elements) -> std::result::Result<(), tare_sys::netlink::Error> {
        let withdrawn = std::mem::take(&mut self.withdrawn);
        let mut transaction = Transaction::new(INET, &self.table);
        withdrawn.delete(&mut transaction);
        added.add(&mut transaction);
        match transaction.commit(&mut self.socket) {
            Ok(()) => Ok(()),
            // An element or the whole table is gone already.
            Err(error) if error.is(Errno::NOENT) && !withdrawn.is_empty() => {
                self.delete_what_is_there(&withdrawn)?;
                let mut transaction = Transaction::new(INET, &self.table);
                added.add(&mut transaction);
                transaction.commit(&mut self.socket)
            }
            Err(error) => {
                self.withdrawn = withdrawn;
                Err(error)
            }
        }
    }

    /// Deletes elements of which some may be gone, in one transaction: what is added before it is deleted is there.
    fn delete_what_is_there(
        &mut self,
        elements: &Elements,
    ) -> std::result::Result<(), tare_sys::netlink::Error> {
        let mut transaction = Transaction::new(INET, &self.table);
        elements.add(&mut transaction);
        elements.delete(&mut transaction);
        match transaction.commit(&mut self.socket) {
            // A key has another container's data by now.
            Err(error) if error.is(Errno::EXIST) => self.delete_singly(elements),
            // The table is gone.
            Err(error) if error.is(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn delete_singly(&mut self, elements: &Elements) -> std::result::Result<(), tare_sys::netlink::Error> {
        let any = elements.any.iter().map(|element| (PUBLISH.name, element));
        for (map, element) in any.chain(elements.at.iter().map(|element| (PUBLISH_AT.name, element))) {
            let mut transaction = Transaction::new(INET, &self.table);
            transaction.delete_elements(map, std::slice::from_ref(element));
            match transaction.commit(&mut self.socket) {
                Err(error) if !error.is(Errno::NOENT) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the table; it may be gone already.
    pub(crate) fn remove(&mut self) -> Result<()> {
        let mut transaction = Transaction::new(INET, &self.table);
        transaction.delete_table();
        match transaction.commit(&mut self.socket) {
            Err(error) if !error.is(Errno::NOENT) => {
                Err(Error::caused("remove nftables table", &self.table, error))
            }
            _ => Ok(()),
        }
    }
}

/// The status bit of a connection whose destination was translated (`IPS_DST_NAT`), in the host's byte order.
const DESTINATION_TRANSLATED: [u8; 4] = 0x20u32.to_ne_bytes();
/// Packets of and around a known connection: established 2, related 4.
const ANSWERS: [u8; 4] = 0x6u32.to_ne_bytes();
/// `RTN_LOCAL` of linux/rtnetlink.h, in the host's byte order.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();

const FAMILY: Expression<'_> = Expression::Meta { key: MetaKey::Family, register: 1 };
const IS_IPV4: Expression<'_> = Expression::Equal { register: 1, value: &[IPV4] };
const SOURCE: Expression<'_> =
    Expression::Payload { base: PayloadBase::Network, offset: 12, length: 4, register: 1 };
const DESTINATION: Expression<'_> =
    Expression::Payload { base: PayloadBase::Network, offset: 16, length: 4, register: 1 };
const IN: Expression<'_> = Expression::Meta { key: MetaKey::InputName, register: 1 };
const OUT: Expression<'_> = Expression::Meta { key: MetaKey::OutputName, register: 1 };
const IS_LOCAL: [Expression<'_>; 2] =
    [Expression::DestinationType { register: 1 }, Expression::Equal { register: 1, value: &LOCAL }];
const IS_PUBLISHED: [Expression<'_>; 3] = [
    Expression::Conntrack { key: CtKey::Status, register: 1 },
    Expression::Mask { register: 1, mask: &DESTINATION_TRANSLATED },
    Expression::NotEqual { register: 1, value: &[0; 4] },
];

fn add_publish_rules(transaction: &mut Transaction<'_>) {
    const PORT: Expression<'_> =
        Expression::Payload { base: PayloadBase::Transport, offset: 2, length: 2, register: 9 };
    const TRANSLATE: Expression<'_> = Expression::DestinationNat { family: IPV4, address: 1, port: 9 };
    transaction.add_rule(
        "publish",
        &[
            FAMILY,
            IS_IPV4,
            DESTINATION,
            Expression::Meta { key: MetaKey::Protocol, register: 9 },
            Expression::Payload { base: PayloadBase::Transport, offset: 2, length: 2, register: 10 },
            Expression::Lookup { map: PUBLISH_AT.name, key: 1, data: 1 },
            TRANSLATE,
        ],
    );
    transaction.add_rule(
        "publish",
        &[
            FAMILY,
            IS_IPV4,
            Expression::Meta { key: MetaKey::Protocol, register: 1 },
            PORT,
            Expression::Lookup { map: PUBLISH.name, key: 1, data: 1 },
            TRANSLATE,
        ],
    );
    let jump = Expression::Verdict(Verdict::Jump("publish"));
    transaction.add_rule("prerouting", &[&IS_LOCAL[..], &[jump]].concat());
    let first_byte = Expression::Payload { base: PayloadBase::Network, offset: 16, length: 1, register: 1 };
    let not_loopback = [FAMILY, IS_IPV4, first_byte, Expression::NotEqual { register: 1, value: &[127] }];
    transaction.add_rule("output", &[&not_loopback[..], &IS_LOCAL, &[jump]].concat());
}

/// What leaves an internal network by routing is thrown away.
fn add_inner_rules(transaction: &mut Transaction<'_>, bridge: &BridgeRules) {
    let name = interface_value(&bridge.interface);
    let inside = [IN, Expression::Equal { register: 1, value: &name }];
    let outside = [OUT, Expression::NotEqual { register: 1, value: &name }];
    let drop = [Expression::Verdict(Verdict::Drop)];
    transaction.add_rule("forward", &[&inside[..], &outside, &drop].concat());
}

fn add_bridge_rules(transaction: &mut Transaction<'_>, bridge: &BridgeRules) {
    let name = interface_value(&bridge.interface);
    let mask = (u32::MAX.checked_shl(32 - u32::from(bridge.subnet.prefix())).unwrap_or(0)).to_be_bytes();
    let address = bridge.subnet.address().octets();
    let within =
        [Expression::Mask { register: 1, mask: &mask }, Expression::Equal { register: 1, value: &address }];
    let is_bridge = Expression::Equal { register: 1, value: &name };
    let other = Expression::NotEqual { register: 1, value: &name };
    let from = [&[FAMILY, IS_IPV4, SOURCE][..], &within].concat();
    if !bridge.internal {
        transaction.add_rule("postrouting", &[&from[..], &[OUT, other, Expression::Masquerade]].concat());
    }
    let back_in = [&from[..], &[DESTINATION], &within, &IS_PUBLISHED, &[Expression::Masquerade]].concat();
    transaction.add_rule("postrouting", &back_in);

    let accept = [Expression::Verdict(Verdict::Accept)];
    let answers = [
        Expression::Conntrack { key: CtKey::State, register: 1 },
        Expression::Mask { register: 1, mask: &ANSWERS },
        Expression::NotEqual { register: 1, value: &[0; 4] },
    ];
    let to = [OUT, is_bridge];
    transaction.add_rule("forward", &[&to[..], &answers, &accept].concat());
    transaction.add_rule("forward", &[&to[..], &[IN, is_bridge], &accept].concat());
    if !bridge.internal {
        transaction.add_rule("forward", &[&to[..], &IS_PUBLISHED, &accept].concat());
    }
    transaction.add_rule("forward", &[&to[..], &[Expression::Verdict(Verdict::Drop)]].concat());
}

/// An interface's name as rules compare it: 16 bytes, zeros behind.
fn interface_value(name: &str) -> [u8; 16] {
    let mut value = [0; 16];
    let length = name.len().min(15);
    value[..length].copy_from_slice(&name.as_bytes()[..length]);
    value
}
