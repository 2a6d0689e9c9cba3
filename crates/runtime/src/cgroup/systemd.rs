//! Cgroups through systemd: a container is a transient scope.
//!
//! The scope is made by one StartTransientUnit with all its properties, before there is a process of the container. As
//! systemd makes no scope without a process, a child of ours that does nothing holds the place: it ends when the
//! container's first process is in, or when its parent dies, and an empty scope is collected by systemd. From then on
//! the cgroup is like any other: exec, freeze, kill and statistics use its files and ask systemd nothing. Names,
//! properties and their values are those of runc's systemd drivers. Not here: slices as units of their own.

mod annotation;
mod bus;
mod name;
mod occupant;
mod properties;
mod wire;

pub(crate) use name::UnitPath;
pub(crate) use occupant::Occupant;

use super::{Cgroup, CgroupOptions, device::Policy, limits, make, remove};
use crate::{Error, Result};
use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use bus::{Bus, OPERATION};
use properties::Version;
use rustix::fs::FileType;
use tare_sys::cgroup::{self as files, Mounts};
use tare_types::{ErrorKind, spec::LinuxResources};
use wire::{Property, Value, Writer};

/// sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// Where the machine's manager listens; the bus in front of it, where that is not reached.
const SYSTEM: [&str; 2] = ["unix:path=/run/systemd/private", "unix:path=/run/dbus/system_bus_socket"];

/// Which systemd: the machine's or a user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manager {
    /// D-Bus addresses, tried in their order.
    addresses: Vec<String>,
    user: bool,
}

impl Manager {
    pub(crate) fn system() -> Self {
        Self { addresses: SYSTEM.map(ToOwned::to_owned).into(), user: false }
    }

    pub(crate) fn of_user(addresses: &[String]) -> Self {
        Self { addresses: addresses.to_vec(), user: true }
    }

    fn connect(&self) -> Result<Bus> {
        if self.addresses.is_empty() {
            let detail = "no address of the user's systemd: neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set";
            return Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "", detail));
        }
        Bus::connect(&self.addresses)
    }
}

/// The scope of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    name: String,
    manager: Manager,
}

impl Unit {
    /// The scope of this name, made earlier.
    pub(crate) fn new(name: String, manager: Manager) -> Self {
        Self { name, manager }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a user's systemd that has it.
    pub(crate) fn is_of_user(&self) -> bool {
        self.manager.user
    }

    /// Has systemd move a process in: for a user whose own cgroup is not below the same manager, whom the kernel lets
    /// move nothing across (cgroups(7), "Delegation").
    pub(crate) fn attach(&self, pid: i32) -> Result<()> {
        let mut bus = self.manager.connect()?;
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("/");
        body.array('u', |writer| writer.number(pid as u32));
        bus.call("AttachProcessesToUnit", "ssau", &self.name, body).map(drop)
    }

    /// Ends the unit; one that is not there is ended.
    pub(super) fn stop(&self) -> Result<()> {
        let mut bus = self.manager.connect()?;
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        match bus.call("StopUnit", "ss", &self.name, body) {
            Ok(answer) => drop(bus.wait_for_job(&answer, &self.name)?),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        // One that failed stays until it is told that somebody knows.
        reset(&mut bus, &self.name);
        Ok(())
    }

    /// Changes properties of the unit for as long as it lives.
    fn set(&self, bus: &mut Bus, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&self.name);
        body.bool(true);
        body.properties(properties);
        bus.call("SetUnitProperties", "sba(sv)", &self.name, body).map(drop)
    }

    /// Makes the unit and waits until it is there.
    fn start(&self, bus: &mut Bus, properties: &[Property]) -> Result<()> {
        let answer = match self.ask_to_start(bus, properties) {
            // Left by an earlier container: a failed unit keeps its name until it is reset.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                reset(bus, &self.name);
                self.ask_to_start(bus, properties)?
            }
            answer => answer?,
        };
        let result = bus.wait_for_job(&answer, &self.name)?;
        if result == "done" {
            return Ok(());
        }
        reset(bus, &self.name);
        let detail = format!("error creating systemd unit `{}`: got `{result}`", self.name);
        Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "", detail))
    }

    fn ask_to_start(&self, bus: &mut Bus, properties: &[Property]) -> Result<wire::Message> {
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        body.properties(properties);
        // No further units.
        body.array('(', |_| ());
        bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &self.name, body)
    }
}

fn reset(bus: &mut Bus, unit: &str) {
    let mut body = Writer::default();
    body.text(unit);
    // Only a unit that has failed can be reset; that it has not is no error.
    let _ = bus.call("ResetFailedUnit", "s", unit, body);
}

