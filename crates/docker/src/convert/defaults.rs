//! What dockerd fills into a request before it keeps it, so that `inspect` shows what the container really has.

use crate::convert::{health, ports};
use crate::error::ApiError;
use crate::version::ApiVersion;
use crate::wire::StrSlice;
use crate::wire::config::{Config, HealthConfig};
use crate::wire::container::CreateRequest;
use crate::wire::host_config::HostConfig;
use tare_engine::request::LogConfig;
use tare_types::image::{Empty, ExecutionConfig};
use tare_types::specgen::{default_masked_paths, default_readonly_paths};

/// What the daemon itself says.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// Log driver and options of a container that names none.
    pub(crate) log: LogConfig,
    /// Whether the host has one cgroup tree (v2): its containers get a namespace of it.
    pub(crate) cgroup_v2: bool,
}

const SHM_SIZE: i64 = 64 << 20;

/// Takes out what a client of this version cannot mean, as dockerd does for older clients.
pub(crate) fn adapt(request: &mut CreateRequest, version: ApiVersion) -> Result<(), ApiError> {
    let host = request.host_config.get_or_insert_default();
    let networking = request.networking_config.get_or_insert_default();
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".to_owned();
        if let Some(endpoint) = networking.endpoints_config.remove("default") {
            networking.endpoints_config.insert("bridge".to_owned(), endpoint);
        }
    }
    if !version.at_least(25) {
        host.auto_remove = false;
    }
    if !version.at_least(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".to_owned();
    }
    if !version.at_least(42) {
        host.console_size = [0, 0];
    }
    if version.at_least(42) {
        host.resources.kernel_memory = 0;
    }
    if !version.at_least(43) {
        host.annotations = None;
    }
    if !version.at_least(44) && networking.endpoints_config.len() > 1 {
        let names: Vec<&str> = networking.endpoints_config.keys().map(String::as_str).collect();
        return Err(ApiError::bad_parameter(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    if host.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        host.resources.pids_limit = None;
    }
    Ok(())
}

/// Adds to the configuration what the image says and the client does not.
pub(crate) fn merge_image(config: &mut Config, image: &ExecutionConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    merge_ports(config, image);
    merge_env(config, image);
    let labels = config.labels.get_or_insert_default();
    for (name, value) in &image.labels {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.is_empty() {
        if config.cmd.is_empty() {
            config.cmd = StrSlice(Some(image.cmd.clone()).filter(|cmd| !cmd.is_empty()));
        }
        // An empty entrypoint was set to take the image's away.
        if config.entrypoint.0.is_none() && !image.entrypoint.is_empty() {
            config.entrypoint = StrSlice(Some(image.entrypoint.clone()));
        }
    }
    if config.entrypoint.0.as_deref() == Some(&[String::new()]) {
        config.entrypoint = StrSlice(None);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if !image.volumes.is_empty() {
        let volumes = config.volumes.get_or_insert_default();
        volumes.extend(image.volumes.keys().map(|target| (target.clone(), Empty {})));
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    let of_image = image.healthcheck.as_ref().map(|check| HealthConfig {
        test: Some(check.test.clone()),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    });
    match (&mut config.healthcheck, of_image) {
        (Some(own), Some(of_image)) => health::merge(own, &of_image),
        (own @ None, of_image) => *own = of_image,
        (Some(_), None) => {}
    }
}

fn merge_ports(config: &mut Config, image: &ExecutionConfig) {
    if image.exposed_ports.is_empty() {
        return;
    }
    let ports = config.exposed_ports.get_or_insert_default();
    for port in image.exposed_ports.keys() {
        // An image's port that cannot be read is the image's fault and stops nobody.
        if let Ok(port) = ports::parse_port(port) {
            ports.extend(ports::canonical([port]).into_keys().map(|port| (port, Empty {})));
        }
    }
}

/// A name without a value stays: the engine takes the variable away when the container starts.
fn merge_env(config: &mut Config, image: &ExecutionConfig) {
    if image.env.is_empty() {
        return;
    }
    let name = |variable: &str| variable.split_once('=').map_or(variable, |(name, _)| name).to_owned();
    let own = config.env.get_or_insert_default();
    let names: std::collections::BTreeSet<String> = own.iter().map(|variable| name(variable)).collect();
    own.extend(image.env.iter().filter(|variable| !names.contains(&name(variable))).cloned());
}

/// Fills the host configuration with what the daemon says.
pub(crate) fn fill_host(host: &mut HostConfig, defaults: &Defaults) {
    if host.log_config.kind.is_empty() {
        host.log_config.kind.clone_from(&defaults.log.driver);
    }
    let options = host.log_config.config.get_or_insert_default();
    if host.log_config.kind == defaults.log.driver && options.is_empty() {
        options.clone_from(&defaults.log.options);
    }
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode = "private".to_owned();
    }
    if host.cgroupns_mode.is_empty() {
        let own = defaults.cgroup_v2 && !host.privileged;
        host.cgroupns_mode = if own { "private" } else { "host" }.to_owned();
    }
    if host.runtime.is_empty() {
        host.runtime = "runc".to_owned();
    }
    if host.resources.memory > 0 && host.resources.memory_swap == 0 {
        host.resources.memory_swap = host.resources.memory.saturating_mul(2);
    }
    if host.resources.memory_swappiness == Some(-1) {
        host.resources.memory_swappiness = None;
    }
    if host.resources.oom_kill_disable.is_none() && !defaults.cgroup_v2 {
        host.resources.oom_kill_disable = Some(false);
    }
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        if host.masked_paths.is_none() {
            host.masked_paths = Some(default_masked_paths());
        }
        if host.readonly_paths.is_none() {
            host.readonly_paths = Some(default_readonly_paths());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(json: &str) -> ExecutionConfig {
        serde_json::from_str(json).unwrap()
    }

    fn config(json: &str) -> Config {
        crate::wire::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_image_fills_what_the_client_left_open() {
        let image = image(
            r#"{"Cmd":["nginx"],"Entrypoint":["/entry"],"Env":["PATH=/bin","A=1"],"ExposedPorts":{"80":{}},
                "Volumes":{"/data":{}},"Labels":{"a":"image","b":"image"},"WorkingDir":"/srv","StopSignal":"SIGQUIT"}"#,
        );
        let mut merged = config(r#"{"Env":["A=2"],"Labels":{"a":"own"}}"#);
        merge_image(&mut merged, &image);
        assert_eq!(merged.cmd.as_slice(), ["nginx"]);
        assert_eq!(merged.entrypoint.as_slice(), ["/entry"]);
        assert_eq!(merged.env.unwrap(), ["A=2", "PATH=/bin"]);
        assert!(merged.exposed_ports.unwrap().contains_key("80/tcp"));
        assert_eq!(merged.labels.unwrap(), [("a".into(), "own".into()), ("b".into(), "image".into())].into());
        assert_eq!((merged.working_dir.as_str(), merged.stop_signal.as_str()), ("/srv", "SIGQUIT"));
    }

    #[test]
    fn an_entrypoint_of_the_client_drops_the_images_command() {
        let image = image(r#"{"Cmd":["nginx"],"Entrypoint":["/entry"]}"#);
        let mut merged = config(r#"{"Entrypoint":["sh"]}"#);
        merge_image(&mut merged, &image);
        assert_eq!((merged.entrypoint.as_slice(), merged.cmd.0), (&["sh".to_owned()][..], None));
        let mut merged = config(r#"{"Entrypoint":[""],"Cmd":["ls"]}"#);
        merge_image(&mut merged, &image);
        assert_eq!((merged.entrypoint.0, merged.cmd.as_slice()), (None, &["ls".to_owned()][..]));
    }

    #[test]
    fn the_daemon_fills_the_host_configuration() {
        let defaults = Defaults { log: LogConfig::default(), cgroup_v2: false };
        let mut host: HostConfig = crate::wire::parse(br#"{"Memory":10000000}"#).unwrap();
        fill_host(&mut host, &defaults);
        assert_eq!((host.log_config.kind.as_str(), host.shm_size), ("json-file", 64 << 20));
        assert_eq!((host.ipc_mode.as_str(), host.cgroupns_mode.as_str()), ("private", "host"));
        assert_eq!(host.resources.memory_swap, 20_000_000);
        assert!(host.masked_paths.unwrap().contains(&"/proc/kcore".to_owned()));
    }

    #[test]
    fn older_clients_mean_less() {
        let (old, _) = crate::version::split("/v1.24/x").unwrap();
        let mut request: CreateRequest =
            crate::wire::parse(br#"{"HostConfig":{"AutoRemove":true,"PidsLimit":-1}}"#).unwrap();
        adapt(&mut request, old).unwrap();
        let host = request.host_config.unwrap();
        assert!(!host.auto_remove && host.resources.pids_limit.is_none());
        assert_eq!((host.network_mode.as_str(), host.ipc_mode.as_str()), ("bridge", "shareable"));
    }
}
