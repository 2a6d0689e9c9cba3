//! Usage in the shape of runc's `events --stats` (its package `types`), which containerd and others parse.

use super::Cgroup;
use crate::{During, Result};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use serde::Serialize;
use tare_sys::cgroup::usage::{self, BlockIoEntry, Counter, Usage};

/// One line of `events`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// `stats` or `oom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The container.
    pub id: String,
    /// Usage, for `stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Stats>,
}

/// Usage of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// The cpuset.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages by size.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Intel resctrl; not read.
    pub intel_rdt: Empty,
    /// Network interfaces; the runtime makes none.
    pub network_interfaces: Option<Empty>,
}

/// An object without members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// Processor time and throttling.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuStats {
    /// Nanoseconds.
    pub usage: CpuUsage,
    /// Throttling.
    pub throttling: Throttling,
    /// Pressure; version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<PsiStats>,
}

/// Processor time, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// In all.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By processor in the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// By processor in user mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
}

/// Throttling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the quota ran out.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The cpuset controller's switches; version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpusetStats {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// Switch.
    pub cpu_exclusive: u64,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// Switch.
    pub mem_hardwall: u64,
    /// Switch.
    pub mem_exclusive: u64,
    /// Switch.
    pub memory_migrate: u64,
    /// Switch.
    pub memory_spread_page: u64,
    /// Switch.
    pub memory_spread_slab: u64,
    /// Rate of reclaim.
    pub memory_pressure: u64,
    /// Switch.
    pub sched_load_balance: u64,
    /// Level, -1 for the default.
    pub sched_relax_domain_level: i64,
}

/// Memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryStats {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap.
    pub swap: MemoryEntry,
    /// Kernel memory.
    pub kernel: MemoryEntry,
    /// TCP buffers.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure; version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<PsiStats>,
}

/// One counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// Limit.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Highest.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 without one.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlkioStats {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Merged requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Pressure; version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<PsiStats>,
}

/// One value of a block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// Operation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// Value.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbStats {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Highest.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PsiStats {
    /// Some task waited.
    pub some: PsiData,
    /// All tasks waited.
    pub full: PsiData,
}

/// Percentages and microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over 60 seconds.
    pub avg60: f64,
    /// Over 300 seconds.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

pub(super) fn read(made: &Cgroup) -> Result<Stats> {
    let directory = |controller: &str| made.directory(controller).map(ToString::to_string);
    let usage = Usage::read_directories(made.is_v2(), directory).during("read usage")?;
    let mut stats = from_usage(usage);
    if !made.is_v2()
        && let Some(directory) = made.paths.get("cpuset")
    {
        stats.cpuset = cpuset(directory);
    }
    Ok(stats)
}

fn from_usage(usage: Usage) -> Stats {
    let Usage { cpu, memory, pids, block_io, huge_pages, pressure } = usage;
    let [cpu_pressure, memory_pressure, io_pressure] = pressure.map(|pressure| pressure.map(psi));
    let entries = |list: Vec<BlockIoEntry>| list.into_iter().map(blkio).collect();
    Stats {
        cpu: CpuStats {
            usage: CpuUsage {
                total: cpu.total,
                percpu: cpu.per_cpu,
                percpu_kernel: cpu.per_cpu_kernel,
                percpu_user: cpu.per_cpu_user,
                kernel: cpu.kernel,
                user: cpu.user,
            },
            throttling: Throttling {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_time,
            },
            psi: cpu_pressure,
        },
        memory: MemoryStats {
            cache: memory.cache,
            usage: counter(memory.usage),
            swap: counter(memory.swap),
            kernel: counter(memory.kernel),
            kernel_tcp: counter(memory.kernel_tcp),
            raw: memory.details.into_iter().collect(),
            psi: memory_pressure,
        },
        pids: PidsStats { current: pids.current, limit: pids.limit },
        blkio: BlkioStats {
            io_service_bytes_recursive: entries(block_io.bytes),
            io_serviced_recursive: entries(block_io.operations),
            io_queued_recursive: entries(block_io.queued),
            io_service_time_recursive: entries(block_io.service_time),
            io_wait_time_recursive: entries(block_io.wait_time),
            io_merged_recursive: entries(block_io.merged),
            io_time_recursive: entries(block_io.time),
            sectors_recursive: entries(block_io.sectors),
            psi: io_pressure,
        },
        hugetlb: huge_pages
            .into_iter()
            .map(|(size, p)| (size, HugetlbStats { usage: p.usage, max: p.peak, failcnt: p.failures }))
            .collect(),
        ..Stats::default()
    }
}

fn counter(counter: Counter) -> MemoryEntry {
    MemoryEntry { limit: counter.limit, usage: counter.usage, max: counter.peak, failcnt: counter.failures }
}

fn blkio(entry: BlockIoEntry) -> BlkioEntry {
    BlkioEntry { major: entry.major, minor: entry.minor, op: entry.operation, value: entry.value }
}

fn psi(pressure: usage::Pressure) -> PsiStats {
    let stall = |stall: usage::Stall| {
        let [avg10, avg60, avg300] = stall.average.map(|hundredths| f64::from(hundredths) / 100.0);
        PsiData { avg10, avg60, avg300, total: stall.total }
    };
    PsiStats { some: stall(pressure.some), full: stall(pressure.full) }
}

/// The switches; one that this kernel does not have reads as zero.
fn cpuset(directory: &str) -> CpusetStats {
    let text = |name: &str| tare_sys::cgroup::read(directory, name).unwrap_or_default();
    let switch = |name: &str| tare_sys::cgroup::number(&text(name)).unwrap_or(0);
    CpusetStats {
        cpus: parse_list(&text("cpuset.cpus")),
        cpu_exclusive: switch("cpuset.cpu_exclusive"),
        mems: parse_list(&text("cpuset.mems")),
        mem_hardwall: switch("cpuset.mem_hardwall"),
        mem_exclusive: switch("cpuset.mem_exclusive"),
        memory_migrate: switch("cpuset.memory_migrate"),
        memory_spread_page: switch("cpuset.memory_spread_page"),
        memory_spread_slab: switch("cpuset.memory_spread_slab"),
        memory_pressure: switch("cpuset.memory_pressure"),
        sched_load_balance: switch("cpuset.sched_load_balance"),
        sched_relax_domain_level: text("cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

/// `0-2,7` as numbers.
fn parse_list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
