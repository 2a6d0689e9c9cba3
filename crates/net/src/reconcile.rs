//! Making the kernel agree with the records, after a crash or when somebody else meddled.

use crate::{
    ContainerKey, Error, Leftover, Network, ReconcileReport, Result, bridge::Bridge, doctor, shared::Shared,
};
use tare_sys::netlink::{Batch, route};

pub(crate) fn reconcile(shared: &Shared, live: &[ContainerKey]) -> Result<ReconcileReport> {
    let mut report = ReconcileReport::default();
    release_dead(shared, live, &mut report)?;
    let links =
        route::links(&mut shared.route()).map_err(|e| Error::caused("list interfaces", "of the host", e))?;
    let needed: Vec<Network> = {
        let state = shared.state();
        let active = state.active.iter();
        let active: Vec<_> =
            active.filter_map(|(key, n)| Some((key, &state.records.get(n)?.sandbox))).collect();
        for (container, sandbox) in &active {
            let lost = |name: &str| !links.iter().any(|link| link.name == name);
            if sandbox.endpoints().any(|(_, endpoint)| lost(&endpoint.interface)) {
                report.damaged.push((*container).clone());
            }
        }
        let used = |id: &str| active.iter().any(|(_, sandbox)| sandbox.endpoints().any(|(on, _)| on == id));
        state.definitions.all().iter().filter(|network| used(&network.id)).cloned().collect()
    };
    for network in &needed {
        let bridge = shared.bridge(network, true)?;
        reattach_ports(shared, &links, &bridge, &network.id)?;
    }
    remove_strays(shared, &links, &mut report)?;
    report.forwarding_enabled = shared.state().forwarding_enabled;
    Ok(report)
}

fn release_dead(shared: &Shared, live: &[ContainerKey], report: &mut ReconcileReport) -> Result<()> {
    {
        let mut state = shared.state();
        let dead: Vec<_> = state.active.iter().filter(|(container, _)| !live.contains(container)).collect();
        let dead: Vec<_> = dead.into_iter().map(|(container, number)| (container.clone(), *number)).collect();
        for (container, number) in dead {
            state.begin_release(number)?;
            report.released.push(container);
        }
    }
    shared.changed.notify_all();
    Ok(())
}

/// Interfaces of live containers become ports of the bridge again, where it was made anew.
fn reattach_ports(shared: &Shared, links: &[route::Link], bridge: &Bridge, network: &str) -> Result<()> {
    let own: Vec<String> = {
        let state = shared.state();
        let records = state.active.values().filter_map(|number| state.records.get(number));
        let endpoints = records.flat_map(|record| record.sandbox.endpoints());
        endpoints.filter(|(on, _)| *on == network).map(|(_, e)| e.interface.clone()).collect()
    };
    let mut batch = Batch::new();
    let loose = |link: &&route::Link| link.master != Some(bridge.index) && own.contains(&link.name);
    for link in links.iter().filter(loose) {
        route::set_master(&mut batch, route::Which::Index(link.index), bridge.index);
        if bridge.hairpin {
            route::set_hairpin(&mut batch, &link.name);
        }
    }
    let done = shared.route().execute(&mut batch);
    done.map_err(|e| Error::caused("attach interfaces to", &bridge.interface, e))
}

/// Removes interfaces of this instance no record knows, as an attempt that was killed leaves them.
fn remove_strays(shared: &Shared, links: &[route::Link], report: &mut ReconcileReport) -> Result<()> {
    let prefix = shared.config.interface_prefix();
    for link in links.iter().filter(|link| link.kind == "veth" && link.name.starts_with(&prefix)) {
        let known =
            shared.state().records.values().any(|record| {
                record.sandbox.endpoints().any(|(_, endpoint)| endpoint.interface == link.name)
            });
        if known {
            continue;
        }
        let stray = Leftover::Interface(link.name.clone());
        doctor::remove_interface(&mut shared.route(), &link.name)?;
        report.removed.push(stray);
    }
    remove_stray_bridges(shared, links, report)
}

/// Removes bridges of networks whose definition is gone: a removal that was killed in the middle.
fn remove_stray_bridges(shared: &Shared, links: &[route::Link], report: &mut ReconcileReport) -> Result<()> {
    let prefix = shared.config.bridge_prefix();
    for link in links.iter().filter(|link| link.kind == "bridge" && link.name.starts_with(&prefix)) {
        let defined = |name: &str| {
            let state = shared.state();
            state.definitions.all().iter().any(|network| network.interface.as_deref() == Some(name))
        };
        if !defined(&link.name) {
            doctor::remove_interface(&mut shared.route(), &link.name)?;
            report.removed.push(Leftover::Bridge(link.name.clone()));
        }
    }
    Ok(())
}