/// Where the cgroups of the container will be, and its unit; nothing is made yet.
pub(crate) fn resolve(
    mounts: &Mounts,
    options: &CgroupOptions<'_>,
    manager: &Manager,
) -> Result<(Cgroup, UnitPath)> {
    let booted = rustix::fs::lstat(BOOTED).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    if !booted {
        let detail = "systemd not running on this host, cannot use systemd cgroups manager";
        return Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "", detail));
    }
    let path = UnitPath::parse(options.path, options.id)?;
    let unit = Unit { name: path.unit()?, manager: manager.clone() };
    let slice = name::expand(path.slice(manager.user))?;
    // A user's manager has its place somewhere in the machine's tree.
    let top = if manager.user { manager.connect()?.manager_property("ControlGroup")? } else { String::new() };
    let below = format!("{}{slice}/{}", top.trim_end_matches('/'), name::directory(&unit.name));
    let mut paths = BTreeMap::new();
    match mounts {
        Mounts::V2 { mount } => drop(paths.insert(String::new(), files::join(mount, &below))),
        Mounts::V1 { .. } if manager.user => {
            let detail = "a user's systemd has no cgroups of version 1 to give";
            return Err(Error::new(ErrorKind::FailedPrecondition, OPERATION, "", detail));
        }
        Mounts::V1 { hierarchies, unified, .. } => {
            for tree in hierarchies {
                for controller in &tree.controllers {
                    paths.insert(controller.clone(), files::join(&tree.mount, &below));
                }
            }
            if let Some(mount) = unified {
                paths.insert(super::path::UNIFIED.to_string(), files::join(mount, &below));
            }
        }
    }
    Ok((Cgroup { paths, rootless: options.rootless, unit: Some(unit) }, path))
}

/// Makes the unit of [`resolve`], with the limits in force, and a process in it that keeps it.
///
/// What was made is undone on failure.
pub(crate) fn make(
    cgroup: Cgroup,
    options: &CgroupOptions<'_>,
    path: &UnitPath,
    annotations: &BTreeMap<String, String>,
) -> Result<(Cgroup, Occupant)> {
    let unit = cgroup.unit.clone().expect("invariant: `resolve` has named the unit");
    let mut resources = options.resources.cloned().unwrap_or_default();
    if let Some(cpu) = &mut resources.cpu {
        properties::round(cpu);
    }
    let asked = annotation::properties(annotations)?;
    let policy = Policy::from_rules(&resources.devices)?;
    let mut bus = unit.manager.connect()?;
    let mut all = limits_of(&cgroup, &resources, &mut bus)?;
    all.extend(properties::oom_policy(&resources, &mut || bus.version())?);
    let mut occupant = Occupant::new()?;
    identify(&mut all, &cgroup, path, &unit.manager, options.id);
    all.push(Property::new("PIDs", Value::Array('u', [Value::U32(occupant.pid() as u32)].into())));
    properties::of_devices(&mut all, &policy, cgroup.is_v2());
    all.extend(asked);
    unit.start(&mut bus, &all)?;
    let done = make::adopt(cgroup, options, &resources, occupant.pid())
        .and_then(|cgroup| occupant.make_room(&cgroup, &resources).map(|()| cgroup));
    match done {
        Ok(cgroup) => Ok((cgroup, occupant)),
        Err(error) => {
            drop(occupant);
            // The first error is what the caller must see.
            let _ = unit.stop();
            Err(error)
        }
    }
}

/// Limits as properties.
fn limits_of(cgroup: &Cgroup, resources: &LinuxResources, bus: &mut Bus) -> Result<Vec<Property>> {
    let version: Version<'_> = &mut || bus.version();
    if cgroup.is_v2() { properties::of_v2(resources, version) } else { properties::of_v1(resources, version) }
}

/// What the unit is, but for limits.
fn identify(all: &mut Vec<Property>, cgroup: &Cgroup, path: &UnitPath, manager: &Manager, id: &str) {
    let slice = path.slice(manager.user).to_owned();
    all.push(Property::new("Description", Value::Text(format!("container {id}").into())));
    all.push(Property::new("Slice", Value::Text(slice.into())));
    let io = if cgroup.is_v2() { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["Delegate", "MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        all.push(Property::new(name, Value::Bool(true)));
    }
    // Else it would be ended early at shutdown, and need the basic system to start.
    all.push(Property::new("DefaultDependencies", Value::Bool(false)));
}

/// Changes limits: of the unit, then in the files.
pub(super) fn update(cgroup: &Cgroup, unit: &Unit, resources: &LinuxResources) -> Result<()> {
    let mut resources = resources.clone();
    limits::check_before(cgroup, &resources)?;
    if let Some(cpu) = &mut resources.cpu {
        properties::complete(cpu, &limits::bandwidth(cgroup));
        properties::round(cpu);
    }
    let mut bus = unit.manager.connect()?;
    let changed = limits_of(cgroup, &resources, &mut bus)?;
    unit.set(&mut bus, &changed)?;
    limits::apply(cgroup, &resources, limits::Devices::Keep)
}

/// Ends the unit, and removes what systemd does not: directories of controllers that it does not use.
pub(super) fn remove(cgroup: &Cgroup, unit: &Unit) -> Result<()> {
    let stopped = unit.stop();
    let removed = remove::all(cgroup);
    stopped.and(removed)
}
