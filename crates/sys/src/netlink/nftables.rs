//! nf_tables over nfnetlink: the messages of a transaction (linux/netfilter/nf_tables.h).
//!
//! A [`Transaction`] is applied as a whole or not at all. What rules mean is the caller's matter; here they are
//! lists of [`Expression`]s, the registers included, as `nft --debug=netlink` prints them.

mod expression;
mod listing;

use super::{Batch, Error, Socket, Writer, flags};
use alloc::vec::Vec;

pub use expression::{CtKey, Expression, MetaKey, PayloadBase, Verdict};
pub use listing::{BaseChain, GROUP_CHANGES, base_chains, deleted_table, tables};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const DELRULE: u16 = SUBSYSTEM | 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;

/// How many elements one message takes: far below the 64 KiB of a nest.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// The family of tables for both IPv4 and IPv6 (`NFPROTO_INET`).
pub const INET: u8 = 1;
/// The family of IPv4 (`NFPROTO_IPV4`).
pub const IPV4: u8 = 2;
/// The family of IPv6 (`NFPROTO_IPV6`).
pub const IPV6: u8 = 10;

/// Where in the path of a packet a chain is called (`NF_INET_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// On arrival, before routing.
    Prerouting = 0,
    /// Before delivery to a local process.
    Input = 1,
    /// Between two interfaces.
    Forward = 2,
    /// From a local process.
    Output = 3,
    /// Before leaving.
    Postrouting = 4,
}

/// A chain; one with a hook sees packets by itself.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Type (`filter`, `nat`), hook and priority of a base chain.
    pub base: Option<(&'a str, Hook, i32)>,
}

/// A map from keys to data.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the parts of the key are, for `nft` (its datatypes), and their length in registers of four bytes.
    pub key: &'a [DataType],
    /// The same of the data.
    pub data: &'a [DataType],
}

