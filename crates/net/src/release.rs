//! The worker that gives back what released containers had, off everybody's path.
//!
//! Per batch: the elements of published ports in one transaction; the namespace files; then the veth pairs, which
//! go with their namespaces. A namespace that somebody else still holds (a joined container, a person's nsenter)
//! would keep its pair: after a while the pair is deleted by name. Only then is the address free again.

use crate::{
    Error, Result,
    journal::SandboxNumber,
    pool::{path_of, remove_pin},
    shared::{Shared, State},
};
use rustix::io::Errno;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    sync::PoisonError,
    time::{Duration, Instant},
};
use tare_sys::netlink::{
    Batch, Family, Socket,
    conntrack::{self, Flow},
    route::{self, Which},
};
use tare_types::port::Protocol;

/// How long a pair may take to go with its namespace; the kernel needs 2 to 22 ms when nobody holds it.
const PATIENCE: Duration = Duration::from_millis(250);
/// The pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// One released sandbox, as far as the kernel knows it.
#[derive(Debug)]
struct Part {
    number: SandboxNumber,
    interfaces: Vec<String>,
    /// The address, where flows of UDP may know it.
    udp: Option<Ipv4Addr>,
}

/// Works until the end is asked for and nothing is left, or what is left cannot be done.
pub(crate) fn work(shared: &Shared) {
    remove_stale_pins(shared);
    let mut failed: Vec<SandboxNumber> = Vec::new();
    while let Some(parts) = next_batch(shared, &mut failed) {
        forget_old_flows(shared);
        if let Err(left) = release(shared, &parts) {
            failed = left;
        }
        shared.changed.notify_all();
    }
}

fn remove_stale_pins(shared: &Shared) {
    let pins = shared.state().stale_pins.clone();
    for pin in pins {
        // One that cannot be removed is found again at the next start, and by the doctor.
        let _removed = remove_pin(&pin);
    }
    shared.state().stale_pins.clear();
    shared.changed.notify_all();
}

/// Waits for released sandboxes; what failed before comes again after a pause. `None` at the end.
fn next_batch(shared: &Shared, failed: &mut Vec<SandboxNumber>) -> Option<Vec<Part>> {
    let mut state = shared.state();
    let idle = |state: &mut State| state.queue.is_empty() && state.new_udp.is_empty() && !state.stop;
    if failed.is_empty() {
        state = shared.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
    } else {
        let waited = shared.changed.wait_timeout_while(state, RETRY, idle);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.stop && state.queue.is_empty() && state.new_udp.is_empty() {
            return None;
        }
        state.queue.append(failed);
    }
    if state.queue.is_empty() && state.new_udp.is_empty() {
        return None;
    }
    let queue = std::mem::take(&mut state.queue);
    let part = |number: SandboxNumber| {
        let record = state.records.get(&number)?;
        let endpoint = record.sandbox.endpoint.as_ref();
        let has_udp = record.sandbox.ports.iter().any(|port| port.protocol == Protocol::Udp);
        Some(Part {
            number,
            interfaces: record.sandbox.endpoints().map(|(_, endpoint)| endpoint.interface.clone()).collect(),
            udp: endpoint.map(|endpoint| endpoint.ip).filter(|_| has_udp),
        })
    };
    Some(queue.into_iter().filter_map(part).collect())
}

/// Has the kernel forget UDP flows that began before a port was published, as a client's that kept on sending
/// while its server was restarted: they would go on to where there is nobody.
fn forget_old_flows(shared: &Shared) {
    let new = shared.state().new_udp.clone();
    if new.is_empty() {
        return;
    }
    forget_flows(|flow| {
        new.iter().any(|(ip, port)| {
            let at = |wanted: IpAddr| wanted.is_unspecified() || wanted == IpAddr::V4(*flow.destination.ip());
            let current = SocketAddrV4::new(*ip, port.container_port);
            flow.destination.port() == port.host_port
                && port.host_ip.is_none_or(at)
                && flow.answered_by != current
        })
    });
    shared.state().new_udp.drain(..new.len());
}

