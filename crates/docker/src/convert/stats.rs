//! Resource usage.

use crate::convert::time_text;
use crate::wire::stats::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Interface, Memory, Pids, Stats, Storage, Throttling,
};
use tare_engine::stats::{NetworkUsage, Sample};

/// A sample with the one before it, as one line of the stream.
pub(crate) fn to_wire(id: &str, name: &str, sample: &Sample, before: Option<&Sample>) -> Stats {
    let empty = Sample::default();
    let before = before.unwrap_or(&empty);
    Stats {
        name: format!("/{name}"),
        id: id.to_owned(),
        read: time_text(sample.read_at),
        preread: time_text(before.read_at),
        pids_stats: Pids { current: sample.pids.0, limit: sample.pids.1 },
        blkio_stats: to_blkio(sample),
        num_procs: 0,
        storage_stats: Storage {},
        cpu_stats: to_cpu(sample),
        precpu_stats: to_cpu(before),
        memory_stats: to_memory(sample),
        networks: sample.networks.iter().map(|(name, usage)| (name.clone(), to_interface(*usage))).collect(),
    }
}

fn to_cpu(sample: &Sample) -> Cpu {
    let cpu = &sample.cpu;
    let (periods, throttled_periods, throttled_time) = cpu.throttling;
    Cpu {
        cpu_usage: CpuUsage {
            total_usage: cpu.total,
            percpu_usage: Some(cpu.per_cpu.clone()),
            usage_in_kernelmode: cpu.kernel,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: cpu.system,
        online_cpus: cpu.online,
        throttling_data: Throttling { periods, throttled_periods, throttled_time },
    }
}

fn to_memory(sample: &Sample) -> Memory {
    let memory = &sample.memory;
    Memory {
        usage: memory.usage,
        max_usage: memory.max_usage,
        stats: memory.details.clone(),
        failcnt: memory.failures,
        limit: memory.limit,
    }
}

/// The lists that the kernel does not fill are empty on a running container and `null` on one that does not run.
fn to_blkio(sample: &Sample) -> Blkio {
    if sample.read_at.is_none() {
        return Blkio::default();
    }
    let entries = |list: &[(u64, u64, String, u64)]| {
        let entry = |(major, minor, op, value): &(u64, u64, String, u64)| BlkioEntry {
            major: *major,
            minor: *minor,
            op: op.clone(),
            value: *value,
        };
        Some(list.iter().map(entry).collect())
    };
    Blkio {
        io_service_bytes_recursive: entries(&sample.io_bytes),
        io_serviced_recursive: entries(&sample.io_operations),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

fn to_interface(usage: NetworkUsage) -> Interface {
    let [rx_bytes, rx_packets, rx_errors, rx_dropped] = usage.received;
    let [tx_bytes, tx_packets, tx_errors, tx_dropped] = usage.sent;
    Interface { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dockerd's answer for a container that does not run.
    #[test]
    fn a_stopped_container_gives_zeros() {
        let json = serde_json::to_string(&to_wire("abc", "web", &Sample::default(), None)).unwrap();
        let expected = r#"{"name":"/web","id":"abc","read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{},"blkio_stats":{"io_service_bytes_recursive":null,"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{}}"#;
        assert_eq!(json, expected);
    }
}
