//! Connection tracking over nfnetlink (linux/netfilter/nfnetlink_conntrack.h): IPv4 flows, listed and forgotten.

use super::{Attributes, Batch, Error, Message, Socket, flags, parse::Malformed};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const AF_INET: u8 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;

/// One tracked flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The transport protocol's number.
    pub protocol: u8,
    /// Where its first packet came from.
    pub source: SocketAddrV4,
    /// Where its first packet was sent to.
    pub destination: SocketAddrV4,
    /// Who answers: the translated destination.
    pub answered_by: SocketAddrV4,
    /// The tuple as the kernel wrote it, and the flow's id: what names it.
    original: Vec<u8>,
    id: [u8; 4],
}

/// The TCP and UDP flows of IPv4 that `keep` wants.
///
/// # Errors
/// The kernel's.
pub fn flows(socket: &mut Socket, keep: impl Fn(&Flow) -> bool) -> Result<Vec<Flow>, Error> {
    let mut batch = Batch::new();
    batch.message("list flows", GET, flags::DUMP, |w| w.header(&[AF_INET, 0, 0, 0]));
    let mut found = Vec::new();
    socket.dump(&mut batch, |message| {
        match message {
            None => found.clear(),
            Some(message) if message.kind == NEW => found.extend(parse(message)?.filter(&keep)),
            Some(_) => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Has the kernel forget a flow: its next packet is judged anew. `ENOENT` when it is gone already.
pub fn delete_flow(batch: &mut Batch, flow: &Flow) {
    batch.message("delete flow", DELETE, 0, |w| {
        w.header(&[AF_INET, 0, 0, 0]);
        w.bytes(TUPLE_ORIGINAL | 0x8000, &flow.original);
        w.bytes(ID, &flow.id);
    });
}

fn parse(message: &Message<'_>) -> Result<Option<Flow>, Error> {
    let (_, attributes) = message.split::<4>()?;
    let (mut original, mut reply, mut bytes, mut id) = (None, None, Vec::new(), None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            TUPLE_ORIGINAL => {
                original = tuple(attribute.nested())?;
                bytes = attribute.payload.to_vec();
            }
            TUPLE_REPLY => reply = tuple(attribute.nested())?,
            ID => id = attribute.payload.try_into().ok(),
            _ => {}
        }
    }
    let (Some(original), Some(reply), Some(id)) = (original, reply, id) else { return Ok(None) };
    Ok(Some(Flow {
        protocol: original.protocol,
        source: original.source,
        destination: original.destination,
        answered_by: reply.source,
        original: bytes,
        id,
    }))
}

struct Tuple {
    protocol: u8,
    source: SocketAddrV4,
    destination: SocketAddrV4,
}

/// The addresses and ports of a tuple; `None` for protocols without ports.
fn tuple(attributes: Attributes<'_>) -> Result<Option<Tuple>, Malformed> {
    const ADDRESSES: u16 = 1;
    const PROTOCOL: u16 = 2;
    let (mut source, mut destination) = (None::<Ipv4Addr>, None::<Ipv4Addr>);
    let (mut protocol, mut ports) = (None, [None::<u16>; 2]);
    for attribute in attributes {
        let attribute = attribute?;
        for inner in attribute.nested() {
            let inner = inner?;
            let port = || inner.payload.try_into().map(u16::from_be_bytes).ok();
            match (attribute.kind, inner.kind) {
                (ADDRESSES, 1) => source = Some(inner.ipv4()?),
                (ADDRESSES, 2) => destination = Some(inner.ipv4()?),
                (PROTOCOL, 1) => protocol = inner.payload.first().copied(),
                (PROTOCOL, 2) => ports[0] = port(),
                (PROTOCOL, 3) => ports[1] = port(),
                _ => {}
            }
        }
    }
    let tuple = || {
        Some(Tuple {
            protocol: protocol?,
            source: SocketAddrV4::new(source?, ports[0]?),
            destination: SocketAddrV4::new(destination?, ports[1]?),
        })
    };
    Ok(tuple())
}
