//! The networks of one daemon: attach, publish, release, reconcile.

use crate::{
    AttachRequest, Config, Connection, ContainerKey, Driver, Error, Network, NewNetwork, ReconcileReport,
    Result, Sandbox, attach, connect, create,
    definitions::Definitions,
    directories::{list_pins, lock_state, make_private_directory},
    doctor,
    firewall::Firewall,
    guard::Guard,
    journal::{Journal, SandboxNumber},
    pool::Pool,
    reconcile, release,
    shared::{Shared, State},
};
use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tare_sys::netlink::{Family, Socket};
use tare_types::{
    ErrorKind,
    port::{Protocol, PublishedPort},
};

/// The networks of one daemon.
///
/// Synchronous and shared by reference between threads. States of a container here:
/// unknown → attached (`attach`) → published (`publish`, any number of times) → releasing (`release`) → unknown.
/// All of it is in the journal of the state directory before it is in the kernel, so that after kill -9 at any
/// line `open` and `reconcile` leave exactly what the records say.
///
/// It works in the network namespace of the thread that opens it.
#[derive(Debug)]
pub struct Networks {
    shared: Arc<Shared>,
    pool: Pool,
    worker: Mutex<Option<JoinHandle<()>>>,
    guard: Guard,
    _lock: OwnedFd,
}

impl Networks {
    /// Reads the records of an instance and resumes its unfinished releases in the background.
    ///
    /// Touches nothing in the kernel but what was being released and the ready namespaces; the bridge comes with
    /// [`Networks::prepare`] or the first container.
    ///
    /// # Errors
    /// `FailedPrecondition` when another process has this state directory open, `InvalidArgument` for a
    /// configuration that cannot work, else what the system calls say.
    pub fn open(config: Config) -> Result<Self> {
        config.check()?;
        let namespaces = config.namespaces();
        for directory in [&config.root, &config.state, &namespaces] {
            make_private_directory(directory)?;
        }
        let lock = lock_state(&config.state)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|e| Error::caused("read boot id", "of the kernel", e))?;
        let (journal, records) = Journal::open(&config.state, boot.trim())?;
        let definitions = Definitions::open(&config.root, &config.object_name())?;
        let pins = list_pins(&namespaces)?;
        let of_more = |connection: &crate::Connection| {
            let name = &connection.endpoint.interface;
            SandboxNumber::from_str_radix(name.get(name.len().saturating_sub(6)..)?, 16).ok()
        };
        let more = records.values().flat_map(|record| &record.sandbox.more).filter_map(of_more);
        let numbers =
            pins.iter().filter_map(|(number, _)| *number).chain(records.keys().copied()).chain(more);
        let next: SandboxNumber = numbers.max().unwrap_or(0) % 0xff_ffff + 1;
        let stale = pins.into_iter().filter(|(n, _)| !n.is_some_and(|n| records.contains_key(&n)));
        let stale = stale.map(|(_, path)| path).collect();

