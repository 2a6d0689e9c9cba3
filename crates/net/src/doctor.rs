//! What an instance left behind, how it is removed, and which other firewalls stand in the way.

use crate::{Config, Error, Leftover, Result, definitions::Definitions, pool::remove_pin};
use rustix::io::Errno;
use tare_sys::netlink::{
    Batch, Family, Socket,
    nftables::{self, Hook, INET, Transaction},
    route::{self, Which},
};

/// What an instance has in the kernel and in its state directory, whether or not its daemon runs.
///
/// With containers running this is what they use; what of it is left over is for the caller to judge, who knows
/// whether the daemon and its containers live.
///
/// # Errors
/// The kernel's for a listing.
pub fn leftovers(config: &Config) -> Result<Vec<Leftover>> {
    config.check()?;
    let mut found = Vec::new();
    let mut socket = Socket::open(Family::Route).map_err(|e| Error::caused("open rtnetlink", "socket", e))?;
    let links = route::links(&mut socket).map_err(|e| Error::caused("list interfaces", "of the host", e))?;
    let (bridge, prefix) = (config.object_name(), config.interface_prefix());
    let mut bridges = Definitions::bridges_of(&config.root);
    bridges.push(bridge.clone());
    let of_networks = config.bridge_prefix();
    for link in links {
        let ours = bridges.contains(&link.name) || link.name.starts_with(&of_networks);
        if ours && link.kind == "bridge" {
            found.push(Leftover::Bridge(link.name));
        } else if link.name.starts_with(&prefix) && link.kind == "veth" {
            found.push(Leftover::Interface(link.name));
        }
    }
    let mut socket =
        Socket::open(Family::Netfilter).map_err(|e| Error::caused("open nftables", "socket", e))?;
    let tables =
        nftables::tables(&mut socket, INET).map_err(|e| Error::caused("list tables", "of nftables", e))?;
    found.extend(tables.into_iter().filter(|table| *table == bridge).map(Leftover::Table));
    if let Ok(directory) = std::fs::read_dir(config.namespaces()) {
        found.extend(directory.flatten().map(|entry| Leftover::Namespace(entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Removes leftovers; to be called while no daemon of the instance runs. What is gone already is no error.
///
/// # Errors
/// That of the first removal that failed; the others were tried all the same.
pub fn repair(leftovers: &[Leftover]) -> Result<()> {
    let mut route = Socket::open(Family::Route).map_err(|e| Error::caused("open rtnetlink", "socket", e))?;
    let mut netfilter =
        Socket::open(Family::Netfilter).map_err(|e| Error::caused("open nftables", "socket", e))?;
    let mut first = Ok(());
    for leftover in leftovers {
        let removed = match leftover {
            Leftover::Bridge(name) | Leftover::Interface(name) => remove_interface(&mut route, name),
            Leftover::Table(name) => remove_table(&mut netfilter, name),
            Leftover::Namespace(path) => remove_pin(path),
        };
        first = first.and(removed);
    }
    first
}

pub(crate) fn remove_interface(socket: &mut Socket, name: &str) -> Result<()> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, Which::Name(name));
    match socket.execute(&mut batch) {
        Err(error) if !error.is(Errno::NODEV) => Err(Error::caused("delete interface", name, error)),
        _ => Ok(()),
    }
}

fn remove_table(socket: &mut Socket, name: &str) -> Result<()> {
    let mut transaction = Transaction::new(INET, name);
    transaction.delete_table();
    match transaction.commit(socket) {
        Err(error) if !error.is(Errno::NOENT) => Err(Error::caused("remove nftables table", name, error)),
        _ => Ok(()),
    }
}

/// Chains of others that drop what they do not know at the forward hook, as `family table chain`.
///
/// Such a chain (dockerd makes one of iptables' FORWARD) throws the containers' packets away whatever our table
/// says: the bridge has to be accepted there, for dockerd in its chain DOCKER-USER.
///
/// # Errors
/// The kernel's for the listing.
pub fn other_firewalls() -> Result<Vec<String>> {
    let mut socket =
        Socket::open(Family::Netfilter).map_err(|e| Error::caused("open nftables", "socket", e))?;
    let chains = nftables::base_chains(&mut socket, Hook::Forward)
        .map_err(|e| Error::caused("list chains", "of nftables", e))?;
    let family = |number: u8| match number {
        nftables::INET => "inet",
        nftables::IPV4 => "ip",
        nftables::IPV6 => "ip6",
        _ => "other",
    };
    let named =
        |chain: &nftables::BaseChain| format!("{} {} {}", family(chain.family), chain.table, chain.name);
    let dropping = chains.iter().filter(|chain| chain.drops && chain.family != nftables::IPV6);
    Ok(dropping.map(named).collect())
}
