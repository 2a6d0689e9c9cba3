//! Containers that come to a network and leave it between their starts.
//!
//! The record says on which networks a container is to be; the kernel follows where it runs. For a running container
//! the kernel goes first, so that what it refuses is not recorded.

use crate::{
    Engine, Error, Result, clock,
    entry::Entry,
    lifecycle::{connect, names, stop},
    network::{EndpointState, Network},
    record::EngineFields,
    request::{NetworkAttachment, NetworkMode, NetworkRequest},
    stores::blocking,
};
use std::sync::Arc;
use tare_types::ErrorKind;

fn refused(operation: &'static str, network: &Network, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::PermissionDenied, operation, "network", network.name.as_str(), detail)
}

/// Whether a mode means a network, by name or id.
fn is_mode(mode: &NetworkMode, network: &Network) -> bool {
    match mode {
        NetworkMode::Bridge => network.name == "bridge",
        NetworkMode::Named(name) => *name == network.name || network.id.starts_with(name.as_str()),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => false,
    }
}

pub(crate) async fn connect(
    engine: &Engine,
    entry: &Arc<Entry>,
    network: &Network,
    wanted: NetworkAttachment,
) -> Result<()> {
    let _turn = entry.turn.lock().await;
    let mut record = (*entry.record()).clone();
    let fields = record.engine.as_mut().ok_or_else(|| stop::foreign("connect", entry))?;
    if network.driver != "bridge" {
        return Err(refused("connect", network, "container cannot be connected to host or none network"));
    }
    match fields.network.mode {
        NetworkMode::Host | NetworkMode::Container(_) => {
            let detail = "container sharing network namespace with another container or host cannot be connected to any other network";
            return Err(refused("connect", network, detail));
        }
        NetworkMode::None if !fields.network.left => {
            let detail = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
            return Err(refused("connect", network, detail));
        }
        NetworkMode::Bridge | NetworkMode::Named(_) | NetworkMode::None => {}
    }
    let known = is_mode(&fields.network.mode, network)
        || fields.network.others.iter().any(|other| other.network == network.name);
    if known {
        let detail = format!("endpoint with name {} already exists in network {}", fields.name, network.name);
        return Err(refused("connect", network, detail));
    }
    let running = entry.running_task().is_some();
    if running {
        let (on, of, name, more) = (engine.clone(), entry.clone(), fields.name.clone(), wanted.clone());
        let made =
            blocking("connect to network", move || connect::attach_more(&on, &of, &name, &more)).await?;
        connect::tell_of(engine, entry, &made, "connect");
        show(engine, entry, |endpoint| match endpoint.endpoint_id.as_str() {
            "" => *endpoint = EndpointState { netns: std::mem::take(&mut endpoint.netns), ..made },
            _ => endpoint.others.push(made),
        })
        .await?;
    }
    match fields.network.left {
        true => join_first(&mut fields.network, wanted),
        false => fields.network.others.push(wanted),
    }
    save(engine, entry, record).await
}

pub(crate) async fn disconnect(engine: &Engine, entry: &Arc<Entry>, network: &Network) -> Result<()> {
    let _turn = entry.turn.lock().await;
    let mut record = (*entry.record()).clone();
    let fields = record.engine.as_mut().ok_or_else(|| stop::foreign("disconnect", entry))?;
    let running = entry.running_task().is_some();
    let is_first = is_mode(&fields.network.mode, network);
    let before = fields.network.others.len();
    match is_first {
        true => leave_first(fields),
        false => fields.network.others.retain(|other| other.network != network.name),
    }
    if !is_first && fields.network.others.len() == before {
        let detail =
            format!("container {} is not connected to network {}", entry.key.id.as_str(), network.name);
        return Err(refused("disconnect", network, detail));
    }
    if running {
        let left = entry.live().endpoint.clone();
        let (networks, key, id) = (engine.inner().networks.clone(), connect::key(entry), network.id.clone());
        let done = blocking("disconnect from network", move || {
            networks.disconnect(&key, &id).map_err(|error| {
                Error::new(error.kind(), "disconnect from", "network", id.as_str(), "").with_source(error)
            })
        });
        done.await?;
        let all = left.iter().flat_map(|left| std::iter::once(left).chain(&left.others));
        if let Some(gone) = all.into_iter().find(|one| one.network_id == network.id) {
            connect::tell_of(engine, entry, gone, "disconnect");
        }
        show(engine, entry, |endpoint| take_off(endpoint, network)).await?;
        if let Some(left) = left {
            refresh(engine, left).await?;
        }
    }
    save(engine, entry, record).await
}

/// The endpoints of a running container without the one on a network: the next one takes the place of the first.
fn take_off(endpoint: &mut EndpointState, network: &Network) {
    endpoint.others.retain(|other| other.network_id != network.id);
    if endpoint.network_id != network.id {
        return;
    }
    let netns = std::mem::take(&mut endpoint.netns);
    let mut others = std::mem::take(&mut endpoint.others);
    let first = if others.is_empty() {
        EndpointState { network: "none".to_owned(), ..EndpointState::default() }
    } else {
        others.remove(0)
    };
    *endpoint = EndpointState { netns, others, ..first };
}

/// A container leaves its first network: the next one takes its place.
fn leave_first(fields: &mut EngineFields) {
    let request = &mut fields.network;
    (request.aliases, request.ipv4_address, request.mac_address) = (Vec::new(), None, None);
    request.links.clear();
    if request.others.is_empty() {
        request.mode = NetworkMode::None;
        request.left = true;
        return;
    }
    let next = request.others.remove(0);
    join_first(request, next);
}

/// Has a network take the place of the first one.
fn join_first(request: &mut NetworkRequest, next: NetworkAttachment) {
    request.left = false;
    request.mode = match next.network.as_str() {
        "bridge" => NetworkMode::Bridge,
        _ => NetworkMode::Named(next.network),
    };
    request.aliases = next.aliases;
    request.ipv4_address = next.ipv4_address;
    request.mac_address = next.mac_address;
    request.links = next.links;
}

/// Shows a change of a running container's endpoint, notes it for a daemon that comes back, and tells the neighbours.
async fn show(engine: &Engine, entry: &Arc<Entry>, change: impl FnOnce(&mut EndpointState)) -> Result<()> {
    let Some(mut endpoint) = entry.live().endpoint.clone() else { return Ok(()) };
    change(&mut endpoint);
    entry.live().endpoint = Some(endpoint.clone());
    if let Some(task) = entry.task()
        && let Some(mut facts) = task.bundle.facts()
    {
        facts.endpoint = Some(endpoint.clone());
        task.bundle.note(&facts)?;
    }
    refresh(engine, endpoint).await
}

async fn refresh(engine: &Engine, endpoint: EndpointState) -> Result<()> {
    let engine = engine.clone();
    blocking("write names of neighbours", move || {
        names::refresh(&engine, &endpoint);
        Ok(())
    })
    .await
}

pub(crate) async fn save(
    engine: &Engine,
    entry: &Arc<Entry>,
    mut record: crate::ContainerRecord,
) -> Result<()> {
    record.updated_at = clock::now();
    let record = Arc::new(record);
    engine.stores().save(record.clone()).await?;
    entry.set_record(record);
    Ok(())
}
