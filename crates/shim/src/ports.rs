//! Published ports: the shim binds them and carries their traffic, so they outlive the daemon.
//!
//! A bound port is nobody else's, and "port in use" is the bind's own error. The firewall carries most traffic
//! (net's business); what reaches these sockets is what translation does not catch: loopback, `[::1]`, IPv6 where the
//! container has none. Which sockets a published port needs is `tare_types::port::holder_sockets`.

mod tcp;
mod udp;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tare_api::status::Status;
use tare_api::tare::shim::v1::{BoundPort, PortBinding};
use tare_types::ErrorKind;
use tare_types::port::{HolderSocket, Protocol, PublishedPort, holder_sockets};
use tokio::task::JoinHandle;

/// Ports one container may publish; a range of all ports is a mistake, not a wish.
const MAX_SOCKETS: usize = 4096;
/// Attempts to find one free port in all families.
const ATTEMPTS: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 512;

/// The ports of all containers of this shim.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    held: Mutex<BTreeMap<String, Vec<Held>>>,
}

/// A bound socket and the task that carries its traffic; both end with it.
#[derive(Debug)]
struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ports {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds all ports or none, beside those the container has.
    ///
    /// # Errors
    /// `InvalidArgument` for a binding that makes no sense; `AlreadyExists` for a port in use (docker's words);
    /// `PermissionDenied`.
    pub(crate) fn bind(&self, id: &str, bindings: &[PortBinding]) -> Result<Vec<BoundPort>, Status> {
        let ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
        let (mut bound, mut sockets) = (Vec::new(), Vec::new());
        for (number, binding) in bindings.iter().enumerate() {
            for (socket, target) in bind_one(binding, ipv6)? {
                bound.push(BoundPort {
                    binding: number as u32,
                    protocol: socket.protocol().as_str().to_owned(),
                    host_ip: socket.address().ip().to_string(),
                    host_port: u32::from(socket.address().port()),
                });
                sockets.push((socket, target));
            }
            if sockets.len() > MAX_SOCKETS {
                return Err(Status::new(
                    ErrorKind::InvalidArgument,
                    format!("more than {MAX_SOCKETS} published ports"),
                ));
            }
        }
        let held: Result<Vec<_>, Status> =
            sockets.into_iter().map(|(socket, target)| socket.carry(target).map(Held)).collect();
        self.held().entry(id.to_owned()).or_default().extend(held?);
        Ok(bound)
    }

    /// Lets go of a container's ports; idempotent.
    pub(crate) fn release(&self, id: &str) {
        self.held().remove(id);
    }
}

/// A bound socket.
#[derive(Debug)]
enum Bound {
    Tcp(TcpListener, SocketAddr),
    Udp(UdpSocket, SocketAddr),
}

impl Bound {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(..) => Protocol::Tcp,
            Self::Udp(..) => Protocol::Udp,
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp(_, address) | Self::Udp(_, address) => *address,
        }
    }

    /// Carries traffic to `target`; without one the port is only held.
    fn carry(self, target: Option<SocketAddr>) -> Result<JoinHandle<()>, Status> {
        let failed = |error: std::io::Error| {
            Status::new(ErrorKind::Internal, format!("watch port {}: {error}", self.address()))
        };
        match &self {
            Self::Tcp(listener, _) => {
                let listener =
                    listener.try_clone().and_then(tokio::net::TcpListener::from_std).map_err(failed)?;
                Ok(tokio::spawn(tcp::carry(listener, target)))
            }
            Self::Udp(socket, _) => {
                let socket = socket.try_clone().and_then(tokio::net::UdpSocket::from_std).map_err(failed)?;
                Ok(tokio::spawn(udp::carry(socket, target)))
            }
        }
    }
}

/// The sockets of one binding, all at the same port.
fn bind_one(binding: &PortBinding, ipv6: bool) -> Result<Vec<(Bound, Option<SocketAddr>)>, Status> {
    let invalid = |text: &str| Status::new(ErrorKind::InvalidArgument, format!("published port: {text}"));
    let port = |value: u32| u16::try_from(value).map_err(|_| invalid("a port is at most 65535"));
    let protocol: Protocol =
        binding.protocol.parse().map_err(|_| invalid("the protocol must be tcp or udp"))?;
    let address = |text: &str| -> Result<Option<IpAddr>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| invalid(&format!("{text:?} is not an address")))
    };
    let (host_ip, target) = (address(&binding.host_ip)?, address(&binding.container_ip)?);
    let (first, container_port) = (port(binding.host_port)?, port(binding.container_port)?);
    if target.is_some() && container_port == 0 {
        return Err(invalid("the container's port is missing"));
    }
    let last = port(binding.host_port_end)?.max(first);
    // Without a port the kernel chooses; another family may have it taken, so it is tried again.
    let candidates: Vec<u16> = if first == 0 { vec![0; ATTEMPTS] } else { (first..=last).collect() };
    let mut failure = None;
    for host_port in candidates {
        let wanted = PublishedPort { protocol, host_ip, host_port, container_port };
        let sockets = holder_sockets(&wanted, target.unwrap_or(IpAddr::from([0, 0, 0, 0])), ipv6);
        match bind_all(&sockets) {
            Ok(bound) => {
                let targets = sockets.iter().map(|socket| target.map(|_| socket.target));
                return Ok(bound.into_iter().zip(targets).collect());
            }
            Err(status) => failure = Some(status),
        }
    }
    Err(failure.unwrap_or_else(|| invalid("no port to choose from")))
}

fn bind_all(sockets: &[HolderSocket]) -> Result<Vec<Bound>, Status> {
    let mut bound: Vec<Bound> = Vec::with_capacity(sockets.len());
    for socket in sockets {
        let mut address = socket.bind;
        if address.port() == 0 {
            // The first one's choice counts for all.
            address.set_port(bound.first().map_or(0, |first| first.address().port()));
        }
        bound.push(open(socket.protocol, address)?);
    }
    Ok(bound)
}

fn open(protocol: Protocol, address: SocketAddr) -> Result<Bound, Status> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let opened = || -> rustix::io::Result<OwnedFd> {
        let socket =
            rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if protocol == Protocol::Tcp {
            // A container that comes back at once must not wait for old connections.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        if protocol == Protocol::Tcp {
            rustix::net::listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    };
    let failed = |error: &dyn std::fmt::Display, kind| {
        Status::new(kind, format!("listen {protocol} {address}: bind: {error}"))
    };
    let socket = opened().map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => failed(&"address already in use", ErrorKind::AlreadyExists),
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => failed(&error, ErrorKind::PermissionDenied),
        rustix::io::Errno::ADDRNOTAVAIL => {
            failed(&"cannot assign requested address", ErrorKind::InvalidArgument)
        }
        _ => failed(&error, ErrorKind::Internal),
    })?;
    let internal = |error: std::io::Error| failed(&error, ErrorKind::Internal);
    match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::from(socket);
            let local = listener.local_addr().map_err(internal)?;
            Ok(Bound::Tcp(listener, local))
        }
        Protocol::Udp => {
            let socket = UdpSocket::from(socket);
            let local = socket.local_addr().map_err(internal)?;
            Ok(Bound::Udp(socket, local))
        }
    }
}

#[cfg(test)]
mod tests;
