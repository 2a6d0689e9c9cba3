//! Names of containers on networks that a person defined: lines in the /etc/hosts of their neighbours.
//!
//! On such a network a container is found by its name, its aliases, its host name and its short id. The built-in bridge
//! has no names, as docker has it. A file is written anew whenever somebody comes or goes; what a container itself wrote
//! there goes with it.

use crate::{
    Engine,
    entry::Entry,
    lifecycle::{files, links},
    network::EndpointState,
    record::EngineFields,
    request::Link,
};
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

/// Whether somebody else has to hear of an endpoint: a neighbour, or one that is linked to it.
pub(crate) fn matter(engine: &Engine, endpoint: &EndpointState) -> bool {
    has_linked(engine) || std::iter::once(endpoint).chain(&endpoint.others).any(|one| has_names(&one.network))
}

/// Whether a container that runs is linked to another on the built-in bridge.
fn has_linked(engine: &Engine) -> bool {
    engine.inner().roster.has_links()
}

/// Lines for the neighbours of a container on its networks, by address.
pub(crate) fn neighbours(engine: &Engine, entry: &Entry, endpoint: &EndpointState) -> Vec<HostEntry> {
    let networks = networks_of(engine, endpoint);
    let own = entry.record();
    let mut linked =
        own.engine.as_ref().map_or_else(Vec::new, |own| links::lines(engine, &entry.key.namespace, own));
    if networks.is_empty() {
        return linked;
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
                let mut names = names(&other, fields, one);
                names.extend(aliases(own.engine.as_ref(), endpoint, &one.network_id, &other, fields));
                found.push((address, names));
            }
        }
    }
    found.sort();
    linked.extend(found.into_iter().map(|(address, names)| HostEntry { address, names }));
    linked
}

/// The names that the links of a container give another one on a network.
fn aliases(
    own: Option<&EngineFields>,
    endpoint: &EndpointState,
    network_id: &str,
    other: &Entry,
    theirs: &EngineFields,
) -> Vec<String> {
    let Some(own) = own else { return Vec::new() };
    let links: &[Link] = if endpoint.network_id == network_id {
        &own.network.links
    } else {
        let known = endpoint.others.iter().find(|one| one.network_id == network_id);
        let asked = known.and_then(|known| {
            own.network.others.iter().find(|attachment| attachment.network == known.network)
        });
        asked.map_or(&[], |attachment| &attachment.links)
    };
    let meant = links.iter().filter(|link| links::means(link, other, theirs));
    meant.map(|link| link.alias.clone()).collect()
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
    let linked = has_linked(engine) && std::iter::once(endpoint).chain(&endpoint.others).any(is_default);
    if networks.is_empty() && !linked {
        return;
    }
    // One writer at a time: who writes last has seen all that came before.
    let _one = engine.inner().names.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in engine.inner().roster.all() {
        refresh_one(engine, &entry, &networks, linked);
    }
}

/// Whether an endpoint is on the built-in bridge.
fn is_default(endpoint: &EndpointState) -> bool {
    endpoint.network == "bridge"
}

fn refresh_one(engine: &Engine, entry: &Arc<Entry>, networks: &BTreeSet<String>, linked: bool) {
    let Some(endpoint) = entry.live().endpoint.clone() else { return };
    let record = entry.record();
    let Some(fields) = &record.engine else { return };
    let has_link = linked && is_default(&endpoint) && !fields.network.links.is_empty();
    if !has_link && networks_of(engine, &endpoint).is_disjoint(networks) {
        return;
    }
    let neighbours = neighbours(engine, entry, &endpoint);
    let directory = engine.container_directory(&entry.key);
    if let Err(error) = files::write_hosts(&directory, fields, &endpoint, &neighbours) {
        tracing::warn!(container = %entry.key, %error, "the names of its neighbours are not known to a container");
    }
}
