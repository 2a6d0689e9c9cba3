//! Moving a link to another network namespace, and what it loses on the way.

use super::{
    AF_UNSPEC, Batch, Error, GETADDR, IFA_ADDRESS, IFA_BROADCAST, IFA_FLAGS, IFA_LOCAL, IFLA_IFNAME,
    IFLA_NET_NS_FD, NEWADDR, NEWLINK, SETLINK, Socket, UP, Which, find, flags, ifinfo, list, which,
};
use alloc::{string::String, vec::Vec};
use rustix::fd::{AsRawFd, BorrowedFd};

const PERMANENT: u32 = 0x80;
const UNIVERSE: u8 = 0;
const IFA_LABEL: u16 = 3;

/// An address as the kernel tells it, of any family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkAddress {
    family: u8,
    prefix: u8,
    local: Vec<u8>,
    peer: Vec<u8>,
    broadcast: Option<Vec<u8>>,
    label: Option<String>,
}

/// Sets a link down.
pub fn set_down(batch: &mut Batch, link: Which<'_>) {
    batch.message("set link down", SETLINK, 0, |w| which(w, link, 0, UP));
}

/// Moves a link to another namespace under a name; both or nothing.
pub fn move_link(batch: &mut Batch, index: u32, name: &str, namespace: BorrowedFd<'_>) {
    batch.message("move link to another namespace", NEWLINK, 0, |w| {
        w.header(&ifinfo(index, 0, 0));
        w.text(IFLA_IFNAME, name);
        let fd = u32::try_from(namespace.as_raw_fd());
        w.u32(IFLA_NET_NS_FD, fd.expect("invariant: a borrowed descriptor is not negative"));
    });
}

/// The addresses of a link that somebody configured for good and that reach beyond the link.
///
/// # Errors
/// The kernel's.
pub fn lasting_addresses(socket: &mut Socket, index: u32) -> Result<Vec<LinkAddress>, Error> {
    let mut batch = Batch::new();
    batch.message("list addresses", GETADDR, flags::DUMP, |w| w.header(&[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0]));
    list(socket, &mut batch, NEWADDR, |message| {
        let (header, attributes) = message.split::<8>()?;
        let of = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        // The attribute has all flags, the header the first eight.
        let all = find(attributes.clone(), IFA_FLAGS)?.map(|flags| flags.u32()).transpose()?;
        let all = all.unwrap_or(u32::from(header[2]));
        let bytes = |kind| Ok::<_, Error>(find(attributes.clone(), kind)?.map(|a| a.payload.to_vec()));
        let Some(peer) = bytes(IFA_ADDRESS)? else { return Ok(None) };
        if of != index || all & PERMANENT == 0 || header[3] != UNIVERSE {
            return Ok(None);
        }
        let label = find(attributes.clone(), IFA_LABEL)?.map(|label| label.text()).transpose()?;
        Ok(Some(LinkAddress {
            family: header[0],
            prefix: header[1],
            local: bytes(IFA_LOCAL)?.unwrap_or_else(|| peer.clone()),
            peer,
            broadcast: bytes(IFA_BROADCAST)?,
            label: label.map(Into::into),
        }))
    })
}

/// Gives a link such an address. A label that does not begin with the link's name is left out: it was of the old one.
pub fn add_link_address(batch: &mut Batch, index: u32, name: &str, address: &LinkAddress) {
    batch.message("new address", NEWADDR, flags::CREATE | flags::REPLACE, |w| {
        let mut header = [address.family, address.prefix, 0, UNIVERSE, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        w.header(&header);
        w.bytes(IFA_LOCAL, &address.local);
        w.bytes(IFA_ADDRESS, &address.peer);
        if let Some(broadcast) = &address.broadcast {
            w.bytes(IFA_BROADCAST, broadcast);
        }
        if let Some(label) = address.label.as_deref().filter(|label| label.starts_with(name)) {
            w.text(IFA_LABEL, label);
        }
    });
}
