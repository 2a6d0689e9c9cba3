//! Limits of version 1.

use super::Cgroup;
use super::limits::{check_memory, huge_page_file, set, write};
use crate::{Error, Result};
use alloc::{
    format,
    string::{String, ToString},
};
use tare_sys::{Errno, cgroup};
use tare_types::spec::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxResources,
    LinuxThrottleDevice,
};

pub(super) fn apply(made: &Cgroup, resources: &LinuxResources) -> Result<()> {
    if !resources.unified.is_empty() {
        return Err(Error::invalid("unified", "invalid configuration: cannot use unified on cgroup v1"));
    }
    let at = |controller: &'static str| {
        made.paths.get(controller).map(String::as_str).ok_or_else(|| {
            let detail = format!("cannot set {controller} limit: container could not join or create cgroup");
            Error::invalid("resources", detail)
        })
    };
    if let Some(cpu) = &resources.cpu {
        if !cpu.cpus.is_empty() || !cpu.mems.is_empty() {
            set_cpuset(at("cpuset")?, cpu)?;
        }
        if has_time(cpu) {
            set_cpu(at("cpu")?, cpu)?;
        }
    }
    if let Some(memory) = resources.memory.as_ref().filter(|memory| **memory != LinuxMemory::default()) {
        set_memory(at("memory")?, memory)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| set(pids.limit)) {
        let value = if limit > 0 { limit.to_string() } else { "max".to_string() };
        write(at("pids")?, "pids.max", &value)?;
    }
    if let Some(block_io) = resources.block_io.as_ref().filter(|io| **io != LinuxBlockIo::default()) {
        set_block_io(at("blkio")?, block_io)?;
    }
    for limit in &resources.hugepage_limits {
        set_huge_pages(at("hugetlb")?, limit)?;
    }
    if let Some(network) = &resources.network {
        set_network(network, &at)?;
    }
    for (device, limits) in &resources.rdma {
        write(at("rdma")?, "rdma.max", &super::v2::rdma_line(device, limits))?;
    }
    Ok(())
}

pub(super) fn set_cpuset(directory: &str, cpu: &LinuxCpu) -> Result<()> {
    if !cpu.cpus.is_empty() {
        write(directory, "cpuset.cpus", &cpu.cpus)?;
    }
    if !cpu.mems.is_empty() {
        write(directory, "cpuset.mems", &cpu.mems)?;
    }
    Ok(())
}

fn has_time(cpu: &LinuxCpu) -> bool {
    let only_sets = LinuxCpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..LinuxCpu::default() };
    *cpu != only_sets
}

fn set_cpu(at: &str, cpu: &LinuxCpu) -> Result<()> {
    set_realtime(at, cpu)?;
    if let Some(shares) = set(cpu.shares) {
        write(at, "cpu.shares", &shares.to_string())?;
        // The kernel cuts the value to its range without a word.
        let read =
            cgroup::read(at, "cpu.shares").ok().and_then(|text| cgroup::number(&text)).unwrap_or(shares);
        if shares != read {
            let bound = if shares > read { "maximum" } else { "minimum" };
            return Err(Error::invalid("cpu.shares", format!("the {bound} allowed cpu-shares is {read}")));
        }
    }
    set_bandwidth(at, cpu)?;
    if let Some(idle) = cpu.idle {
        write(at, "cpu.idle", &idle.to_string())?;
    }
    Ok(())
}

