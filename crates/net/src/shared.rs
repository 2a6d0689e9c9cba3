//! What the threads of an instance share, and in which order they lock it.
//!
//! Order: bridges, then route or firewall, then state; nobody holds two of route and firewall. State is held for
//! memory and one append to the journal, never for a netlink call.

use crate::{
    Config, ContainerKey, Error, Network, Result, Sandbox,
    address::Subnet,
    bridge::{self, Bridge},
    definitions::Definitions,
    doctor,
    firewall::{BridgeRules, Firewall},
    ipam::Addresses,
    journal::{Journal, Record, Records, SandboxNumber, by_container},
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};
use tare_sys::netlink::Socket;
use tare_types::{ErrorKind, port::PublishedPort};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The bridges that are known to be there, by the ids of their networks.
    bridges: Mutex<BTreeMap<String, Bridge>>,
    pub(crate) route: Mutex<Socket>,
    firewall: Mutex<Firewall>,
    state: Mutex<State>,
    /// A release was asked for or is done, or the end has come.
    pub(crate) changed: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) journal: Journal,
    pub(crate) records: Records,
    pub(crate) active: BTreeMap<ContainerKey, SandboxNumber>,
    pub(crate) definitions: Definitions,
    /// The addresses of the bridges, once their subnets are known, by the ids of their networks.
    pub(crate) addresses: BTreeMap<String, Addresses>,
    /// Released sandboxes the worker has not taken up.
    pub(crate) queue: Vec<SandboxNumber>,
    /// Ports whose elements are to go with the next transaction.
    pub(crate) withdrawn: Vec<(Ipv4Addr, Vec<PublishedPort>)>,
    /// UDP ports that were published: flows that began before know nothing of it.
    pub(crate) new_udp: Vec<(Ipv4Addr, PublishedPort)>,
    /// Namespace files of an earlier run that no record knows.
    pub(crate) stale_pins: Vec<PathBuf>,
    /// IPv4 forwarding was switched on here.
    pub(crate) forwarding_enabled: bool,
    pub(crate) stop: bool,
}

impl State {
    pub(crate) fn new(
        journal: Journal,
        records: Records,
        definitions: Definitions,
        stale_pins: Vec<PathBuf>,
    ) -> Self {
        let (releasing, active): (Vec<_>, Vec<_>) = records.iter().partition(|(_, record)| record.releasing);
        let queue = releasing.iter().map(|(number, _)| **number).collect();
        // An element is deleted by its key: one that has gone over to a container that lives must stay.
        let held = |port: &PublishedPort| {
            let mut ports = active.iter().flat_map(|(_, record)| &record.sandbox.ports);
            let key = |p: &PublishedPort| (p.protocol, p.host_ip, p.host_port);
            ports.any(|other| key(other) == key(port))
        };
        let mut withdrawn: Vec<_> =
            releasing.iter().filter_map(|(_, record)| withdrawal(&record.sandbox)).collect();
        withdrawn.iter_mut().for_each(|(_, ports)| ports.retain(|port| !held(port)));
        Self {
            active: by_container(&records),
            journal,
            records,
            definitions,
            addresses: BTreeMap::new(),
            queue,
            withdrawn,
            new_udp: Vec::new(),
            stale_pins,
            forwarding_enabled: false,
            stop: false,
        }
    }

    /// The active sandbox of a container.
    pub(crate) fn sandbox(&self, container: &ContainerKey) -> Option<(SandboxNumber, &Sandbox)> {
        let number = self.active.get(container)?;
        self.records.get(number).map(|record| (*number, &record.sandbox))
    }

    /// Enters a release in the journal and gives it to the worker.
    ///
    /// A journal that cannot be written does not stop it: after a crash reconciliation finds the same.
    pub(crate) fn begin_release(&mut self, number: SandboxNumber) -> Result<()> {
        let Some(record) = self.records.get_mut(&number).filter(|record| !record.releasing) else {
            return Ok(());
        };
        record.releasing = true;
        let withdrawn = withdrawal(&record.sandbox);
        self.active.remove(&record.sandbox.container);
        self.withdrawn.extend(withdrawn);
        self.queue.push(number);
        self.journal.release(number)
    }

    /// Gives an address of a network back.
    pub(crate) fn give_back(&mut self, network: &str, ip: Ipv4Addr) {
        if let Some(addresses) = self.addresses.get_mut(network) {
            addresses.give_back(ip);
        }
    }

    /// Enters in the journal that the kernel has let go of sandboxes; gives their addresses back.
    pub(crate) fn finish_release(&mut self, numbers: &[SandboxNumber]) -> Result<()> {
        let done: Vec<(SandboxNumber, Record)> =
            numbers.iter().filter_map(|number| self.records.remove_entry(number)).collect();
        if let Err(error) = self.journal.released(numbers, &self.records) {
            self.records.extend(done);
            return Err(error);
        }
        for (_, record) in done {
            for (network, endpoint) in record.sandbox.endpoints() {
                self.give_back(network, endpoint.ip);
            }
        }
        Ok(())
    }
}

fn withdrawal(sandbox: &Sandbox) -> Option<(Ipv4Addr, Vec<PublishedPort>)> {
    let endpoint = sandbox.endpoint.as_ref().filter(|_| !sandbox.ports.is_empty())?;
    Some((endpoint.ip, sandbox.ports.clone()))
}

