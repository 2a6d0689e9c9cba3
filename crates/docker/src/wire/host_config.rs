//! `HostConfig` and the resources in it: what of a container depends on its host.

use super::mount::Mount;
use super::network::PortMap;
use super::{StrSlice, StringMap};

wire! {
    /// The part of a container that depends on the host (`container.HostConfig`, its `Resources` included).
    pub(crate) struct HostConfig {
        binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: Option<PortMap>,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        volume_driver: String,
        volumes_from: Option<Vec<String>>,
        console_size: [u32; 2],
        #[serde(skip_serializing_if = "super::is_empty_map")]
        annotations: Option<StringMap>,
        cap_add: StrSlice,
        cap_drop: StrSlice,
        cgroupns_mode: String,
        dns: Option<Vec<String>>,
        dns_options: Option<Vec<String>>,
        dns_search: Option<Vec<String>>,
        extra_hosts: Option<Vec<String>>,
        group_add: Option<Vec<String>>,
        ipc_mode: String,
        cgroup: String,
        links: Option<Vec<String>>,
        oom_score_adj: i32,
        pid_mode: String,
        privileged: bool,
        publish_all_ports: bool,
        readonly_rootfs: bool,
        security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        storage_opt: Option<StringMap>,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        tmpfs: Option<StringMap>,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        shm_size: i64,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        sysctls: Option<StringMap>,
        #[serde(skip_serializing_if = "super::is_zero")]
        runtime: String,
        isolation: String,
        #[serde(flatten)]
        resources: Resources,
        #[serde(skip_serializing_if = "super::is_empty_list")]
        mounts: Option<Vec<Mount>>,
        masked_paths: Option<Vec<String>>,
        readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool>,
    }

    /// Limits (`container.Resources`). Bytes, unless said otherwise.
    pub(crate) struct Resources {
        cpu_shares: i64,
        memory: i64,
        /// Billionths of a CPU.
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        blkio_weight_device: Option<Vec<WeightDevice>>,
        blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Option<Vec<DeviceMapping>>,
        device_cgroup_rules: Option<Vec<String>>,
        device_requests: Option<Vec<DeviceRequest>>,
        #[serde(skip_serializing_if = "super::is_zero")]
        kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "super::is_zero")]
        kernel_memory_tcp: i64,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Option<Vec<Ulimit>>,
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
    }

    /// Weight of a block device.
    pub(crate) struct WeightDevice {
        path: String,
        weight: u16,
    }

    /// Rate of a block device, in bytes or operations per second.
    pub(crate) struct ThrottleDevice {
        path: String,
        rate: u64,
    }

    /// A device of the host inside the container.
    pub(crate) struct DeviceMapping {
        path_on_host: String,
        path_in_container: String,
        cgroup_permissions: String,
    }

    /// A device asked for by driver and capability.
    pub(crate) struct DeviceRequest {
        driver: String,
        count: i64,
        #[serde(rename = "DeviceIDs")]
        device_ids: Option<Vec<String>>,
        capabilities: Option<Vec<Vec<String>>>,
        options: Option<StringMap>,
    }

    /// A resource limit of the first process.
    pub(crate) struct Ulimit {
        name: String,
        hard: i64,
        soft: i64,
    }

    /// Where the output goes.
    pub(crate) struct LogConfig {
        #[serde(rename = "Type")]
        kind: String,
        config: Option<StringMap>,
    }

    /// When the daemon starts the container again.
    pub(crate) struct RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }

    /// Body of `POST /containers/{id}/update`.
    pub(crate) struct UpdateRequest {
        #[serde(flatten)]
        resources: Resources,
        restart_policy: RestartPolicy,
    }
}
