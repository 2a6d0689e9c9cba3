//! Resource usage of a running container.

use crate::{Engine, Error, Result};
use std::collections::BTreeMap;
use tare_types::{Namespace, Timestamp};

/// The verbs of usage.
#[derive(Debug, Clone)]
pub struct Stats {
    engine: Engine,
}

/// Usage at one point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it was read; `None` for a container that does not run.
    pub read_at: Option<Timestamp>,
    /// Processor time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Tasks and their limit (0: none).
    pub pids: (u64, u64),
    /// Block I/O: `(major, minor, operation, bytes)`.
    pub io_bytes: Vec<(u64, u64, String, u64)>,
    /// Block I/O: `(major, minor, operation, count)`.
    pub io_operations: Vec<(u64, u64, String, u64)>,
    /// Interface → counters.
    pub networks: BTreeMap<String, NetworkUsage>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// By the container.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// Per CPU, where the kernel tells.
    pub per_cpu: Vec<u64>,
    /// By the whole host, all CPUs added.
    pub system: u64,
    /// CPUs online.
    pub online: u32,
    /// Periods, throttled periods, throttled nanoseconds.
    pub throttling: (u64, u64, u64),
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Charged now.
    pub usage: u64,
    /// Highest.
    pub max_usage: u64,
    /// Limit; the host's memory without one.
    pub limit: u64,
    /// How often the limit was hit.
    pub failures: u64,
    /// `memory.stat` of the cgroup.
    pub details: BTreeMap<String, u64>,
}

/// Counters of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Bytes, packets, errors, dropped, received.
    pub received: [u64; 4],
    /// Bytes, packets, errors, dropped, sent.
    pub sent: [u64; 4],
}

impl Stats {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// One sample, read from the container's cgroups and network namespace by this process.
    ///
    /// # Errors
    /// `NotFound`. A container that does not run gives an empty sample.
    pub async fn sample(&self, _namespace: &Namespace, _reference: &str) -> Result<Sample> {
        let _ = &self.engine;
        Err(Error::unimplemented("read usage of", "container"))
    }
}
