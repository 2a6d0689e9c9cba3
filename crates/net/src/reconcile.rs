//! Making the kernel agree with the records, after a crash or when somebody else meddled.

use crate::{
    ContainerKey, Error, Leftover, ReconcileReport, Result, bridge::Bridge, doctor, journal::SandboxNumber,
    shared::Shared,
};
use tare_sys::netlink::{Batch, route};

pub(crate) fn reconcile(shared: &Shared, live: &[ContainerKey]) -> Result<ReconcileReport> {
    let mut report = ReconcileReport::default();
    release_dead(shared, live, &mut report)?;
    let links =
        route::links(&mut shared.route()).map_err(|e| Error::caused("list interfaces", "of the host", e))?;
    let bridge_network = shared.network("bridge")?;
    let needed = {
        let state = shared.state();
        let endpoint = |n: &SandboxNumber| state.records.get(n).and_then(|r| r.sandbox.endpoint.as_ref());
        for (container, number) in &state.active {
            if endpoint(number).is_some_and(|e| !links.iter().any(|link| link.name == e.interface)) {
                report.damaged.push(container.clone());
            }
        }
        state.active.values().any(|number| endpoint(number).is_some())
    };
    if needed {
        let bridge = shared.bridge(&bridge_network, true)?;
        reattach_ports(shared, &links, &bridge)?;
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
fn reattach_ports(shared: &Shared, links: &[route::Link], bridge: &Bridge) -> Result<()> {
    let own: Vec<String> = {
        let state = shared.state();
        let records = state.active.values().filter_map(|number| state.records.get(number));
        records.filter_map(|r| r.sandbox.endpoint.as_ref()).map(|e| e.interface.clone()).collect()
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
        let known = shared.state().records.values().any(|record| {
            record.sandbox.endpoint.as_ref().is_some_and(|endpoint| endpoint.interface == link.name)
        });
        if known {
            continue;
        }
        let stray = Leftover::Interface(link.name.clone());
        doctor::remove_interface(&mut shared.route(), &link.name)?;
        report.removed.push(stray);
    }
    Ok(())
}
