//! `Config`: what of a container does not depend on the host it runs on.

use super::{StrSlice, StringMap};
use std::collections::BTreeMap;
use tare_types::image::Empty;

wire! {
    /// The portable part of a container (`container.Config`).
    pub(crate) struct Config {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        #[serde(skip_serializing_if = "super::is_empty_map")]
        exposed_ports: Option<BTreeMap<String, Empty>>,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Option<Vec<String>>,
        cmd: StrSlice,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "super::is_zero")]
        args_escaped: bool,
        image: String,
        volumes: Option<BTreeMap<String, Empty>>,
        working_dir: String,
        entrypoint: StrSlice,
        #[serde(skip_serializing_if = "super::is_zero")]
        network_disabled: bool,
        #[serde(skip_serializing_if = "super::is_zero")]
        mac_address: String,
        on_build: Option<Vec<String>>,
        labels: Option<StringMap>,
        #[serde(skip_serializing_if = "super::is_zero")]
        stop_signal: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "StrSlice::is_empty")]
        shell: StrSlice,
    }

    /// A health check; times in nanoseconds.
    pub(crate) struct HealthConfig {
        #[serde(skip_serializing_if = "super::is_empty_list")]
        test: Option<Vec<String>>,
        #[serde(skip_serializing_if = "super::is_zero")]
        interval: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        timeout: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        start_period: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        start_interval: i64,
        #[serde(skip_serializing_if = "super::is_zero")]
        retries: i64,
    }
}
