//! Reading a sample: cgroup files, `/proc/stat` and the interfaces of the first process's network namespace.
//!
//! No shim is asked: a container whose shim hangs still shows its usage, and a thousand containers cost a thousand
//! reads, not a thousand calls.

use super::{CpuUsage, MemoryUsage, NetworkUsage, Sample};
use std::{collections::BTreeMap, fs, io};
use tare_sys::cgroup::{
    self, Mounts, Usage,
    usage::{BlockIoEntry, Cpu, Memory},
};

/// USER_HZ: the unit of `/proc/stat`, 100 on all our architectures.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Reads the usage of the container whose first process is `pid`. Interfaces are left out for the host's network.
///
/// # Errors
/// Of reading; a process that is gone is `NotFound`.
pub(crate) fn sample(pid: u32, own_network: bool) -> io::Result<Sample> {
    let to_io = |error: tare_sys::Error| io::Error::from_raw_os_error(error.errno().raw_os_error());
    let mounts = Mounts::detect().map_err(to_io)?;
    let places = cgroup::of(&format!("/proc/{pid}/cgroup")).map_err(to_io)?;
    let directory = |controller: &str| {
        let listed = |list: &str| list == controller || list.split(',').any(|name| name == controller);
        let (_, path) = places.iter().find(|(list, _)| listed(list))?;
        mounts.directory(controller, path)
    };
    let usage = Usage::read_directories(mounts.is_v2(), directory).map_err(to_io)?;
    let (system, online) = host_cpu(&fs::read_to_string("/proc/stat")?);
    let networks = if own_network {
        interfaces(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?)
    } else {
        BTreeMap::new()
    };
    Ok(Sample {
        read_at: None,
        cpu: cpu(usage.cpu, system, online),
        memory: memory(usage.memory, host_memory),
        pids: (usage.pids.current, usage.pids.limit),
        io_bytes: block_io(usage.block_io.bytes),
        io_operations: block_io(usage.block_io.operations),
        networks,
    })
}

fn cpu(cpu: Cpu, system: u64, online: u32) -> CpuUsage {
    CpuUsage {
        total: cpu.total,
        user: cpu.user,
        kernel: cpu.kernel,
        per_cpu: cpu.per_cpu,
        system,
        online,
        throttling: (cpu.periods, cpu.throttled_periods, cpu.throttled_time),
    }
}

/// Without a limit of its own the container may use what the host has.
fn memory(memory: Memory, host: impl Fn() -> u64) -> MemoryUsage {
    // Version 1 writes "no limit" as the largest multiple of a page.
    let unlimited = memory.usage.limit == 0 || memory.usage.limit >= i64::MAX as u64 & !0xffff;
    let available = host();
    MemoryUsage {
        usage: memory.usage.usage,
        max_usage: memory.usage.peak,
        limit: if unlimited { available } else { memory.usage.limit.min(available) },
        failures: memory.usage.failures,
        details: memory.details.into_iter().collect(),
    }
}

fn block_io(entries: Vec<BlockIoEntry>) -> Vec<(u64, u64, String, u64)> {
    entries.into_iter().map(|entry| (entry.major, entry.minor, entry.operation, entry.value)).collect()
}

/// Nanoseconds that all processors have counted, and how many are online.
fn host_cpu(stat: &str) -> (u64, u32) {
    let mut lines = stat.lines();
    // user nice system idle iowait irq softirq; guest time is in user's already.
    let fields = lines.next().unwrap_or_default().split_whitespace().skip(1).take(7);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let online = lines.take_while(|line| line.starts_with("cpu")).count();
    (ticks * NANOSECONDS_PER_TICK, u32::try_from(online).unwrap_or(u32::MAX))
}

fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The table of `/proc/<pid>/net/dev` but for the loopback.
fn interfaces(table: &str) -> BTreeMap<String, NetworkUsage> {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let values: Vec<u64> = counters.split_whitespace().filter_map(|value| value.parse().ok()).collect();
        // Received: bytes packets errs drop fifo frame compressed multicast; then sent: bytes packets errs drop.
        let four = |at: usize| <[u64; 4]>::try_from(values.get(at..at + 4)?).ok();
        let name = name.trim();
        if name == "lo" {
            return None;
        }
        Some((name.to_owned(), NetworkUsage { received: four(0)?, sent: four(8)? }))
    };
    table.lines().skip(2).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_processors() {
        let stat =
            "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 1 2\n";
        assert_eq!(host_cpu(stat), (28 * NANOSECONDS_PER_TICK, 2));
        assert_eq!(host_cpu(""), (0, 0));
    }

    #[test]
    fn the_interfaces() {
        let table = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs ...\n    \
            lo:  5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 6 7 8 0 0 0 0\n bad: 1\n";
        let found = interfaces(table);
        assert_eq!(found.len(), 1);
        assert_eq!(found["eth0"], NetworkUsage { received: [100, 2, 3, 4], sent: [200, 6, 7, 8] });
    }

    #[test]
    fn no_limit_is_the_host_s_memory() {
        let of = |limit| {
            let counter = tare_sys::cgroup::usage::Counter { limit, ..Default::default() };
            memory(Memory { usage: counter, ..Memory::default() }, || 1 << 30).limit
        };
        assert_eq!((of(u64::MAX), of(9_223_372_036_854_771_712), of(0)), (1 << 30, 1 << 30, 1 << 30));
        assert_eq!((of(4096), of(1 << 40)), (4096, 1 << 30));
    }

    #[test]
    fn this_process_has_usage() {
        let sample = sample(std::process::id(), true).unwrap();
        assert!(sample.cpu.system > 0 && sample.cpu.online > 0 && sample.memory.limit > 0);
        assert!(sample_is_missing());
    }

    fn sample_is_missing() -> bool {
        sample(u32::MAX >> 1, false).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}
