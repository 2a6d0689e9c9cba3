//! Containers: creation, inspection, listing and the small answers.

use super::StringMap;
use super::config::Config;
use super::host_config::HostConfig;
use super::mount::MountPoint;
use super::network::{EndpointSettings, NetworkSettings, NetworkingConfig};
use std::collections::BTreeMap;

wire! {
    /// Body of `POST /containers/create`.
    pub(crate) struct CreateRequest {
        #[serde(flatten)]
        config: Config,
        host_config: Option<HostConfig>,
        networking_config: Option<NetworkingConfig>,
    }

    /// Answer of `POST /containers/create`.
    pub(crate) struct CreateResponse {
        id: String,
        warnings: Vec<String>,
    }

    /// Answer of `GET /containers/{id}/json`.
    pub(crate) struct Inspect {
        id: String,
        created: String,
        path: String,
        args: Vec<String>,
        state: State,
        image: String,
        resolv_conf_path: String,
        hostname_path: String,
        hosts_path: String,
        log_path: String,
        name: String,
        restart_count: u32,
        driver: String,
        platform: String,
        mount_label: String,
        process_label: String,
        app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        exec_ids: Option<Vec<String>>,
        host_config: HostConfig,
        graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_root_fs: Option<i64>,
        mounts: Vec<MountPoint>,
        config: Config,
        network_settings: NetworkSettings,
    }

    /// `State` of an inspected container.
    pub(crate) struct State {
        status: String,
        running: bool,
        paused: bool,
        restarting: bool,
        #[serde(rename = "OOMKilled")]
        oom_killed: bool,
        dead: bool,
        pid: u32,
        exit_code: i32,
        error: String,
        started_at: String,
        finished_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        health: Option<Health>,
    }

    /// What the health check of a container says.
    pub(crate) struct Health {
        status: String,
        failing_streak: u32,
        log: Vec<HealthResult>,
    }

    /// One run of a health check.
    pub(crate) struct HealthResult {
        start: String,
        end: String,
        exit_code: i64,
        output: String,
    }

    /// Where the root file system comes from.
    pub(crate) struct GraphDriver {
        data: Option<StringMap>,
        name: String,
    }

    /// One row of `GET /containers/json`.
    pub(crate) struct Summary {
        id: String,
        names: Vec<String>,
        image: String,
        #[serde(rename = "ImageID")]
        image_id: String,
        command: String,
        created: i64,
        ports: Vec<Port>,
        #[serde(skip_serializing_if = "super::is_zero")]
        size_rw: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        size_root_fs: i64,
        labels: StringMap,
        state: String,
        status: String,
        host_config: SummaryHostConfig,
        network_settings: SummaryNetworks,
        mounts: Vec<MountPoint>,
    }

    /// What a row shows of the host configuration.
    pub(crate) struct SummaryHostConfig {
        #[serde(skip_serializing_if = "super::is_zero")]
        network_mode: String,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        annotations: Option<StringMap>,
    }

    /// What a row shows of the networks.
    pub(crate) struct SummaryNetworks {
        networks: BTreeMap<String, EndpointSettings>,
    }

    /// A port of a row.
    pub(crate) struct Port {
        #[serde(rename = "IP", skip_serializing_if = "super::is_zero")]
        ip: String,
        private_port: u16,
        #[serde(skip_serializing_if = "super::is_zero")]
        public_port: u16,
        #[serde(rename = "Type")]
        kind: String,
    }

    /// Answer of `POST /containers/{id}/wait`.
    pub(crate) struct WaitResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<WaitError>,
        status_code: i64,
    }

    /// Why a wait ended without an exit.
    pub(crate) struct WaitError {
        message: String,
    }

    /// Answer of `GET /containers/{id}/top`.
    pub(crate) struct Top {
        processes: Vec<Vec<String>>,
        titles: Vec<String>,
    }

    /// One row of `GET /containers/{id}/changes`: 0 modified, 1 added, 2 deleted.
    pub(crate) struct Change {
        path: String,
        kind: u8,
    }

    /// Answer of `POST /containers/{id}/update`.
    pub(crate) struct UpdateResponse {
        warnings: Option<Vec<String>>,
    }

    /// Answer of `POST /containers/prune`.
    pub(crate) struct PruneReport {
        containers_deleted: Option<Vec<String>>,
        space_reclaimed: u64,
    }

    /// `X-Docker-Container-Path-Stat`, base64 of this; the mode is Go's `os.FileMode`.
    pub(crate) struct PathStat ["camelCase"] {
        name: String,
        size: i64,
        mode: u32,
        mtime: String,
        link_target: String,
    }
}