impl Shared {
    pub(crate) fn new(config: Config, route: Socket, firewall: Firewall, state: State) -> Self {
        Self {
            config,
            bridges: Mutex::default(),
            route: Mutex::new(route),
            firewall: Mutex::new(firewall),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Records change only after the journal has them: a panic between leaves what the journal says or less.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn route(&self) -> MutexGuard<'_, Socket> {
        // Replies are matched by sequence number: what a panic left in the queue is skipped.
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The firewall, with what was withdrawn meanwhile noted in it.
    pub(crate) fn firewall(&self) -> MutexGuard<'_, Firewall> {
        let mut firewall = self.firewall.lock().unwrap_or_else(PoisonError::into_inner);
        for (ip, ports) in self.state().withdrawn.drain(..) {
            firewall.withdraw(ip, &ports);
        }
        firewall
    }

    /// The bridge of a network, made when it is not known to be there. `forget` looks again at one that is.
    pub(crate) fn bridge(&self, network: &Network, forget: bool) -> Result<Bridge> {
        let mut known = self.bridges();
        if forget {
            known.remove(&network.id);
        }
        if let Some(bridge) = known.get(&network.id) {
            return Ok(bridge.clone());
        }
        let bridge = bridge::ensure(&self.config, network, &self.reserved(&network.id), &mut self.route())?;
        let forwarding_enabled = bridge::enable_forwarding()?;
        {
            let mut state = self.state();
            state.forwarding_enabled |= forwarding_enabled;
            let subnet_changed = network.subnet != Some(bridge.subnet);
            let defined =
                Network { subnet: Some(bridge.subnet), gateway: Some(bridge.gateway), ..network.clone() };
            state.definitions.update(defined)?;
            if subnet_changed || !state.addresses.contains_key(&network.id) {
                let mut addresses = Addresses::new(
                    bridge.subnet,
                    network.range,
                    std::iter::once(bridge.gateway).chain(network.reserved.values().copied()),
                );
                for record in state.records.values() {
                    for (_, endpoint) in record.sandbox.endpoints().filter(|(id, _)| *id == network.id) {
                        // An address of an earlier subnet is none of this one.
                        let _outside = addresses.take(Some(endpoint.ip));
                    }
                }
                state.addresses.insert(network.id.clone(), addresses);
            }
        }
        let mut bridges = known.clone();
        bridges.insert(network.id.clone(), bridge.clone());
        self.rebuild_table(&bridges)?;
        *known = bridges;
        Ok(bridge)
    }

    /// The bridges that are known to be there. Locked before everything else.
    fn bridges(&self) -> MutexGuard<'_, BTreeMap<String, Bridge>> {
        // An entry is made when all of it is done.
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subnets of all networks but one.
    fn reserved(&self, network: &str) -> Vec<Subnet> {
        let state = self.state();
        let others = state.definitions.all().iter().filter(|other| other.id != network);
        others.filter_map(|other| other.subnet).collect()
    }

    /// Removes a network that nobody is on: its definition first, then what the kernel has of it.
    pub(crate) fn remove_network(&self, network: &Network) -> Result<()> {
        let mut known = self.bridges();
        {
            let mut state = self.state();
            let users = state.active.values().filter_map(|number| state.records.get(number));
            let users: Vec<_> = users.filter(|record| record.sandbox.is_on(&network.id)).collect();
            if !users.is_empty() {
                let name = |record: &&Record| {
                    let here = record.sandbox.endpoints().find(|(id, _)| *id == network.id);
                    let id = here.map_or("", |(_, endpoint)| endpoint.id.as_str());
                    format!("name:\"{}\" id:\"{}\"", record.sandbox.name, &id[..id.len().min(12)])
                };
                let users: Vec<_> = users.iter().map(name).collect();
                return Err(Error::new(ErrorKind::PermissionDenied, "remove network", &network.name)
                    .with_hint(format!(
                        "network {} id {} has active endpoints ({})",
                        network.name,
                        network.id,
                        users.join(", ")
                    )));
            }
            state.definitions.remove(&network.id)?;
            state.addresses.remove(&network.id);
        }
        let bridge = known.remove(&network.id);
        if bridge.is_some() {
            self.rebuild_table(&known)?;
        }
        match &network.interface {
            Some(name) => doctor::remove_interface(&mut self.route(), name),
            None => Ok(()),
        }
    }

    /// Makes the table of the instance what the records say.
    fn rebuild_table(&self, bridges: &BTreeMap<String, Bridge>) -> Result<()> {
        let rule = |bridge: &Bridge| BridgeRules {
            interface: bridge.interface.clone(),
            subnet: bridge.subnet,
            internal: bridge.internal,
        };
        let rules: Vec<_> = bridges.values().map(rule).collect();
        let mut firewall = self.firewall();
        let active: Vec<Sandbox> = {
            let state = self.state();
            let records = state.records.values().filter(|record| !record.releasing);
            records.map(|record| record.sandbox.clone()).collect()
        };
        firewall.rebuild(&rules, active.iter())
    }

    /// Makes the table again after somebody removed it; nothing to do where no bridge was made.
    pub(crate) fn remake_table(&self) -> Result<()> {
        let known = self.bridges();
        if known.is_empty() { Ok(()) } else { self.rebuild_table(&known) }
    }

    /// Forgets the bridges, for the end; says whether there were any.
    pub(crate) fn forget_bridges(&self) -> bool {
        !std::mem::take(&mut *self.bridges()).is_empty()
    }

    pub(crate) fn network(&self, name: &str) -> Result<Network> {
        self.state().definitions.find(name).cloned()
    }

    /// The error for a container that is not attached.
    pub(crate) fn not_attached(operation: &'static str, container: &ContainerKey) -> Error {
        Error::new(ErrorKind::NotFound, operation, container.to_string())
            .with_hint("the container is not attached to a network")
    }
}