fn forget_flows(old: impl Fn(&Flow) -> bool) {
    let forget = || -> std::result::Result<(), tare_sys::netlink::Error> {
        let mut socket = Socket::open(Family::Netfilter)?;
        for flow in
            conntrack::flows(&mut socket, |flow| flow.protocol == Protocol::Udp.number() && old(flow))?
        {
            let mut batch = Batch::new();
            conntrack::delete_flow(&mut batch, &flow);
            match socket.execute(&mut batch) {
                Err(error) if !error.is(Errno::NOENT) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    // Where the kernel cannot list flows (no module for it) they end by themselves, after half a minute of silence.
    let _forgotten = forget();
}

/// Releases a batch; the error is the sandboxes that are not released.
fn release(shared: &Shared, parts: &[Part]) -> std::result::Result<(), Vec<SandboxNumber>> {
    let all = || parts.iter().map(|part| part.number).collect::<Vec<_>>();
    // The failure itself needs no report here: `settle` and the doctor name what stays.
    shared.firewall().flush().map_err(|_| all())?;
    let gone: Vec<Ipv4Addr> = parts.iter().filter_map(|part| part.udp).collect();
    if !gone.is_empty() {
        forget_flows(|flow| gone.contains(flow.answered_by.ip()));
    }
    let watch = watch_links();
    let directory = shared.config.namespaces();
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let mut pairs = BTreeSet::new();
    for part in parts {
        match remove_pin(&path_of(&directory, part.number)) {
            Ok(()) => {
                pairs.extend(part.interfaces.iter().cloned());
                done.push(part);
            }
            Err(_) => left.push(part.number),
        }
    }
    let remaining = wait_for_pairs(shared, watch, pairs).and_then(|pairs| delete_pairs(shared, &pairs));
    if remaining.is_err() {
        return Err(all());
    }
    let numbers: Vec<SandboxNumber> = done.iter().map(|part| part.number).collect();
    if shared.state().finish_release(&numbers).is_err() {
        left.extend(numbers);
    }
    if left.is_empty() { Ok(()) } else { Err(left) }
}

/// A socket that hears of links that go; without one the pairs are looked for by name.
fn watch_links() -> Option<Socket> {
    let socket = Socket::open(Family::Route).ok()?;
    socket.subscribe(route::GROUP_LINK).ok()?;
    Some(socket)
}

/// Waits until the pairs are gone with their namespaces; returns those that are still there.
fn wait_for_pairs(
    shared: &Shared,
    watch: Option<Socket>,
    mut pairs: BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let failed = |error| Error::caused("look for interface", "of released container", error);
    let mut present = BTreeSet::new();
    for name in pairs {
        if route::link(&mut shared.route(), Which::Name(&name)).map_err(failed)?.is_some() {
            present.insert(name);
        }
    }
    pairs = present;
    let Some(mut watch) = watch else { return Ok(pairs) };
    let deadline = Instant::now() + PATIENCE;
    while !pairs.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match watch.receive(left) {
            Ok(Some(messages)) => {
                for message in messages {
                    let deleted = message.ok().and_then(|m| route::deleted_link(&m).ok().flatten());
                    if let Some(link) = deleted {
                        pairs.remove(&link.name);
                    }
                }
            }
            // Time is up, or messages were lost: what is left is deleted by name.
            Ok(None) | Err(_) => break,
        }
    }
    Ok(pairs)
}

/// Deletes pairs by name; one that is gone meanwhile is no error.
fn delete_pairs(shared: &Shared, pairs: &BTreeSet<String>) -> Result<()> {
    for name in pairs {
        let mut batch = Batch::new();
        route::delete_link(&mut batch, Which::Name(name));
        match shared.route().execute(&mut batch) {
            Err(error) if !error.is(Errno::NODEV) => {
                return Err(Error::caused("delete interface", name, error));
            }
            _ => {}
        }
    }
    Ok(())
}
