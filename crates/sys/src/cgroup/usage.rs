//! What a cgroup has used, read from its files.
//!
//! A plain record of what the kernel tells, in one shape for both versions: version 2's names are translated to
//! those of version 1 where they mean the same. A missing file (controller not enabled, kernel without it) leaves
//! its part empty; other failures are errors.

mod v1;
mod v2;

use super::Mounts;
use crate::{Errno, Error, Result};
use alloc::{string::String, vec::Vec};

/// Usage of one cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory and swap.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages by size (`2MB`).
    pub huge_pages: Vec<(String, HugePages)>,
    /// Pressure stall information of cpu, memory and io; version 2 only.
    pub pressure: [Option<Pressure>; 3],
}

/// Processor time, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In all.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// By processor; version 1 only.
    pub per_cpu: Vec<u64>,
    /// By processor, in the kernel; version 1 only.
    pub per_cpu_kernel: Vec<u64>,
    /// By processor, in user mode; version 1 only.
    pub per_cpu_user: Vec<u64>,
    /// Enforcement periods so far.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent throttled, nanoseconds.
    pub throttled_time: u64,
}

/// Memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Memory.
    pub usage: Counter,
    /// Memory and swap together.
    pub swap: Counter,
    /// Kernel memory; version 1 only.
    pub kernel: Counter,
    /// Buffers of TCP; version 1 only.
    pub kernel_tcp: Counter,
    /// Page cache.
    pub cache: u64,
    /// `memory.stat` as it is.
    pub details: Vec<(String, u64)>,
}

/// One counter with its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Now.
    pub usage: u64,
    /// Highest so far.
    pub peak: u64,
    /// `u64::MAX` without one.
    pub limit: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// 0 without one.
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Bytes.
    pub bytes: Vec<BlockIoEntry>,
    /// Operations.
    pub operations: Vec<BlockIoEntry>,
    /// Operations waiting.
    pub queued: Vec<BlockIoEntry>,
    /// Nanoseconds from dispatch to completion.
    pub service_time: Vec<BlockIoEntry>,
    /// Nanoseconds in queues.
    pub wait_time: Vec<BlockIoEntry>,
    /// Merged requests.
    pub merged: Vec<BlockIoEntry>,
    /// Milliseconds of device time.
    pub time: Vec<BlockIoEntry>,
    /// Sectors.
    pub sectors: Vec<BlockIoEntry>,
}

/// One value of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or empty.
    pub operation: String,
    /// The value.
    pub value: u64,
}

/// Huge pages of one size, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Now.
    pub usage: u64,
    /// Highest so far; version 1 only.
    pub peak: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// Pressure of one resource: `some` and `full`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited.
    pub full: Stall,
}

/// Averages in hundredths of a percent over 10, 60 and 300 seconds, and microseconds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// 10, 60, 300 seconds.
    pub average: [u32; 3],
    /// Microseconds.
    pub total: u64,
}

impl Usage {
    /// Reads the usage of a cgroup by its path (absolute, as in `/proc/self/cgroup`).
    ///
    /// # Errors
    /// Of reading a file that is there; ENOENT when no directory of the cgroup is.
    pub fn read(mounts: &Mounts, path: &str) -> Result<Self> {
        Self::read_directories(mounts.is_v2(), |controller| mounts.directory(controller, path))
    }

    /// Reads the usage from the directories that `directory` names by controller.
    ///
    /// # Errors
    /// As [`Usage::read`].
    pub fn read_directories(v2: bool, directory: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if v2 {
            let directory = directory("").ok_or_else(|| Error::new("find", "cgroup", Errno::NOENT))?;
            return v2::read(&directory);
        }
        v1::read(directory)
    }
}

/// A file's text, or nothing where the kernel or the configuration has no such file.
fn optional(directory: &str, name: &str) -> Result<Option<String>> {
    match super::read(directory, name) {
        Ok(text) => Ok(Some(text)),
        // ENODEV: the cgroup went away after the open. EOPNOTSUPP: pressure information is switched off.
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number in a file, 0 where there is none.
fn number(directory: &str, name: &str) -> Result<u64> {
    Ok(optional(directory, name)?.and_then(|text| super::number(&text)).unwrap_or(0))
}

/// The huge page sizes of this host as cgroup files are named: `2MB`, `1GB`.
pub fn huge_page_sizes() -> Vec<String> {
    let Ok(directory) = rustix::fs::open(
        "/sys/kernel/mm/hugepages",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) else {
        return Vec::new();
    };
    let Ok(entries) = rustix::fs::Dir::read_from(&directory) else { return Vec::new() };
    let size = |name: &str| {
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kib {
            mib if mib % (1 << 20) == 0 => alloc::format!("{}GB", mib >> 20),
            mib if mib % (1 << 10) == 0 => alloc::format!("{}MB", mib >> 10),
            kib => alloc::format!("{kib}KB"),
        })
    };
    let mut sizes: Vec<String> =
        entries.flatten().filter_map(|entry| size(entry.file_name().to_str().ok()?)).collect();
    sizes.sort();
    sizes
}
