//! Version 2's metrics.

use std::collections::BTreeMap;
use tare_api::io::containerd::cgroups::v2 as wire;
use tare_sys::cgroup::usage::{BlockIoEntry, Usage};

use super::detail;

pub(super) fn metrics(usage: &Usage, kills: u64) -> wire::Metrics {
    let cpu = &usage.cpu;
    let huge = |(size, pages): &(String, tare_sys::cgroup::usage::HugePages)| wire::HugeTlbStat {
        current: pages.usage,
        max: pages.peak,
        pagesize: size.clone(),
    };
    wire::Metrics {
        pids: Some(wire::PidsStat { current: usage.pids.current, limit: usage.pids.limit }),
        cpu: Some(wire::CpuStat {
            usage_usec: cpu.total / 1000,
            user_usec: cpu.user / 1000,
            system_usec: cpu.kernel / 1000,
            nr_periods: cpu.periods,
            nr_throttled: cpu.throttled_periods,
            throttled_usec: cpu.throttled_time / 1000,
        }),
        memory: Some(memory(usage)),
        io: Some(wire::IoStat { usage: block_io(usage) }),
        hugetlb: usage.huge_pages.iter().map(huge).collect(),
        memory_events: Some(wire::MemoryEvents {
            max: usage.memory.usage.failures,
            oom_kill: kills,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn memory(usage: &Usage) -> wire::MemoryStat {
    let of = |name: &str| detail(usage, name);
    let (memory, swap) = (&usage.memory.usage, &usage.memory.swap);
    // The record holds memory and swap together, as version 1 does; the wire wants swap alone.
    let alone = |both: u64, memory: u64| if both == u64::MAX { both } else { both.saturating_sub(memory) };
    wire::MemoryStat {
        anon: of("anon"),
        file: of("file"),
        kernel_stack: of("kernel_stack"),
        slab: of("slab"),
        sock: of("sock"),
        shmem: of("shmem"),
        file_mapped: of("file_mapped"),
        file_dirty: of("file_dirty"),
        file_writeback: of("file_writeback"),
        anon_thp: of("anon_thp"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        slab_reclaimable: of("slab_reclaimable"),
        slab_unreclaimable: of("slab_unreclaimable"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        workingset_refault: of("workingset_refault"),
        workingset_activate: of("workingset_activate"),
        workingset_nodereclaim: of("workingset_nodereclaim"),
        pgrefill: of("pgrefill"),
        pgscan: of("pgscan"),
        pgsteal: of("pgsteal"),
        pgactivate: of("pgactivate"),
        pgdeactivate: of("pgdeactivate"),
        pglazyfree: of("pglazyfree"),
        pglazyfreed: of("pglazyfreed"),
        thp_fault_alloc: of("thp_fault_alloc"),
        thp_collapse_alloc: of("thp_collapse_alloc"),
        usage: memory.usage,
        usage_limit: memory.limit,
        swap_usage: alone(swap.usage, memory.usage),
        swap_limit: alone(swap.limit, memory.limit),
        max_usage: memory.peak,
        swap_max_usage: alone(swap.peak, memory.peak),
    }
}

/// One entry per device, as version 2 has it.
fn block_io(usage: &Usage) -> Vec<wire::IoEntry> {
    let mut devices: BTreeMap<(u64, u64), wire::IoEntry> = BTreeMap::new();
    let mut add = |entries: &[BlockIoEntry], set: fn(&mut wire::IoEntry, bool, u64)| {
        for entry in entries {
            let device = devices.entry((entry.major, entry.minor)).or_insert_with(|| wire::IoEntry {
                major: entry.major,
                minor: entry.minor,
                ..Default::default()
            });
            match entry.operation.as_str() {
                "Read" => set(device, true, entry.value),
                "Write" => set(device, false, entry.value),
                _ => {}
            }
        }
    };
    add(&usage.block_io.bytes, |device, read, value| {
        *(if read { &mut device.rbytes } else { &mut device.wbytes }) = value;
    });
    add(&usage.block_io.operations, |device, read, value| {
        *(if read { &mut device.rios } else { &mut device.wios }) = value;
    });
    devices.into_values().collect()
}
