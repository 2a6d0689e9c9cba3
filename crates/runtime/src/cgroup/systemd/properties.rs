//! Limits as properties of a unit: what systemd would otherwise write over, the next time it touches the cgroup.
//!
//! What systemd has no property for, or not in this version, is written to the cgroup's files alone. Both get the same
//! values.

use super::super::conversion::{io_weight, swap_alone, weight_from_shares};
use super::super::device::Policy;
use super::super::limits::set;
use super::wire::{Property, Value};
use crate::{Error, Result};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use tare_types::spec::{LinuxCpu, LinuxMemory, LinuxResources};

/// The kernel's, in microseconds.
const USUAL_PERIOD: u64 = 100_000;
/// systemd knows processors in units of 10 ms per second.
const STEP: u64 = 10_000;
const INFINITY: u64 = u64::MAX;

/// systemd's version, asked only where it matters.
pub(super) type Version<'a> = &'a mut dyn FnMut() -> Result<u32>;

/// Properties that collect.
struct List<'a> {
    properties: Vec<Property>,
    version: Version<'a>,
}

impl List<'_> {
    fn number(&mut self, name: &'static str, value: u64) {
        self.properties.push(Property::new(name, Value::U64(value)));
    }

    fn since(&mut self, least: u32) -> Result<bool> {
        Ok((self.version)()? >= least)
    }

    fn bandwidth(&mut self, quota: i64, period: u64) -> Result<()> {
        if period != 0 && self.since(242)? {
            self.number("CPUQuotaPeriodUSec", period);
        }
        if quota != 0 || period != 0 {
            self.number("CPUQuotaPerSecUSec", per_second(quota, period));
        }
        Ok(())
    }

    /// `AllowedCPUs` and `AllowedMemoryNodes`.
    fn set_of(&mut self, name: &'static str, what: &str, list: &str) -> Result<()> {
        if !list.is_empty() && self.since(244)? {
            let bits = bits(list).ok_or_else(|| {
                Error::invalid(what, format!("{list:?} conversion error: not a list of numbers and ranges"))
            })?;
            self.properties.push(Property::new(name, Value::bytes(&bits)));
        }
        Ok(())
    }
}

/// Properties for version 2.
pub(super) fn of_v2(resources: &LinuxResources, version: Version<'_>) -> Result<Vec<Property>> {
    let mut list = List { properties: Vec::new(), version };
    if let Some(memory) = &resources.memory {
        memory_v2(&mut list, memory)?;
    }
    let mut idle = false;
    if let Some(cpu) = &resources.cpu {
        idle = cpu.idle == Some(1) && list.since(252)?;
        if idle {
            // systemd's word for an idle cgroup.
            list.number("CPUWeight", 0);
        } else if let Some(shares) = set(cpu.shares) {
            list.number("CPUWeight", weight_from_shares(shares));
        }
        list.bandwidth(cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0))?;
        list.set_of("AllowedCPUs", "resources.CPU.Cpus", &cpu.cpus)?;
        list.set_of("AllowedMemoryNodes", "resources.CPU.Mems", &cpu.mems)?;
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| set(io.weight)) {
        list.number("IOWeight", io_weight(weight));
    }
    tasks(&mut list, resources);
    unified(&mut list, &resources.unified, idle)?;
    Ok(list.properties)
}

/// Properties for version 1, where systemd still knows it.
pub(super) fn of_v1(resources: &LinuxResources, version: Version<'_>) -> Result<Vec<Property>> {
    let mut list = List { properties: Vec::new(), version };
    if let Some(limit) = resources.memory.as_ref().and_then(|memory| set(memory.limit)) {
        list.number("MemoryLimit", limit as u64);
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = set(cpu.shares) {
            list.number("CPUShares", shares);
        }
        list.bandwidth(cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0))?;
        list.set_of("AllowedCPUs", "resources.CPU.Cpus", &cpu.cpus)?;
        list.set_of("AllowedMemoryNodes", "resources.CPU.Mems", &cpu.mems)?;
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| set(io.weight)) {
        list.number("BlockIOWeight", u64::from(weight));
    }
    tasks(&mut list, resources);
    Ok(list.properties)
}

fn memory_v2(list: &mut List<'_>, memory: &LinuxMemory) -> Result<()> {
    // -1, no limit, is systemd's infinity.
    if let Some(limit) = set(memory.limit) {
        list.number("MemoryMax", limit as u64);
    }
    if let Some(reservation) = set(memory.reservation) {
        list.number("MemoryLow", reservation as u64);
    }
    if let Some(swap) = swap_alone(memory.limit.unwrap_or(0), memory.swap.unwrap_or(0))? {
        list.number("MemorySwapMax", swap as u64);
    }
    Ok(())
}

fn tasks(list: &mut List<'_>, resources: &LinuxResources) {
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| set(pids.limit)) {
        list.number("TasksMax", u64::try_from(limit).unwrap_or(INFINITY));
    }
}

