//! Links: further names under which one container knows another (docker run --link).
//!
//! On a network that a person defined a link is one more name in the container's /etc/hosts ([`super::names`]). The
//! built-in bridge has no names, so a link there is all that leads from one container to another: a line in /etc/hosts
//! and variables about the other's ports and environment, as Docker makes them. It names the other by its id.

use crate::{
    ContainerRecord, Engine, Error, Result,
    entry::Entry,
    lifecycle::{members, stop},
    record::EngineFields,
    request::{CreateContainer, Link, NetworkMode},
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};
use tare_net::files::HostEntry;
use tare_types::{ErrorKind, Namespace, port::PublishedPort};

/// Variables of a linked container that are its own affair.
const PRIVATE: [&str; 4] = ["PATH", "HOSTNAME", "TERM", "HOME"];

/// Names the containers of a new container's links by their ids, where they have to exist already.
pub(crate) fn resolve(engine: &Engine, request: &mut CreateContainer) -> Result<()> {
    if request.network.mode != NetworkMode::Bridge {
        return Ok(());
    }
    for link in &mut request.network.links {
        let other = engine.entry("link to", &request.namespace, &link.container).map_err(|error| {
            let detail = format!("could not get container for {0}: No such container: {0}", link.container);
            match error.kind() {
                ErrorKind::NotFound => {
                    Error::new(ErrorKind::InvalidArgument, "link to", "container", "", detail)
                }
                _ => error,
            }
        })?;
        link.container = other.key.id.to_string();
    }
    Ok(())
}

/// Whether a link means a container: by id, the beginning of its id, or name.
pub(crate) fn means(link: &Link, entry: &Entry, fields: &EngineFields) -> bool {
    let name = link.container.trim_start_matches('/');
    name == fields.name || (name.len() >= 12 && entry.key.id.as_str().starts_with(name))
}

/// The links of a container on the built-in bridge.
fn of(fields: &EngineFields) -> &[Link] {
    match fields.network.mode {
        NetworkMode::Bridge => &fields.network.links,
        _ => &[],
    }
}

/// The container at the other end of a link with its address on the bridge, which it has from its start to its end.
fn target(engine: &Engine, namespace: &Namespace, link: &Link) -> Option<(Arc<Entry>, IpAddr)> {
    let other = engine.entry("link to", namespace, &link.container).ok()?;
    let endpoint = other.live().endpoint.clone()?;
    let mut all = std::iter::once(&endpoint).chain(&endpoint.others);
    let address = all.find(|one| one.network == "bridge")?.ip_address?;
    Some((other, address))
}

/// Refuses a start whose links lead to containers that do not run.
pub(crate) fn check(engine: &Engine, record: &ContainerRecord, fields: &EngineFields) -> Result<()> {
    for link in of(fields) {
        // The end of a run is told before its address is given back.
        let found = target(engine, &record.namespace, link);
        if !found.is_some_and(|(other, _)| other.live().state.status.is_running()) {
            let other = engine.entry("link to", &record.namespace, &link.container);
            let name = other.ok().and_then(|other| Some(other.record().engine.as_ref()?.name.clone()));
            let detail = format!(
                "Cannot link to a non running container: /{} AS /{}/{}",
                name.unwrap_or_else(|| link.container.clone()),
                fields.name,
                link.alias
            );
            return Err(Error::new(ErrorKind::FailedPrecondition, "link to", "link", "", detail));
        }
    }
    Ok(())
}

/// Lines of /etc/hosts for what a container is linked to: the alias, the other's host name, its name.
pub(crate) fn lines(engine: &Engine, namespace: &Namespace, fields: &EngineFields) -> Vec<HostEntry> {
    let line = |link: &Link| {
        let (other, address) = target(engine, namespace, link)?;
        let record = other.record();
        let theirs = record.engine.as_ref()?;
        let mut names = vec![link.alias.clone()];
        for name in [&theirs.hostname, &theirs.name] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Some(HostEntry { address, names })
    };
    of(fields).iter().filter_map(line).collect()
}

/// Variables about what a container is linked to (Docker's legacy links): `DB_PORT`, `DB_PORT_5432_TCP_ADDR`,
/// `DB_NAME`, `DB_ENV_X` and so on.
pub(crate) fn environment(engine: &Engine, namespace: &Namespace, fields: &EngineFields) -> Vec<String> {
    let mut all = Vec::new();
    for link in of(fields) {
        let Some((other, address)) = target(engine, namespace, link) else { continue };
        let record = other.record();
        let Some(theirs) = &record.engine else { continue };
        variables(&mut all, link, &fields.name, theirs, address);
    }
    all
}

fn variables(all: &mut Vec<String>, link: &Link, own: &str, theirs: &EngineFields, address: IpAddr) {
    let prefix = link.alias.to_uppercase().replace('-', "_");
    let ports: BTreeSet<(bool, u16)> = theirs
        .exposed
        .iter()
        .filter_map(|text| PublishedPort::parse_container_port(text).ok())
        // TCP first, then by number.
        .map(|(port, protocol)| (protocol == tare_types::port::Protocol::Udp, port))
        .collect();
    let protocol = |is_udp: bool| if is_udp { "udp" } else { "tcp" };
    if let Some((is_udp, port)) = ports.first() {
        all.push(format!("{prefix}_PORT={}://{address}:{port}", protocol(*is_udp)));
    }
    for (is_udp, port) in ports {
        let protocol = protocol(is_udp);
        let name = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        all.push(format!("{name}={protocol}://{address}:{port}"));
        all.push(format!("{name}_ADDR={address}"));
        all.push(format!("{name}_PORT={port}"));
        all.push(format!("{name}_PROTO={protocol}"));
    }
    all.push(format!("{prefix}_NAME=/{own}/{}", link.alias));
    for variable in &theirs.env {
        if let Some((name, value)) = variable.split_once('=')
            && !PRIVATE.contains(&name)
        {
            all.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
}

/// Removes a link from a container's record; what it knows of the other in this run stays.
pub(crate) async fn remove(engine: &Engine, entry: &Arc<Entry>, alias: &str) -> Result<()> {
    let _turn = entry.turn.lock().await;
    let mut record = (*entry.record()).clone();
    let fields = record.engine.as_mut().ok_or_else(|| stop::foreign("unlink", entry))?;
    let before = fields.network.links.len();
    if fields.network.mode == NetworkMode::Bridge {
        fields.network.links.retain(|link| link.alias != alias);
    }
    if fields.network.links.len() == before {
        return Err(Error::not_found("remove", "link", alias));
    }
    members::save(engine, entry, record).await
}