/// A type as the `nft` tool numbers it, so that it can print the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// `ipv4_addr`.
    Ipv4,
    /// `ipv6_addr`.
    Ipv6,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`, a port.
    Port,
}

impl DataType {
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
        }
    }

    /// Its place in a concatenation, in bytes.
    fn width(self) -> u32 {
        if self == Self::Ipv6 { 16 } else { 4 }
    }

    /// The number of a concatenation: six bits per part.
    fn concatenated(parts: &[Self]) -> u32 {
        parts.iter().fold(0, |number, part| number << 6 | part.number())
    }

    fn length(parts: &[Self]) -> u32 {
        parts.iter().map(|part| part.width()).sum()
    }
}

/// An element of a [`Map`]: key and data as they stand in registers.
pub type Element = (Vec<u8>, Vec<u8>);

/// Changes of one table that take effect together.
#[derive(Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    family: u8,
    table: &'a str,
    maps: u32,
}

impl<'a> Transaction<'a> {
    /// Begins a transaction on a table.
    pub fn new(family: u8, table: &'a str) -> Self {
        let mut batch = Batch::new();
        batch.message("begin transaction", BATCH_BEGIN, 0, |w| w.header(&[0, 0, 0, 10]));
        Self { batch, family, table, maps: 0 }
    }

    fn add(&mut self, what: &'static str, kind: u16, flags: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let family = self.family;
        self.batch.message(what, kind, flags, |w| {
            w.header(&[family, 0, 0, 0]);
            body(w);
        });
    }

    /// Makes the table when it is not there.
    pub fn add_table(&mut self) {
        let table = self.table;
        self.add("add table", NEWTABLE, flags::CREATE, |w| w.text(1, table));
    }

    /// Deletes the table with all that is in it; `ENOENT` when it is not there.
    pub fn delete_table(&mut self) {
        let table = self.table;
        self.add("delete table", DELTABLE, 0, |w| w.text(1, table));
    }

    /// Makes a chain when it is not there.
    pub fn add_chain(&mut self, chain: &Chain<'_>) {
        let table = self.table;
        self.add("add chain", NEWCHAIN, flags::CREATE, |w| {
            w.text(1, table);
            w.text(3, chain.name);
            if let Some((kind, hook, priority)) = chain.base {
                w.nest(4, |w| {
                    w.be32(1, hook as u32);
                    w.bytes(2, &priority.to_be_bytes());
                });
                w.text(7, kind);
            }
        });
    }

    /// Makes a map when it is not there.
    pub fn add_map(&mut self, map: &Map<'_>) {
        const IS_MAP: u32 = 0x8;
        const CONCATENATED: u32 = 0x80;
        let table = self.table;
        self.maps += 1;
        let id = self.maps;
        self.add("add map", NEWSET, flags::CREATE, |w| {
            w.text(1, table);
            w.text(2, map.name);
            w.be32(3, IS_MAP | if map.key.len() > 1 { CONCATENATED } else { 0 });
            w.be32(4, DataType::concatenated(map.key));
            w.be32(5, DataType::length(map.key));
            w.be32(6, DataType::concatenated(map.data));
            w.be32(7, DataType::length(map.data));
            w.nest(9, |w| {
                if map.key.len() > 1 {
                    w.nest(2, |w| {
                        for part in map.key {
                            w.nest(1, |w| w.be32(1, part.width()));
                        }
                    });
                }
            });
            w.be32(10, id);
            w.bytes(13, &BYTE_ORDERS);
        });
    }

    /// Takes every rule out of the table.
    pub fn flush_rules(&mut self) {
        let table = self.table;
        self.add("flush rules", DELRULE, 0, |w| w.text(1, table));
    }

    /// Takes every element out of a map.
    pub fn flush_map(&mut self, map: &str) {
        let table = self.table;
        self.add("flush map", DELSETELEM, 0, |w| {
            w.text(1, table);
            w.text(2, map);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>]) {
        let table = self.table;
        self.add("add rule", NEWRULE, flags::CREATE | flags::APPEND, |w| {
            w.text(1, table);
            w.text(2, chain);
            w.nest(4, |w| expressions.iter().for_each(|expression| expression.write(w)));
        });
    }

    /// Adds elements; `EEXIST` when a key is there with other data.
    pub fn add_elements(&mut self, map: &str, elements: &[Element]) {
        self.elements("add elements", NEWSETELEM, flags::CREATE, map, elements);
    }

    /// Deletes elements by their keys; `ENOENT` when one is not there.
    pub fn delete_elements(&mut self, map: &str, elements: &[Element]) {
        self.elements("delete elements", DELSETELEM, 0, map, elements);
    }

    fn elements(&mut self, what: &'static str, kind: u16, flags: u16, map: &str, elements: &[Element]) {
        let table = self.table;
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.add(what, kind, flags, |w| {
                w.text(1, table);
                w.text(2, map);
                w.nest(3, |w| {
                    for (key, data) in part {
                        w.nest(1, |w| {
                            w.nest(1, |w| w.bytes(1, key));
                            if kind == NEWSETELEM {
                                w.nest(2, |w| w.bytes(1, data));
                            }
                        });
                    }
                });
            });
        }
    }

    /// Whether nothing but the beginning is in it.
    pub fn is_empty(&self) -> bool {
        self.batch.len() == 1
    }

    /// Applies it.
    ///
    /// # Errors
    /// The kernel's for the first message it refuses; nothing is changed then.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let last = self.batch.len() - 1;
        self.batch.message("end transaction", BATCH_END, 0, |w| w.header(&[0, 0, 0, 10]));
        socket.execute_confirmed(&mut self.batch, last)
    }
}

/// What the `nft` tool keeps with a map (type, length, value; libnftnl's udata): keys and data are big-endian.
const BYTE_ORDERS: [u8; 12] = {
    const KEY_BYTE_ORDER: u8 = 0;
    const DATA_BYTE_ORDER: u8 = 1;
    let [a, b, c, d] = 2u32.to_ne_bytes();
    [KEY_BYTE_ORDER, 4, a, b, c, d, DATA_BYTE_ORDER, 4, a, b, c, d]
};
