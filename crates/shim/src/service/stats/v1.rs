//! Version 1's metrics.

use tare_api::io::containerd::cgroups::v1 as wire;
use tare_sys::cgroup::usage::{BlockIoEntry, Counter, Usage};

use super::detail;

pub(super) fn metrics(usage: &Usage, kills: u64) -> wire::Metrics {
    let cpu = &usage.cpu;
    let huge = |(size, pages): &(String, tare_sys::cgroup::usage::HugePages)| wire::HugetlbStat {
        usage: pages.usage,
        max: pages.peak,
        failcnt: pages.failures,
        pagesize: size.clone(),
    };
    wire::Metrics {
        hugetlb: usage.huge_pages.iter().map(huge).collect(),
        pids: Some(wire::PidsStat { current: usage.pids.current, limit: usage.pids.limit }),
        cpu: Some(wire::CpuStat {
            usage: Some(wire::CpuUsage {
                total: cpu.total,
                kernel: cpu.kernel,
                user: cpu.user,
                per_cpu: cpu.per_cpu.clone(),
            }),
            throttling: Some(wire::Throttle {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_time,
            }),
        }),
        memory: Some(memory(usage)),
        blkio: Some(block_io(usage)),
        memory_oom_control: Some(wire::MemoryOomControl { oom_kill: kills, ..Default::default() }),
        ..Default::default()
    }
}

fn memory(usage: &Usage) -> wire::MemoryStat {
    let of = |name: &str| detail(usage, name);
    let memory = &usage.memory;
    wire::MemoryStat {
        cache: of("cache"),
        rss: of("rss"),
        rss_huge: of("rss_huge"),
        mapped_file: of("mapped_file"),
        dirty: of("dirty"),
        writeback: of("writeback"),
        pg_pg_in: of("pgpgin"),
        pg_pg_out: of("pgpgout"),
        pg_fault: of("pgfault"),
        pg_maj_fault: of("pgmajfault"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        hierarchical_memory_limit: of("hierarchical_memory_limit"),
        hierarchical_swap_limit: of("hierarchical_memsw_limit"),
        total_cache: of("total_cache"),
        total_rss: of("total_rss"),
        total_rss_huge: of("total_rss_huge"),
        total_mapped_file: of("total_mapped_file"),
        total_dirty: of("total_dirty"),
        total_writeback: of("total_writeback"),
        total_pg_pg_in: of("total_pgpgin"),
        total_pg_pg_out: of("total_pgpgout"),
        total_pg_fault: of("total_pgfault"),
        total_pg_maj_fault: of("total_pgmajfault"),
        total_inactive_anon: of("total_inactive_anon"),
        total_active_anon: of("total_active_anon"),
        total_inactive_file: of("total_inactive_file"),
        total_active_file: of("total_active_file"),
        total_unevictable: of("total_unevictable"),
        usage: Some(entry(&memory.usage)),
        swap: Some(entry(&memory.swap)),
        kernel: Some(entry(&memory.kernel)),
        kernel_tcp: Some(entry(&memory.kernel_tcp)),
    }
}

fn entry(counter: &Counter) -> wire::MemoryEntry {
    wire::MemoryEntry {
        limit: counter.limit,
        usage: counter.usage,
        max: counter.peak,
        failcnt: counter.failures,
    }
}

fn block_io(usage: &Usage) -> wire::BlkIoStat {
    let entries = |list: &[BlockIoEntry]| {
        list.iter()
            .map(|entry| wire::BlkIoEntry {
                op: entry.operation.clone(),
                // containerd fills in the device's name where udev knows one; numbers say the same.
                device: String::new(),
                major: entry.major,
                minor: entry.minor,
                value: entry.value,
            })
            .collect()
    };
    let io = &usage.block_io;
    wire::BlkIoStat {
        io_service_bytes_recursive: entries(&io.bytes),
        io_serviced_recursive: entries(&io.operations),
        io_queued_recursive: entries(&io.queued),
        io_service_time_recursive: entries(&io.service_time),
        io_wait_time_recursive: entries(&io.wait_time),
        io_merged_recursive: entries(&io.merged),
        io_time_recursive: entries(&io.time),
        sectors_recursive: entries(&io.sectors),
    }
}
