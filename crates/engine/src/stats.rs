//! Resource usage of a running container.

mod read;

use crate::{Engine, Error, Result, clock, request::NetworkMode};
use std::{collections::BTreeMap, io};
use tare_types::{ErrorKind, Namespace, Timestamp};

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
    pub async fn sample(&self, namespace: &Namespace, reference: &str) -> Result<Sample> {
        let entry = self.engine.entry("read usage of", namespace, reference)?;
        let pid = entry.running_task().map_or(0, |task| task.init.pid());
        if pid == 0 {
            return Ok(Sample::default());
        }
        let record = entry.record();
        let own_network =
            record.engine.as_ref().is_none_or(|fields| fields.network.mode != NetworkMode::Host);
        let read =
            crate::stores::blocking("read usage of", move || Ok(read::sample(pid, own_network))).await?;
        match read {
            Ok(sample) => Ok(Sample { read_at: Some(clock::now()), ..sample }),
            // It ended between the look-up and the reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sample::default()),
            Err(error) => {
                let failure = Error::new(ErrorKind::Internal, "read usage of", "container", reference, "");
                Err(failure.with_source(error))
            }
        }
    }
}
