//! The container's cgroups at its creation: by their files, or as a scope of systemd's that somebody must keep until the
//! first process is in it.

use super::CreateOptions;
use crate::{
    Result, Runtime,
    cgroup::{
        Cgroup, CgroupOptions,
        systemd::{self, Occupant, Unit, UnitPath},
    },
    state::{BegunState, ConfigCgroups, StateDir},
};
use alloc::collections::BTreeMap;
use core::cell::Cell;

/// What a container has of systemd: how its scope was named, and the process that keeps it for the first one.
pub(super) struct Scope {
    path: UnitPath,
    occupant: Occupant,
    user: bool,
}

/// The container's cgroups with their limits, and its scope if systemd makes them.
pub(super) fn make_cgroup(
    runtime: &Runtime,
    options: &CreateOptions<'_>,
    wanted: &CgroupOptions<'_>,
    dir: &StateDir,
) -> Result<(Cgroup, Option<Scope>, BegunState)> {
    if options.no_cgroups {
        let begun = dir.begin(&BTreeMap::new(), None)?;
        return Ok((Cgroup::from_paths(BTreeMap::new(), true), None, begun));
    }
    let mounts = runtime.cgroup_mounts()?;
    // Once its paths are stored this process may be killed at any line: what it leaves is found by them.
    if !runtime.options().systemd_cgroup {
        let cgroup = Cgroup::resolve(mounts, wanted)?;
        let begun = dir.begin(cgroup.paths(), None)?;
        return Ok((cgroup.make(wanted)?, None, begun));
    }
    let (cgroup, path) = systemd::resolve(mounts, wanted, &runtime.systemd())?;
    let begun = dir.begin(cgroup.paths(), cgroup.unit().map(Unit::name))?;
    let (cgroup, occupant) = systemd::make(cgroup, wanted, &path, &options.spec.annotations)?;
    Ok((cgroup, Some(Scope { path, occupant, user: wanted.rootless }), begun))
}

impl Scope {
    /// The first process is there: the one that kept its place goes. In version 1 it may not be in yet, and the other
    /// one stays until `staying` is dropped. What the state says of the scope.
    pub(super) fn leave(self, cgroup: &Cgroup, staying: &Cell<Option<Occupant>>) -> Result<ConfigCgroups> {
        if cgroup.is_v2() {
            self.occupant.leave()?;
        } else {
            staying.set(Some(self.occupant));
        }
        Ok(ConfigCgroups {
            name: self.path.name,
            parent: self.path.parent,
            scope_prefix: self.path.prefix,
            systemd: true,
            rootless: self.user,
            ..ConfigCgroups::default()
        })
    }
}
