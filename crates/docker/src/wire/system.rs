//! Version, information, disk usage, credentials.

use super::{Secret, StringMap, container, image, volume};
use std::collections::BTreeMap;

wire! {
    /// Answer of `GET /version`.
    pub(crate) struct Version {
        platform: Platform,
        components: Vec<Component>,
        version: String,
        api_version: String,
        #[serde(rename = "MinAPIVersion")]
        min_api_version: String,
        git_commit: String,
        go_version: String,
        os: String,
        arch: String,
        kernel_version: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        experimental: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        build_time: String,
    }

    /// The product.
    pub(crate) struct Platform {
        name: String,
    }

    /// One part of the product.
    pub(crate) struct Component {
        name: String,
        version: String,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        details: Option<StringMap>,
    }

    /// Answer of `GET /info`.
    pub(crate) struct Info {
        #[serde(rename = "ID")]
        id: String,
        containers: usize,
        containers_running: usize,
        containers_paused: usize,
        containers_stopped: usize,
        images: usize,
        driver: String,
        driver_status: Vec<[String; 2]>,
        plugins: Plugins,
        memory_limit: bool,
        swap_limit: bool,
        #[serde(rename = "CpuCfsPeriod")]
        cpu_cfs_period: bool,
        #[serde(rename = "CpuCfsQuota")]
        cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        cpu_set: bool,
        pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        ipv4_forwarding: bool,
        debug: bool,
        n_fd: usize,
        oom_kill_disable: bool,
        n_goroutines: usize,
        system_time: String,
        logging_driver: String,
        cgroup_driver: String,
        cgroup_version: String,
        n_events_listener: usize,
        kernel_version: String,
        operating_system: String,
        #[serde(rename = "OSVersion")]
        os_version: String,
        #[serde(rename = "OSType")]
        os_type: String,
        architecture: String,
        index_server_address: String,
        registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        ncpu: usize,
        mem_total: i64,
        generic_resources: Option<Vec<String>>,
        docker_root_dir: String,
        http_proxy: String,
        https_proxy: String,
        no_proxy: String,
        name: String,
        labels: Vec<String>,
        experimental_build: bool,
        server_version: String,
        runtimes: BTreeMap<String, Runtime>,
        default_runtime: String,
        swarm: Swarm,
        live_restore_enabled: bool,
        isolation: String,
        init_binary: String,
        containerd_commit: Commit,
        runc_commit: Commit,
        init_commit: Commit,
        security_options: Vec<String>,
        #[serde(rename = "CDISpecDirs")]
        cdi_spec_dirs: Vec<String>,
        warnings: Option<Vec<String>>,
    }

    /// Names of what is built in.
    pub(crate) struct Plugins {
        volume: Vec<String>,
        network: Vec<String>,
        authorization: Option<Vec<String>>,
        log: Vec<String>,
    }

    /// How registries are reached.
    pub(crate) struct RegistryConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        insecure_registry_cidrs: Vec<String>,
        index_configs: BTreeMap<String, IndexConfig>,
        mirrors: Option<Vec<String>>,
    }

    /// How one registry is reached.
    pub(crate) struct IndexConfig {
        mirrors: Vec<String>,
        name: String,
        official: bool,
        secure: bool,
    }

    /// One runtime by its name.
    pub(crate) struct Runtime ["camelCase"] {
        #[serde(skip_serializing_if = "super::is_zero")]
        path: String,
        #[serde(skip_serializing_if = "super::is_zero")]
        runtime_type: String,
    }

    /// Swarm is never active here.
    pub(crate) struct Swarm {
        #[serde(rename = "NodeID")]
        node_id: String,
        node_addr: String,
        local_node_state: String,
        control_available: bool,
        error: String,
        remote_managers: Option<Vec<String>>,
    }

    /// A revision of a part.
    pub(crate) struct Commit {
        #[serde(rename = "ID")]
        id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<String>,
    }

    /// Answer of `GET /system/df`; a part that was not asked for is `null`.
    pub(crate) struct DiskUsage {
        layers_size: i64,
        images: Option<Vec<image::Summary>>,
        containers: Option<Vec<container::Summary>>,
        volumes: Option<Vec<volume::Volume>>,
        build_cache: Option<Vec<serde_json::Value>>,
    }

    /// Credentials: body of `POST /auth`, and of `X-Registry-Auth` in base64. Debug output hides the secrets.
    pub(crate) struct AuthConfig ["lowercase"] {
        username: String,
        password: Secret,
        auth: Secret,
        serveraddress: String,
        identitytoken: Secret,
        registrytoken: Secret,
    }

    /// Answer of `POST /auth`.
    pub(crate) struct AuthResponse {
        status: String,
        identity_token: String,
    }
}