        let route = Socket::open(Family::Route).map_err(|e| Error::caused("open rtnetlink", "socket", e))?;
        let firewall = Firewall::open(config.object_name())?;
        let state = State::new(journal, records, definitions, stale);
        let ready = config.ready_namespaces;
        let shared = Arc::new(Shared::new(config, route, firewall, state));
        let pool = Pool::start(namespaces, ready, next)?;
        let run = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("tare-net-release".to_owned())
            .spawn(move || release::work(&run))
            .map_err(|e| Error::caused("start thread", "tare-net-release", e))?;
        let guard = Guard::start(&shared)?;
        Ok(Self { shared, pool, worker: Mutex::new(Some(worker)), guard, _lock: lock })
    }

    /// Makes the built-in bridge, its table and the forwarding switch, if they are not there.
    ///
    /// Idempotent. [`Networks::attach`] does it when needed; a daemon calls it after its start so that the first
    /// container does not wait for it.
    ///
    /// # Errors
    /// `ResourceExhausted` when no subnet is free, `DeadlineExceeded` when another daemon holds the host's lock,
    /// else the kernel's.
    pub fn prepare(&self) -> Result<()> {
        self.shared.bridge(&self.shared.network("bridge")?, false).map(drop)
    }

    /// All networks, sorted by name (`docker network ls`).
    pub fn list(&self) -> Vec<Network> {
        let mut networks = self.shared.state().definitions.all().to_vec();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks
    }

    /// One network by name, full id or unambiguous beginning of the id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` for an ambiguous beginning.
    pub fn inspect(&self, name: &str) -> Result<Network> {
        self.shared.network(name)
    }

    /// The containers that are on a network now, by its id, sorted by container.
    pub fn containers(&self, network_id: &str) -> Vec<Sandbox> {
        let state = self.shared.state();
        let active = state.active.values().filter_map(|number| state.records.get(number));
        active.map(|record| &record.sandbox).filter(|s| s.is_on(network_id)).cloned().collect()
    }

    /// Gives a container a ready network namespace (loopback up) and, on a bridge, an interface in it.
    ///
    /// # Errors
    /// `AlreadyExists` for a container that is attached and for a wished address that is taken (one that is being
    /// released is waited for), `InvalidArgument` for an address outside, `ResourceExhausted` for a full network,
    /// `NotFound` for an unknown network. Nothing is left of a failed attempt.
    pub fn attach(&self, request: &AttachRequest) -> Result<Sandbox> {
        attach::attach(&self.shared, &self.pool, request)
    }

    /// Defines a bridge network and makes its bridge, with a subnet that is free on the host.
    ///
    /// # Errors
    /// `AlreadyExists` for a name or a bridge that is there, `InvalidArgument` for a name, a gateway or a subnet that
    /// cannot be, `PermissionDenied` for a subnet that overlaps another network's, `ResourceExhausted` when none is
    /// free. Nothing is left of a failed attempt.
    pub fn create(&self, new: &NewNetwork) -> Result<Network> {
        create::create(&self.shared, new)
    }

    /// Removes a network that a person defined.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for a built-in one and for one that containers are on.
    pub fn remove(&self, name: &str) -> Result<Network> {
        let network = self.shared.network(name)?;
        if network.is_built_in() {
            return Err(Error::new(ErrorKind::PermissionDenied, "remove network", &network.name)
                .with_hint(format!("{} is a pre-defined network and cannot be removed", network.name)));
        }
        self.shared.remove_network(&network)?;
        Ok(network)
    }

    /// Puts an attached container on one more bridge network.
    ///
    /// # Errors
    /// `NotFound` for an unknown network or a container that is not attached, `PermissionDenied` when it is on that
    /// network or on that of the host, else as [`Networks::attach`]. Nothing is left of a failed attempt.
    pub fn connect(&self, request: &AttachRequest) -> Result<Connection> {
        connect::connect(&self.shared, &self.pool, request)
    }

    /// Takes a container off a network; its ports are published on the first one only, and go with it.
    ///
    /// # Errors
    /// `NotFound` when it is not on it.
    pub fn disconnect(&self, container: &ContainerKey, network: &str) -> Result<()> {
        connect::disconnect(&self.shared, container, network)
    }

    /// What a container has now, `None` when it is not attached.
    pub fn sandbox(&self, container: &ContainerKey) -> Option<Sandbox> {
        self.shared.state().sandbox(container).map(|(_, sandbox)| sandbox.clone())
    }

    /// Publishes ports of an attached container, in one transaction of the kernel, beside those it has.
    ///
    /// To be called when the holder has bound the sockets ([`tare_types::port::holder_sockets`]), with the
    /// host ports it got. A container without an endpoint publishes nothing and this is no error, as with docker.
    ///
    /// # Errors
    /// `NotFound` when the container is not attached, `InvalidArgument` for a port 0, `AlreadyExists` for a port
    /// that another container of this instance has.
    pub fn publish(&self, container: &ContainerKey, ports: &[PublishedPort]) -> Result<()> {
        if let Some(port) = ports.iter().find(|port| port.host_port == 0 || port.container_port == 0) {
            return Err(Error::new(ErrorKind::InvalidArgument, "publish port", port.to_string())
                .with_hint("the holder of the port has to say which one it got"));
        }
        let (number, ip, before, network) = {
            let mut state = self.shared.state();
            let Some((number, sandbox)) = state.sandbox(container) else {
                return Err(Shared::not_attached("publish ports of container", container));
            };
            let Some(endpoint) = &sandbox.endpoint else { return Ok(()) };
            let (ip, before, network) = (endpoint.ip, sandbox.ports.clone(), sandbox.network.clone());
            check_free(&state, container, ports)?;
            let mut all = before.clone();
            all.extend(ports.iter().filter(|port| !before.contains(port)));
            state.journal.publish(number, &all)?;
            set_ports(&mut state, number, all);
            (number, ip, before, network)
        };
        let mut published = self.shared.firewall().publish(ip, ports);
        if matches!(&published, Err(error) if error.kind() == ErrorKind::NotFound) {
            // Somebody removed the table: it is made again from the records, which have these ports already.
            let network = self.shared.network(&network)?;
            published = self.shared.bridge(&network, true).map(drop);
        }
        if published.is_err() {
            let mut state = self.shared.state();
            // Should the journal fail too, the next start publishes a port whose container has no holder for it;
            // its release takes it out again.
            let _journaled = state.journal.publish(number, &before);
            set_ports(&mut state, number, before);
        } else if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
            self.shared.state().new_udp.extend(udp.map(|port| (ip, *port)));
            self.shared.changed.notify_all();
        }
        published
    }

    /// The first of `ports` that another container of this instance has, and that container: who to name when
    /// the holder finds a port in use.
    pub fn port_conflict(
        &self,
        container: &ContainerKey,
        ports: &[PublishedPort],
    ) -> Option<(PublishedPort, ContainerKey)> {
        find_conflict(&self.shared.state(), container, ports)
    }

    /// Enters the release in the journal and returns; the kernel's part follows in the background.
    ///
    /// Idempotent: an unknown container is released already. Address and ports are given again only after the
    /// kernel has let go of them.
    ///
    /// # Errors
    /// Those of writing the journal; the release goes on all the same.
    pub fn release(&self, container: &ContainerKey) -> Result<()> {
        let released = {
            let mut state = self.shared.state();
            let Some(number) = state.active.get(container).copied() else { return Ok(()) };
            state.begin_release(number)
        };
        self.shared.changed.notify_all();
        released
    }

    /// Makes the kernel agree with the records, where `live` are the containers whose task exists.
    ///
    /// Everything else is released; bridge, table and elements of the live are made again where they are missing;
    /// interfaces of this instance without a record are removed. Published ports of the live answer all the while.
    ///
    /// # Errors
    /// The kernel's; what was done until then stays.
    pub fn reconcile(&self, live: &[ContainerKey]) -> Result<ReconcileReport> {
        reconcile::reconcile(&self.shared, live)
    }

    /// Waits until nothing is left to be released, at most `deadline`.
    ///
    /// # Errors
    /// `DeadlineExceeded` names the containers that remain.
    pub fn settle(&self, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        let mut state = self.shared.state();
        loop {
            let releasing = || state.records.values().filter(|record| record.releasing);
            if releasing().next().is_none() && state.stale_pins.is_empty() && state.new_udp.is_empty() {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let names: Vec<String> = releasing().map(|r| r.sandbox.container.to_string()).collect();
                return Err(Error::new(ErrorKind::DeadlineExceeded, "release containers", names.join(", ")));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the background work; removes bridge and table when no container is attached.
    ///
    /// Dropping without it ends the background work and leaves bridge and table. Afterwards nothing is released:
    /// to be called when the last caller is done.
    ///
    /// # Errors
    /// The kernel's for the removal.
    pub fn shutdown(&self) -> Result<()> {
        self.guard.close();
        self.stop_worker();
        self.pool.close();
        let state = self.shared.state();
        let in_use = state.records.values().any(|record| record.sandbox.endpoints().next().is_some());
        let bridges = state.definitions.all().iter().filter(|n| n.driver == Driver::Bridge);
        let bridges: Vec<String> = bridges.filter_map(|n| n.interface.clone()).collect();
        drop(state);
        if in_use || !self.shared.forget_bridges() {
            return Ok(());
        }
        self.shared.firewall().remove()?;
        bridges.iter().try_for_each(|name| doctor::remove_interface(&mut self.shared.route(), name))
    }

    fn stop_worker(&self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // A panic of the worker is not ours to continue; the journal knows what it left.
            let _joined = worker.join();
        }
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        self.stop_worker();
    }
}

/// Fails when another active sandbox has one of the ports on an overlapping address.
fn check_free(state: &State, container: &ContainerKey, ports: &[PublishedPort]) -> Result<()> {
    let Some((port, holder)) = find_conflict(state, container, ports) else { return Ok(()) };
    Err(Error::new(ErrorKind::AlreadyExists, "publish port", port.to_string())
        .with_hint(format!("port is already allocated to container {holder}")))
}

/// The first of the ports that another container has on an overlapping address, and that container.
fn find_conflict(
    state: &State,
    container: &ContainerKey,
    ports: &[PublishedPort],
) -> Option<(PublishedPort, ContainerKey)> {
    let others = state.active.iter().filter(|(other, _)| *other != container);
    for (holder, number) in others {
        let held = state.records.get(number).map_or(&[][..], |record| &record.sandbox.ports);
        let conflict = ports.iter().find(|port| held.iter().any(|held| collide(port, held)));
        if let Some(port) = conflict {
            return Some((*port, holder.clone()));
        }
    }
    None
}

fn collide(a: &PublishedPort, b: &PublishedPort) -> bool {
    let every = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    let families = match (a.host_ip, b.host_ip) {
        (Some(a), Some(b)) => a.is_ipv4() == b.is_ipv4(),
        _ => true,
    };
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && families
        && (every(a.host_ip) || every(b.host_ip) || a.host_ip == b.host_ip)
}

fn set_ports(state: &mut State, number: SandboxNumber, ports: Vec<PublishedPort>) {
    if let Some(record) = state.records.get_mut(&number) {
        record.sandbox.ports = ports;
    }
}
