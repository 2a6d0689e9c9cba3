//! The expressions of rules, in the kernel's own small machine: registers, comparisons, look-ups, verdicts.

use super::super::Writer;

/// One step of a rule. A register is a number as in the kernel: 1 to 4 are 16 bytes wide, 8 to 23 are 4 bytes
/// wide and lie over them (8 is the beginning of 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads what is known about the packet.
    Meta {
        /// What.
        key: MetaKey,
        /// Where to.
        register: u32,
    },
    /// Loads bytes of the packet.
    Payload {
        /// From which header.
        base: PayloadBase,
        /// Bytes into it.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        register: u32,
    },
    /// Loads what connection tracking knows.
    Conntrack {
        /// What.
        key: CtKey,
        /// Where to.
        register: u32,
    },
    /// Loads the type of the destination address (`fib daddr type`).
    DestinationType {
        /// Where to.
        register: u32,
    },
    /// Keeps the bits of a register that are in the mask.
    Mask {
        /// Which.
        register: u32,
        /// The mask, which also says how many bytes.
        mask: &'a [u8],
    },
    /// Goes on when the register has the value.
    Equal {
        /// Which.
        register: u32,
        /// The value, which also says how many bytes.
        value: &'a [u8],
    },
    /// Goes on when the register has another value.
    NotEqual {
        /// Which.
        register: u32,
        /// The value.
        value: &'a [u8],
    },
    /// Looks for a key in a map, loads its data and goes on when it is there.
    Lookup {
        /// The map.
        map: &'a str,
        /// The first register of the key.
        key: u32,
        /// Where the data goes.
        data: u32,
    },
    /// Translates the destination to what registers hold.
    DestinationNat {
        /// [`super::IPV4`] or [`super::IPV6`].
        family: u8,
        /// The register of the address.
        address: u32,
        /// The register of the port.
        port: u32,
    },
    /// Translates the source to the address of the outgoing interface.
    Masquerade,
    /// Ends the rule.
    Verdict(Verdict<'a>),
}

/// What [`Expression::Meta`] loads (`NFT_META_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// The name of the incoming interface, 16 bytes.
    InputName = 6,
    /// The name of the outgoing interface, 16 bytes.
    OutputName = 7,
    /// The family, one byte.
    Family = 15,
    /// The transport protocol, one byte.
    Protocol = 16,
}

/// What [`Expression::Payload`] counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadBase {
    /// The IP header.
    Network = 1,
    /// The TCP or UDP header.
    Transport = 2,
}

/// What [`Expression::Conntrack`] loads (`NFT_CT_*`), four bytes of the host's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// The state bits of the packet: invalid 1, established 2, related 4, new 8.
    State = 0,
    /// The status bits of the connection (`IPS_*`), destination translated is 0x20.
    Status = 2,
}

/// How a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The packet goes on past this chain.
    Accept,
    /// The packet is thrown away.
    Drop,
    /// Goes on in another chain and comes back.
    Jump(&'a str),
}

impl Expression<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Conntrack { .. } => "ct",
            Self::DestinationType { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Equal { .. } | Self::NotEqual { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::DestinationNat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Verdict(_) => "immediate",
        }
    }

    pub(super) fn write(&self, list: &mut Writer<'_>) {
        const ELEMENT: u16 = 1;
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        list.nest(ELEMENT, |w| {
            w.text(NAME, self.name());
            w.nest(DATA, |w| self.write_data(w));
        });
    }

    fn write_data(&self, w: &mut Writer<'_>) {
        const VALUE: u16 = 1;
        match *self {
            Self::Meta { key, register } => {
                w.be32(1, register);
                w.be32(2, key as u32);
            }
            Self::Payload { base, offset, length, register } => {
                w.be32(1, register);
                w.be32(2, base as u32);
                w.be32(3, offset);
                w.be32(4, length);
            }
            Self::Conntrack { key, register } => {
                w.be32(1, register);
                w.be32(2, key as u32);
            }
            Self::DestinationType { register } => {
                const ADDRESS_TYPE: u32 = 3;
                const DESTINATION: u32 = 2;
                w.be32(1, register);
                w.be32(2, ADDRESS_TYPE);
                w.be32(3, DESTINATION);
            }
            Self::Mask { register, mask } => {
                w.be32(1, register);
                w.be32(2, register);
                w.be32(3, u32::try_from(mask.len()).expect("invariant: a mask fits a register"));
                w.nest(4, |w| w.bytes(VALUE, mask));
                w.nest(5, |w| w.bytes(VALUE, &[0; 16][..mask.len()]));
            }
            Self::Equal { register, value } => write_compare(w, register, 0, value),
            Self::NotEqual { register, value } => write_compare(w, register, 1, value),
            Self::Lookup { map, key, data } => {
                w.text(1, map);
                w.be32(2, key);
                w.be32(3, data);
            }
            Self::DestinationNat { family, address, port } => {
                const DESTINATION: u32 = 1;
                w.be32(1, DESTINATION);
                w.be32(2, u32::from(family));
                w.be32(3, address);
                w.be32(5, port);
            }
            Self::Masquerade => {}
            Self::Verdict(verdict) => {
                w.be32(1, 0);
                w.nest(2, |w| w.nest(2, |w| write_verdict(w, verdict)));
            }
        }
    }
}

fn write_compare(w: &mut Writer<'_>, register: u32, operation: u32, value: &[u8]) {
    w.be32(1, register);
    w.be32(2, operation);
    w.nest(3, |w| w.bytes(1, value));
}

fn write_verdict(w: &mut Writer<'_>, verdict: Verdict<'_>) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0i32, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
    };
    w.bytes(1, &code.to_be_bytes());
    if let Some(chain) = chain {
        w.text(2, chain);
    }
}
