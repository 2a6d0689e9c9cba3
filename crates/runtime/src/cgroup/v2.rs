//! Limits of version 2.

use super::conversion::{io_weight, swap_alone, weight_from_shares};
use super::limits::{check_memory, huge_page_file, set, write};
use crate::{Error, Result};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};
use tare_sys::{Errno, cgroup};
use tare_types::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice};

pub(super) fn apply(at: &str, resources: &LinuxResources) -> Result<()> {
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| set(pids.limit)) {
        write(at, "pids.max", &or_max(limit))?;
    }
    if let Some(memory) = &resources.memory {
        set_memory(at, memory)?;
    }
    if let Some(block_io) = &resources.block_io {
        set_block_io(at, block_io)?;
    }
    if let Some(cpu) = &resources.cpu {
        set_cpu(at, cpu)?;
    }
    for limit in &resources.hugepage_limits {
        let value = limit.limit.to_string();
        write(at, &huge_page_file(&limit.page_size, "max")?, &value)?;
        match write(at, &huge_page_file(&limit.page_size, "rsvd.max")?, &value) {
            // Kernels before 5.7 do not count reservations.
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            other => other?,
        }
    }
    for (device, limits) in &resources.rdma {
        write(at, "rdma.max", &rdma_line(device, limits))?;
    }
    set_unified(at, &resources.unified)
}

/// `mlx5_1 hca_handle=3 hca_object=10000`; what is absent is unlimited.
pub(super) fn rdma_line(device: &str, limits: &LinuxRdma) -> String {
    let value = |limit: Option<u32>| limit.map_or_else(|| "max".to_string(), |limit| limit.to_string());
    format!("{device} hca_handle={} hca_object={}", value(limits.hca_handles), value(limits.hca_objects))
}

fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_string() } else { limit.to_string() }
}

fn set_memory(at: &str, memory: &LinuxMemory) -> Result<()> {
    let (limit, both) = (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0));
    if limit == 0 && both == 0 && set(memory.reservation).is_none() {
        return Ok(());
    }
    check_memory(at, "memory.current", memory)?;
    if let Some(swap) = swap_alone(limit, both)? {
        match write(at, "memory.swap.max", &or_max(swap)) {
            // Without swap accounting there is nothing to lift or to forbid.
            Err(error) if error.errno() == Some(Errno::NOENT) && swap <= 0 => {}
            other => other?,
        }
    }
    if limit != 0 {
        write(at, "memory.max", &or_max(limit))?;
    }
    if let Some(reservation) = set(memory.reservation) {
        write(at, "memory.low", &or_max(reservation))?;
    }
    // Swappiness, the OOM killer's switch and kernel memory do not exist in version 2; runc ignores them.
    Ok(())
}

fn set_cpu(at: &str, cpu: &LinuxCpu) -> Result<()> {
    if let Some(idle) = cpu.idle {
        write(at, "cpu.idle", &idle.to_string())?;
    }
    // An idle cgroup has no weight.
    if let Some(shares) = set(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        write(at, "cpu.weight", &weight_from_shares(shares).to_string())?;
    }
    let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
    let bandwidth = quota != 0 || period != 0;
    let mut burst_later = None;
    if let Some(burst) = cpu.burst {
        match write(at, "cpu.max.burst", &burst.to_string()) {
            Err(error) if error.errno() == Some(Errno::INVAL) && bandwidth => burst_later = Some(burst),
            other => other?,
        }
    }
    if bandwidth {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_string() };
        let period = if period == 0 { 100_000 } else { period };
        write(at, "cpu.max", &format!("{quota} {period}"))?;
    }
    if let Some(burst) = burst_later {
        write(at, "cpu.max.burst", &burst.to_string())?;
    }
    if !cpu.cpus.is_empty() {
        write(at, "cpuset.cpus", &cpu.cpus)?;
    }
    if !cpu.mems.is_empty() {
        write(at, "cpuset.mems", &cpu.mems)?;
    }
    Ok(())
}

fn set_block_io(at: &str, io: &LinuxBlockIo) -> Result<()> {
    let weights = set(io.weight).is_some() || !io.weight_device.is_empty();
    let bfq = if weights { cgroup::read(at, "io.bfq.weight").ok() } else { None };
    if let Some(weight) = set(io.weight) {
        match &bfq {
            Some(_) => write(at, "io.bfq.weight", &weight.to_string())?,
            None => write(at, "io.weight", &io_weight(weight).to_string())?,
        }
    }
    // Kernels that answer with a bare number know no weights by device.
    if bfq.is_some_and(|text| cgroup::number(&text).is_none()) {
        for device in &io.weight_device {
            let weight = device.weight.unwrap_or(0);
            write(at, "io.bfq.weight", &format!("{}:{} {weight}", device.major, device.minor))?;
        }
    }
    let rates: [(&str, &[LinuxThrottleDevice]); 4] = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (key, devices) in rates {
        for device in devices {
            write(at, "io.max", &format!("{}:{} {key}={}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

/// Files by name, each line of a value written by itself as `io.max` and its like want it.
fn set_unified(at: &str, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in files {
        let refuse =
            |detail: &str| Err(Error::invalid("unified", format!("unified resource {name:?} {detail}")));
        let Some((controller, _)) = name.split_once('.').filter(|_| !name.contains('/')) else {
            return refuse(if name.contains('/') {
                "must be a file name (no slashes)"
            } else {
                "must be in the form CONTROLLER.PARAMETER"
            });
        };
        for line in value.lines() {
            match write(at, name, line) {
                Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::PERM | Errno::ACCESS)) => {
                    let available = cgroup::read(at, "cgroup.controllers").unwrap_or_default();
                    if controller != "cgroup"
                        && !available.split_whitespace().any(|known| known == controller)
                    {
                        return refuse(&format!("can't be set: controller {controller:?} not available"));
                    }
                    return Err(error);
                }
                other => other?,
            }
        }
    }
    Ok(())
}
