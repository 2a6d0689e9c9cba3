//! Resource usage. The members are in lower case with underscores; times in nanoseconds, sizes in bytes.

use std::collections::BTreeMap;

wire! {
    /// One line of `GET /containers/{id}/stats`.
    pub(crate) struct Stats ["snake_case"] {
        #[serde(skip_serializing_if = "super::is_zero")]
        name: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        id: String,
        read: String,
        preread: String,
        pids_stats: Pids,
        blkio_stats: Blkio,
        num_procs: u32,
        storage_stats: Storage,
        cpu_stats: Cpu,
        precpu_stats: Cpu,
        memory_stats: Memory,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        networks: BTreeMap<String, Interface>,
    }

    /// Number of processes and threads.
    pub(crate) struct Pids ["snake_case"] {
        #[serde(skip_serializing_if = "super::is_zero")]
        current: u64,
        #[serde(skip_serializing_if = "super::is_zero")]
        limit: u64,
    }

    /// Only Windows fills this; Linux prints `{}`.
    pub(crate) struct Storage {}

    /// Processor time.
    pub(crate) struct Cpu ["snake_case"] {
        cpu_usage: CpuUsage,
        /// Of the whole host.
        #[serde(skip_serializing_if = "super::is_zero")]
        system_cpu_usage: u64,
        #[serde(skip_serializing_if = "super::is_zero")]
        online_cpus: u32,
        throttling_data: Throttling,
    }

    /// Processor time of the container.
    pub(crate) struct CpuUsage ["snake_case"] {
        total_usage: u64,
        #[serde(skip_serializing_if = "super::is_empty_list")]
        percpu_usage: Option<Vec<u64>>,
        usage_in_kernelmode: u64,
        usage_in_usermode: u64,
    }

    /// How often and how long the quota stopped it.
    pub(crate) struct Throttling ["snake_case"] {
        periods: u64,
        throttled_periods: u64,
        throttled_time: u64,
    }

    /// Memory. `stats` are the kernel's own counters by name.
    pub(crate) struct Memory ["snake_case"] {
        #[serde(skip_serializing_if = "super::is_zero")]
        usage: u64,
        #[serde(skip_serializing_if = "super::is_zero")]
        max_usage: u64,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        stats: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "super::is_zero")]
        failcnt: u64,
        #[serde(skip_serializing_if = "super::is_zero")]
        limit: u64,
    }

    /// Block I/O; on cgroup v2 only the first list is filled, the others are `null`.
    pub(crate) struct Blkio ["snake_case"] {
        io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
        io_serviced_recursive: Option<Vec<BlkioEntry>>,
        io_queue_recursive: Option<Vec<BlkioEntry>>,
        io_service_time_recursive: Option<Vec<BlkioEntry>>,
        io_wait_time_recursive: Option<Vec<BlkioEntry>>,
        io_merged_recursive: Option<Vec<BlkioEntry>>,
        io_time_recursive: Option<Vec<BlkioEntry>>,
        sectors_recursive: Option<Vec<BlkioEntry>>,
    }

    /// One counter of a device.
    pub(crate) struct BlkioEntry ["snake_case"] {
        major: u64,
        minor: u64,
        op: String,
        value: u64,
    }

    /// One network interface, seen from inside.
    pub(crate) struct Interface ["snake_case"] {
        rx_bytes: u64,
        rx_packets: u64,
        rx_errors: u64,
        rx_dropped: u64,
        tx_bytes: u64,
        tx_packets: u64,
        tx_errors: u64,
        tx_dropped: u64,
    }
}
