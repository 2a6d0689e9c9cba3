//! Limits of either version, in runc's order and with its messages.

use super::{Cgroup, device, v1, v2};
use crate::{Error, Result};
use alloc::{
    format,
    string::{String, ToString},
};
use tare_sys::{Errno, cgroup};
use tare_types::spec::{LinuxMemory, LinuxResources};

/// Whether device rules are set. An update of a running container leaves them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Devices {
    Set,
    /// Beside the program that systemd attaches.
    SetBeside,
    Keep,
}

pub(super) fn apply(made: &Cgroup, resources: &LinuxResources, devices: Devices) -> Result<()> {
    if devices != Devices::Keep && !made.paths.is_empty() {
        set_devices(made, resources, devices)?;
    }
    if made.is_v2() {
        return v2::apply(&made.paths[""], resources);
    }
    v1::apply(made, resources)
}

/// Whether version 2 needs a domain cgroup for these.
pub(super) fn needs_domain(resources: &LinuxResources) -> bool {
    resources.memory.is_some()
        || resources.block_io.is_some()
        || resources.cpu.as_ref().is_some_and(|cpu| cpu.shares.is_some() || cpu.quota.is_some())
        || !resources.hugepage_limits.is_empty()
}

fn set_devices(made: &Cgroup, resources: &LinuxResources, devices: Devices) -> Result<()> {
    let policy = device::Policy::from_rules(&resources.devices)?;
    let done = if made.is_v2() {
        let directory = &made.paths[""];
        if devices == Devices::SetBeside { policy.attach_beside(directory) } else { policy.attach(directory) }
    } else {
        made.paths.get("devices").map_or(Ok(()), |directory| policy.write(directory))
    };
    // Without privileges no device rule can be set, and none is needed: the user may not make nodes either.
    if made.rootless { Ok(()) } else { done }
}

/// Refuses an update for lack of memory before any of it is done, if that is asked for.
pub(super) fn check_before(made: &Cgroup, resources: &LinuxResources) -> Result<()> {
    let (Some(memory), Some(directory)) = (&resources.memory, made.directory("memory")) else {
        return Ok(());
    };
    let file = if made.is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
    check_memory(directory, file, memory)
}

/// Quota and period that are in force, in the form of `cpu.max`; empty without the controller.
pub(super) fn bandwidth(made: &Cgroup) -> String {
    let Some(directory) = made.directory("cpu") else { return String::new() };
    let read = |name| cgroup::read(directory, name).unwrap_or_default();
    if made.is_v2() {
        return read("cpu.max");
    }
    read("cpu.cfs_quota_us").trim().to_string() + " " + read("cpu.cfs_period_us").trim()
}

/// Writes a limit; the error names what was limited.
pub(super) fn write(directory: &str, name: &str, value: &str) -> Result<()> {
    cgroup::write(directory, name, value).map_err(|error| {
        let what = match error.errno() {
            Errno::NOENT => "limit resources (is the controller enabled on this host?)",
            _ => "limit resources",
        };
        Error::system(what, error)
    })
}

/// Refuses a limit that is below what is in use, if that is asked for.
pub(super) fn check_memory(directory: &str, usage_file: &str, memory: &LinuxMemory) -> Result<()> {
    if memory.check_before_update != Some(true) {
        return Ok(());
    }
    let Some(usage) = cgroup::read(directory, usage_file).ok().and_then(|text| cgroup::number(&text)) else {
        return Ok(());
    };
    let refuse = |what: &str, limit: Option<i64>| match limit {
        Some(limit) if limit > 0 && limit as u64 <= usage => {
            Err(Error::invalid("memory", format!("rejecting {what} limit {limit} <= usage {usage}")))
        }
        _ => Ok(()),
    };
    refuse("memory+swap", memory.swap)?;
    refuse("memory", memory.limit)
}

/// The name in `hugetlb.<size>.…` files: the page size of the configuration with the kernel's spelling.
pub(super) fn huge_page_file(size: &str, suffix: &str) -> Result<String> {
    let known = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !known {
        return Err(Error::invalid("hugepageLimits", format!("invalid page size {size:?}")));
    }
    Ok(format!("hugetlb.{size}.{suffix}"))
}

/// A value that means "not set": absent or zero.
pub(super) fn set<T: Default + PartialEq + Copy>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}
