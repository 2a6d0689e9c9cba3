//! Names of containers on networks that a person defined: lines in the /etc/hosts of their neighbours.
//!
//! On such a network a container is found by its name, its aliases, its host name and its short id. The built-in bridge
//! has no names, as docker has it. A file is written anew whenever somebody comes or goes; what a container itself wrote
//! there goes with it.

use crate::{Engine, entry::Entry, lifecycle::files, network::EndpointState, record::EngineFields};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, PoisonError},
};
use tare_net::files::HostEntry;

/// Whether a network has names.
fn has_names(network: &str) -> bool {
    !matches!(network, "" | "bridge" | "host" | "none")
}

/// The ids of the networks with names that an endpoint and its others are on. A container that joined another's
/// network sees what that one sees.
fn networks_of(engine: &Engine, endpoint: &EndpointState) -> BTreeSet<String> {
    let all = std::iter::once(endpoint).chain(&endpoint.others);
    let joined = |endpoint: &EndpointState| {
        let known = engine.inner().networks.inspect(&endpoint.network_id);
        known.is_ok_and(|network| has_names(&network.name))
    };
    let named = all.filter(|one| match one.network.starts_with("container:") {
        true => joined(one),
        false => has_names(&one.network),
    });
    named.map(|one| one.network_id.clone()).collect()
}

/// Whether somebody else has to hear of an endpoint.
pub(crate) fn matter(endpoint: &EndpointState) -> bool {
    std::iter::once(endpoint).chain(&endpoint.others).any(|one| has_names(&one.network))
}

/// Lines for the neighbours of a container on its networks, by address.
pub(crate) fn neighbours(engine: &Engine, entry: &Entry, endpoint: &EndpointState) -> Vec<HostEntry> {
    let networks = networks_of(engine, endpoint);
    if networks.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(IpAddr, Vec<String>)> = Vec::new();
    for other in engine.inner().roster.list(&entry.key.namespace) {
        if other.key == entry.key {
            continue;
        }
        let Some(theirs) = other.live().endpoint.clone() else { continue };
        if theirs.network.starts_with("container:") {
            continue;
        }
        let record = other.record();
        let Some(fields) = &record.engine else { continue };
        for one in std::iter::once(&theirs).chain(&theirs.others) {
            if let (Some(address), true) = (one.ip_address, networks.contains(&one.network_id)) {
                found.push((address, names(&other, fields, one)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(address, names)| HostEntry { address, names }).collect()
}

/// Name, aliases on this network, host name and short id, each once.
fn names(entry: &Entry, fields: &EngineFields, endpoint: &EndpointState) -> Vec<String> {
    let id = entry.key.id.as_str();
    let short = &id[..id.len().min(12)];
    let given = endpoint.aliases.iter().map(String::as_str);
    let mut names: Vec<String> = Vec::new();
    for name in std::iter::once(fields.name.as_str()).chain(given).chain([fields.hostname.as_str(), short]) {
        // A line of /etc/hosts has names without blanks; others cannot be looked up.
        let fits = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '#');
        if fits && names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Writes the names anew for everybody on the networks of an endpoint: somebody has come or gone. Blocks on files.
pub(crate) fn refresh(engine: &Engine, endpoint: &EndpointState) {
    let networks = networks_of(engine, endpoint);
    if networks.is_empty() {
        return;
    }
    // One writer at a time: who writes last has seen all that came before.
    let _one = engine.inner().names.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in engine.inner().roster.all() {
        refresh_one(engine, &entry, &networks);
    }
}

fn refresh_one(engine: &Engine, entry: &Arc<Entry>, networks: &BTreeSet<String>) {
    let Some(endpoint) = entry.live().endpoint.clone() else { return };
    if networks_of(engine, &endpoint).is_disjoint(networks) {
        return;
    }
    let record = entry.record();
    let Some(fields) = &record.engine else { return };
    let neighbours = neighbours(engine, entry, &endpoint);
    let directory = engine.container_directory(&entry.key);
    if let Err(error) = files::write_hosts(&directory, fields, &endpoint, &neighbours) {
        tracing::warn!(container = %entry.key, %error, "the names of its neighbours are not known to a container");
    }
}