/// Period, burst and quota bound each other and their parents': a value that is refused is tried once more after
/// the quota.
fn set_bandwidth(at: &str, cpu: &LinuxCpu) -> Result<()> {
    let quota = set(cpu.quota);
    let mut later = [None, None];
    let first = [("cpu.cfs_period_us", set(cpu.period)), ("cpu.cfs_burst_us", cpu.burst)];
    for (slot, (file, value)) in later.iter_mut().zip(first) {
        let Some(value) = value else { continue };
        match write(at, file, &value.to_string()) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(Errno::INVAL) && quota.is_some() => {
                *slot = Some((file, value))
            }
            // Kernels before 5.14 have no burst.
            Err(error) if error.errno() == Some(Errno::NOENT) && file == "cpu.cfs_burst_us" => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(quota) = quota {
        write(at, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    later.into_iter().flatten().try_for_each(|(file, value)| write(at, file, &value.to_string()))
}

/// As for the quota: the period may have to wait for the runtime.
fn set_realtime(at: &str, cpu: &LinuxCpu) -> Result<()> {
    let (mut period, runtime) = (set(cpu.realtime_period), set(cpu.realtime_runtime));
    if let Some(value) = period {
        match write(at, "cpu.rt_period_us", &value.to_string()) {
            Ok(()) => period = None,
            Err(error) if error.errno() == Some(Errno::INVAL) && runtime.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(runtime) = runtime {
        write(at, "cpu.rt_runtime_us", &runtime.to_string())?;
    }
    period.map_or(Ok(()), |value| write(at, "cpu.rt_period_us", &value.to_string()))
}

fn set_memory(at: &str, memory: &LinuxMemory) -> Result<()> {
    check_memory(at, "memory.usage_in_bytes", memory)?;
    set_memory_and_swap(at, memory)?;
    // Kernel memory limits are gone from the kernel; runc ignores them too.
    if let Some(reservation) = set(memory.reservation) {
        write(at, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if memory.disable_oom_killer == Some(true) {
        write(at, "memory.oom_control", "1")?;
    }
    match memory.swappiness {
        // Docker's "unset" of -1 as it arrives here.
        None | Some(u64::MAX) => Ok(()),
        Some(value) if value <= 100 => write(at, "memory.swappiness", &value.to_string()),
        Some(value) => {
            let detail = format!("invalid memory swappiness value: {value} (valid range is 0-100)");
            Err(Error::invalid("memory.swappiness", detail))
        }
    }
}

/// The limit of both together must never be below that of memory alone: the one that makes room goes first.
fn set_memory_and_swap(at: &str, memory: &LinuxMemory) -> Result<()> {
    let limit = set(memory.limit);
    let mut both = set(memory.swap);
    if limit == Some(-1) && both.is_none() && cgroup::read(at, SWAP_LIMIT).is_ok() {
        both = Some(-1);
    }
    let current = || cgroup::read(at, "memory.limit_in_bytes").ok().and_then(|text| cgroup::number(&text));
    let swap_first = match (limit, both) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(both)) => current().is_some_and(|current| i128::from(current) < i128::from(both)),
        _ => false,
    };
    let set_swap = || both.map_or(Ok(()), |both| write(at, SWAP_LIMIT, &both.to_string()));
    let set_limit = || limit.map_or(Ok(()), |limit| set_memory_limit(at, limit));
    if swap_first { set_swap().and_then(|()| set_limit()) } else { set_limit().and_then(|()| set_swap()) }
}

const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

fn set_memory_limit(at: &str, limit: i64) -> Result<()> {
    match write(at, "memory.limit_in_bytes", &limit.to_string()) {
        Err(error) if error.errno() == Some(Errno::BUSY) => {
            let read = |name| cgroup::read(at, name).ok().and_then(|text| cgroup::number(&text)).unwrap_or(0);
            let (usage, peak) = (read("memory.usage_in_bytes"), read("memory.max_usage_in_bytes"));
            let detail =
                format!("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})");
            Err(Error::invalid("memory.limit", detail))
        }
        other => other,
    }
}

fn set_block_io(at: &str, io: &LinuxBlockIo) -> Result<()> {
    let weights = io.weight.is_some() || !io.weight_device.is_empty();
    // With the bfq scheduler the weights have its name.
    let bfq = weights && cgroup::read(at, "blkio.bfq.weight").is_ok();
    let prefix = if bfq { "blkio.bfq." } else { "blkio." };
    if let Some(weight) = set(io.weight) {
        write(at, &format!("{prefix}weight"), &weight.to_string())?;
    }
    if let Some(weight) = set(io.leaf_weight) {
        write(at, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in &io.weight_device {
        let line = |weight| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = set(device.weight) {
            write(at, &format!("{prefix}weight_device"), &line(weight))?;
        }
        if let Some(weight) = set(device.leaf_weight) {
            write(at, "blkio.leaf_weight_device", &line(weight))?;
        }
    }
    let rates: [(&str, &[LinuxThrottleDevice]); 4] = [
        ("read_bps", &io.throttle_read_bps_device),
        ("write_bps", &io.throttle_write_bps_device),
        ("read_iops", &io.throttle_read_iops_device),
        ("write_iops", &io.throttle_write_iops_device),
    ];
    for (name, devices) in rates {
        for device in devices {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            write(at, &format!("blkio.throttle.{name}_device"), &line)?;
        }
    }
    Ok(())
}

fn set_huge_pages(at: &str, limit: &LinuxHugepageLimit) -> Result<()> {
    let value = limit.limit.to_string();
    write(at, &huge_page_file(&limit.page_size, "limit_in_bytes")?, &value)?;
    match write(at, &huge_page_file(&limit.page_size, "rsvd.limit_in_bytes")?, &value) {
        // Kernels before 5.7 do not count reservations.
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn set_network<'a>(network: &LinuxNetwork, at: &impl Fn(&'static str) -> Result<&'a str>) -> Result<()> {
    if let Some(class) = set(network.class_id) {
        write(at("net_cls")?, "net_cls.classid", &class.to_string())?;
    }
    for priority in &network.priorities {
        let line = format!("{} {}", priority.name, priority.priority);
        write(at("net_prio")?, "net_prio.ifpriomap", &line)?;
    }
    Ok(())
}
