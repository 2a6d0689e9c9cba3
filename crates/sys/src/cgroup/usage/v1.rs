//! Version 1: one directory per controller.

use super::{BlockIo, BlockIoEntry, Counter, Cpu, HugePages, Memory, Pids, Usage, number, optional};
use crate::cgroup::{flat, value_of};
use crate::{Errno, Error, Result};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// USER_HZ: the unit of `cpuacct.stat`, 100 on all our architectures.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn read(directory: impl Fn(&str) -> Option<String>) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut found = false;
    let mut with = |controller: &str, read: &mut dyn FnMut(&str) -> Result<()>| match directory(controller) {
        Some(directory) => {
            found = true;
            read(&directory)
        }
        None => Ok(()),
    };
    with("cpuacct", &mut |at| read_cpuacct(at, &mut usage.cpu))?;
    with("cpu", &mut |at| read_throttling(at, &mut usage.cpu))?;
    with("memory", &mut |at| read_memory(at).map(|memory| usage.memory = memory))?;
    with("pids", &mut |at| read_pids(at).map(|pids| usage.pids = pids))?;
    with("blkio", &mut |at| read_blkio(at).map(|block_io| usage.block_io = block_io))?;
    with("hugetlb", &mut |at| read_hugetlb(at).map(|pages| usage.huge_pages = pages))?;
    if found { Ok(usage) } else { Err(Error::new("find", "cgroup", Errno::NOENT)) }
}

fn read_cpuacct(at: &str, cpu: &mut Cpu) -> Result<()> {
    cpu.total = number(at, "cpuacct.usage")?;
    if let Some(text) = optional(at, "cpuacct.stat")? {
        cpu.user = value_of(&text, "user").unwrap_or(0) * NANOSECONDS_PER_TICK;
        cpu.kernel = value_of(&text, "system").unwrap_or(0) * NANOSECONDS_PER_TICK;
    }
    // "cpu user system" and a line per processor, nanoseconds; older kernels have `cpuacct.usage_percpu` only.
    if let Some(text) = optional(at, "cpuacct.usage_all")? {
        for line in text.lines().skip(1) {
            let mut fields = line.split(' ').skip(1).filter_map(|field| field.parse::<u64>().ok());
            if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
                cpu.per_cpu.push(user + kernel);
                cpu.per_cpu_user.push(user);
                cpu.per_cpu_kernel.push(kernel);
            }
        }
    } else if let Some(text) = optional(at, "cpuacct.usage_percpu")? {
        cpu.per_cpu = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    }
    Ok(())
}

fn read_throttling(at: &str, cpu: &mut Cpu) -> Result<()> {
    if let Some(text) = optional(at, "cpu.stat")? {
        cpu.periods = value_of(&text, "nr_periods").unwrap_or(0);
        cpu.throttled_periods = value_of(&text, "nr_throttled").unwrap_or(0);
        cpu.throttled_time = value_of(&text, "throttled_time").unwrap_or(0);
    }
    Ok(())
}

fn read_memory(at: &str) -> Result<Memory> {
    let details = optional(at, "memory.stat")?.map(|text| flat(&text)).unwrap_or_default();
    let cache = details.iter().find(|(key, _)| key == "cache").map_or(0, |(_, value)| *value);
    Ok(Memory {
        usage: counter(at, "memory")?,
        swap: counter(at, "memory.memsw")?,
        kernel: counter(at, "memory.kmem")?,
        kernel_tcp: counter(at, "memory.kmem.tcp")?,
        cache,
        details,
    })
}

fn counter(at: &str, prefix: &str) -> Result<Counter> {
    let Some(usage) = optional(at, &format!("{prefix}.usage_in_bytes"))? else {
        return Ok(Counter::default());
    };
    Ok(Counter {
        usage: crate::cgroup::number(&usage).unwrap_or(0),
        peak: number(at, &format!("{prefix}.max_usage_in_bytes"))?,
        limit: number(at, &format!("{prefix}.limit_in_bytes"))?,
        failures: number(at, &format!("{prefix}.failcnt"))?,
    })
}

fn read_pids(at: &str) -> Result<Pids> {
    let limit = match number(at, "pids.max")? {
        u64::MAX => 0,
        limit => limit,
    };
    Ok(Pids { current: number(at, "pids.current")?, limit })
}

fn read_blkio(at: &str) -> Result<BlockIo> {
    let entries = |name: &str| -> Result<Vec<BlockIoEntry>> {
        Ok(optional(at, name)?.map(|text| parse_entries(&text)).unwrap_or_default())
    };
    // With the bfq scheduler its own files count, else those of the throttling policy.
    let bytes = entries("blkio.bfq.io_service_bytes_recursive")?;
    if !bytes.is_empty() {
        return Ok(BlockIo {
            bytes,
            operations: entries("blkio.bfq.io_serviced_recursive")?,
            queued: entries("blkio.bfq.io_queued_recursive")?,
            service_time: entries("blkio.bfq.io_service_time_recursive")?,
            wait_time: entries("blkio.bfq.io_wait_time_recursive")?,
            merged: entries("blkio.bfq.io_merged_recursive")?,
            time: entries("blkio.bfq.time_recursive")?,
            sectors: entries("blkio.bfq.sectors_recursive")?,
        });
    }
    Ok(BlockIo {
        bytes: entries("blkio.throttle.io_service_bytes_recursive")?,
        operations: entries("blkio.throttle.io_serviced_recursive")?,
        ..BlockIo::default()
    })
}

/// Lines `8:0 Read 4096`, or `8:0 12` without an operation; the closing `Total` of all devices is left out.
fn parse_entries(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let (major, minor) = fields.next()?.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        let (first, second) = (fields.next()?, fields.next());
        let (operation, value) = second.map_or(("", first), |value| (first, value));
        let value = value.parse().ok()?;
        Some(BlockIoEntry { major, minor, operation: operation.to_string(), value })
    };
    text.lines().filter_map(entry).collect()
}

fn read_hugetlb(at: &str) -> Result<Vec<(String, HugePages)>> {
    let mut all = Vec::new();
    for size in super::huge_page_sizes() {
        let read = |suffix: &str| number(at, &format!("hugetlb.{size}.{suffix}"));
        let pages = HugePages {
            usage: read("usage_in_bytes")?,
            peak: read("max_usage_in_bytes")?,
            failures: read("failcnt")?,
        };
        all.push((size, pages));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_lines() {
        let entries = parse_entries("8:0 Read 4096\n8:0 Total 8192\n8:16 7\nTotal 8192\n");
        let short: Vec<_> =
            entries.iter().map(|e| (e.major, e.minor, e.operation.as_str(), e.value)).collect();
        assert_eq!(short, [(8, 0, "Read", 4096), (8, 0, "Total", 8192), (8, 16, "", 7)]);
    }
}