/// Files by name that systemd has a property for.
fn unified(list: &mut List<'_>, files: &BTreeMap<String, String>, already_idle: bool) -> Result<()> {
    let idle_file = files.get("cpu.idle").is_some_and(|value| value.trim() == "1");
    let idle = !already_idle && idle_file && list.since(252)?;
    if idle {
        list.number("CPUWeight", 0);
    }
    for (file, value) in files {
        let value = value.trim();
        let wrong =
            || Error::invalid(format!("unified resource {file:?}"), format!("value invalid: {value:?}"));
        let number = || match value {
            "max" => Ok(INFINITY),
            value => value.parse::<u64>().map_err(|_| wrong()),
        };
        match file.as_str() {
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let quota = match words.next().ok_or_else(wrong)? {
                    "max" => 0,
                    quota => quota.parse().map_err(|_| wrong())?,
                };
                let period =
                    words.next().map_or(Ok(USUAL_PERIOD), |word| word.parse().map_err(|_| wrong()))?;
                list.bandwidth(quota, period)?;
            }
            "cpu.weight" if !idle && !already_idle => list.number("CPUWeight", number()?),
            "cpuset.cpus" => list.set_of("AllowedCPUs", file, value)?,
            "cpuset.mems" => list.set_of("AllowedMemoryNodes", file, value)?,
            "memory.high" => list.number("MemoryHigh", number()?),
            "memory.low" => list.number("MemoryLow", number()?),
            "memory.min" => list.number("MemoryMin", number()?),
            "memory.max" => list.number("MemoryMax", number()?),
            "memory.swap.max" => list.number("MemorySwapMax", number()?),
            // systemd takes no 0.
            "pids.max" => list.number("TasksMax", number()?.max(1)),
            // The rest is written to its file alone.
            _ => {}
        }
    }
    Ok(())
}

/// `memory.oom.group` can be said only when the unit is made.
pub(super) fn oom_policy(resources: &LinuxResources, version: Version<'_>) -> Result<Option<Property>> {
    let policy = match resources.unified.get("memory.oom.group").map(|value| value.trim()) {
        Some("0") => "continue",
        Some("1") => "kill",
        _ => return Ok(None),
    };
    Ok((version()? >= 253).then(|| Property::new("OOMPolicy", Value::text(policy))))
}

/// Microseconds of processor time per second, as systemd rounds them.
fn per_second(quota: i64, period: u64) -> u64 {
    let Some(quota) = u64::try_from(quota).ok().filter(|quota| *quota > 0) else { return INFINITY };
    let period = if period == 0 { USUAL_PERIOD } else { period };
    // More than fits is more than any machine has.
    let exact = quota.checked_mul(1_000_000).map(|scaled| scaled / period);
    exact.and_then(|exact| exact.checked_next_multiple_of(STEP)).unwrap_or(INFINITY)
}

/// Makes the quota what systemd makes of it, so that the file agrees with the unit.
pub(super) fn round(cpu: &mut LinuxCpu) {
    let Some(quota) = cpu.quota.filter(|quota| *quota > 0) else { return };
    let period = set(cpu.period).unwrap_or(USUAL_PERIOD);
    let scaled = (quota as u64).checked_mul(1_000_000);
    if scaled.is_some_and(|scaled| !(scaled / period).is_multiple_of(STEP)) {
        let rounded = per_second(quota, period).checked_mul(period).map(|scaled| scaled / 1_000_000);
        cpu.quota = rounded.and_then(|rounded| i64::try_from(rounded).ok()).or(cpu.quota);
    }
}

/// The rules for devices. systemd attaches a program (version 2) or writes a list (version 1) of its own, and does so
/// again after `daemon-reload`: what it has must not contradict the rules of the container.
pub(super) fn of_devices(all: &mut Vec<Property>, policy: &Policy, v2: bool) {
    let (list, whole) = policy.allow_list();
    // An empty list takes away what an older unit of this name may have had.
    all.push(Property::new("DeviceAllow", Value::Pairs(Vec::new())));
    // systemd cannot say "all but these", nor "this minor number of any driver". In version 2 our own program, which
    // systemd leaves alone, says it, and systemd is to say nothing; version 1 has one list, and an open one would be
    // in force until ours is written, and after each reload.
    let open = (policy.allow && policy.exceptions.is_empty()) || (v2 && !whole);
    all.push(Property::new("DevicePolicy", Value::text(if open { "auto" } else { "strict" })));
    if !open {
        all.push(Property::new("DeviceAllow", Value::Pairs(list)));
    }
}

/// A list of numbers and ranges as bits, the lowest byte first.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has.
    const MOST: usize = 1 << 16;
    let mut bits: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < MOST);
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0);
        }
        for bit in first..=last {
            *bits.get_mut(bit / 8)? |= 1 << (bit % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// An absent half of quota and period is what the file has: systemd is told both.
pub(super) fn complete(cpu: &mut LinuxCpu, file: &str) {
    let mut words = file.split_whitespace();
    let (quota, period) = (words.next(), words.next());
    match (set(cpu.quota), set(cpu.period)) {
        (Some(_), None) => cpu.period = period.and_then(|word| word.parse().ok()),
        (None, Some(_)) => cpu.quota = quota.and_then(|word| word.parse().ok()).or(Some(-1)),
        _ => {}
    }
}

#[cfg(test)]
#[path = "properties/tests.rs"]
mod tests;
