//! Moves network interfaces into the container and gives them back what the move takes from them.
//!
//! The kernel drops the addresses of an interface that changes its namespace, and sets it down. Those that somebody
//! configured for good with a reach beyond the link are set again, as runc does; MTU and Ethernet address stay.

use crate::{During, Error, Result, plan::DeviceMove, plan::Kind, prepare::Prepared};
use alloc::format;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::OFlags,
};
use tare_sys::{
    Errno,
    netlink::{self, Batch, Family, Socket, route},
    netns::Stay,
};
use tare_types::ErrorKind;

const OPERATION: &str = "move network device";

/// Moves interfaces of the calling thread's namespace into that of a container whose first process exists.
pub(crate) fn move_all(moves: &[DeviceMove], pid: i32, prepared: &Prepared) -> Result<()> {
    let joined = prepared.namespaces.iter().find(|(kind, _)| *kind == Kind::Network);
    let opened: OwnedFd;
    let namespace = match joined {
        Some((_, namespace)) => namespace.as_fd(),
        None => {
            let path = format!("/proc/{pid}/ns/net");
            opened = tare_sys::file::open(&path, OFlags::RDONLY, 0).during(OPERATION)?;
            opened.as_fd()
        }
    };
    let mut here = Socket::open(Family::Route).map_err(|error| failure("", error))?;
    let mut there = socket_in(namespace)?;
    for one in moves {
        move_one(one, namespace, &mut here, &mut there).map_err(|error| failure(&one.name, error))?;
    }
    Ok(())
}

/// Brings `lo` up in the network namespace of a process: CRIU leaves one that it made empty as the kernel does, down.
pub(crate) fn loopback_up(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = tare_sys::file::open(&path, OFlags::RDONLY, 0).during(OPERATION)?;
    let mut batch = Batch::new();
    route::set_up(&mut batch, route::Which::Name("lo"));
    socket_in(namespace.as_fd())?.execute(&mut batch).map_err(|error| failure("lo", error))
}

/// A socket belongs to the namespace it was opened in: the thread is away only for that.
fn socket_in(namespace: BorrowedFd<'_>) -> Result<Socket> {
    let setns = |errno| Error::system(OPERATION, tare_sys::Error::new("setns", "network", errno));
    let stay = Stay::enter(namespace).map_err(setns)?;
    let socket = Socket::open(Family::Route);
    stay.leave().map_err(setns)?;
    socket.map_err(|error| failure("", error))
}

fn move_one(
    one: &DeviceMove,
    namespace: BorrowedFd<'_>,
    here: &mut Socket,
    there: &mut Socket,
) -> core::result::Result<(), netlink::Error> {
    let missing = netlink::Error::Refused { what: "get link", index: 0, errno: Errno::NODEV, text: None };
    let link = route::link(here, route::Which::Name(&one.name))?.ok_or(missing)?;
    // Read first: setting the link down drops those of IPv6.
    let addresses = route::lasting_addresses(here, link.index)?;
    let mut batch = Batch::new();
    route::set_down(&mut batch, route::Which::Index(link.index));
    route::move_link(&mut batch, link.index, &one.target, namespace);
    here.execute(&mut batch)?;
    let missing =
        netlink::Error::Refused { what: "get moved link", index: 0, errno: Errno::NODEV, text: None };
    // Its number may be another one there.
    let index = route::link(there, route::Which::Name(&one.target))?.ok_or(missing)?.index;
    let mut batch = Batch::new();
    for address in &addresses {
        route::add_link_address(&mut batch, index, &one.target, address);
    }
    route::set_up(&mut batch, route::Which::Index(index));
    there.execute(&mut batch)
}

fn failure(name: &str, error: netlink::Error) -> Error {
    let kind = match error.errno() {
        Some(Errno::NODEV) => ErrorKind::NotFound,
        Some(Errno::EXIST) => ErrorKind::AlreadyExists,
        Some(Errno::PERM) => ErrorKind::PermissionDenied,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, OPERATION, name, format!("{error}"))
}
