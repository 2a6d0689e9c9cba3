//! A container to create: Docker's request becomes the engine's.

use crate::convert::defaults::{self, Defaults};
use crate::convert::extension::Extension;
use crate::convert::{exec, health, mounts, network, resources, security};
use crate::error::ApiError;
use crate::query::quote;
use crate::version::ApiVersion;
use crate::wire::StringMap;
use crate::wire::config::Config;
use crate::wire::container::CreateRequest;
use crate::wire::host_config::{HostConfig, RestartPolicy as WireRestart};
use tare_engine::images::Image;
use tare_engine::record::DOCKER_EXTENSION;
use tare_engine::request::{CreateContainer, LogConfig, ProcessRequest, RestartPolicy};
use tare_types::{Namespace, Platform};

/// Everything around the body of a request.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Version that the client speaks.
    pub(crate) version: ApiVersion,
    /// Name that the client wants.
    pub(crate) name: Option<&'a str>,
    /// Platform that the client wants.
    pub(crate) platform: Option<Platform>,
    /// What the daemon says.
    pub(crate) defaults: &'a Defaults,
    /// Processors online.
    pub(crate) cpus: usize,
    /// Processors and memory nodes, as lists of the kernel's form.
    pub(crate) online: (&'a str, &'a str),
    /// Whether the host can weigh block I/O.
    pub(crate) block_weight: bool,
}

/// Checks the request and translates it, with warnings. The record keeps it as the image and the daemon complete it.
pub(crate) fn to_request(
    mut wire: CreateRequest,
    image: &Image,
    context: &Context<'_>,
) -> Result<(CreateContainer, Vec<String>), ApiError> {
    defaults::adapt(&mut wire, context.version)?;
    let asked = wire.config;
    let mut host = wire.host_config.unwrap_or_default();
    let networking = wire.networking_config.unwrap_or_default();
    let mut warnings = resources::discard_unsupported(&mut host.resources, context.block_weight);
    if host.network_mode == "host" && host.port_bindings.as_ref().is_some_and(|map| !map.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    check(&asked, &host, context)?;

    let mut request = CreateContainer::new(Namespace::default_namespace(), asked.image.clone());
    request.name = context.name.map(ToOwned::to_owned);
    request.platform.clone_from(&context.platform);
    request.runtime = non_empty(&host.runtime);
    request.process = to_process(&asked, &host);
    request.hostname = non_empty(&asked.hostname);
    request.domainname = non_empty(&asked.domainname);
    request.labels = asked.labels.clone().unwrap_or_default();
    request.annotations = host.annotations.clone().unwrap_or_default();
    request.mounts = mounts::to_requests(&asked, &host)?;
    request.volumes_from = host.volumes_from.clone().unwrap_or_default();
    request.resources = resources::to_resources(&host.resources);
    request.security = security::to_security(&host)?;
    request.network = network::to_request(&asked, &host, &networking)?;
    request.restart = to_restart(&host.restart_policy, host.auto_remove)?;
    request.log = to_log(&host);
    request.stop_signal = non_empty(&asked.stop_signal);
    request.stop_timeout = asked.stop_timeout;
    request.auto_remove = host.auto_remove;
    request.shm_size = u64::try_from(host.shm_size).ok().filter(|size| *size > 0);
    request.init = host.init.unwrap_or_default();

    let mut config = asked;
    defaults::merge_image(&mut config, &image.config.config);
    health::check(&config)?;
    request.health = health::to_check(&config);
    if config.entrypoint.is_empty() && config.cmd.is_empty() {
        return Err(ApiError::bad_parameter("no command specified"));
    }
    defaults::fill_host(&mut host, context.defaults);
    let extension = Extension { config, host_config: host, networking };
    request.extensions.insert(DOCKER_EXTENSION.to_owned(), extension.to_any());
    Ok((request, warnings))
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn to_process(config: &Config, host: &HostConfig) -> ProcessRequest {
    ProcessRequest {
        entrypoint: config.entrypoint.0.clone(),
        args: config.cmd.as_slice().to_vec(),
        env: config.env.clone().unwrap_or_default(),
        user: config.user.clone(),
        cwd: config.working_dir.clone(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        console_size: exec::console_size(Some(host.console_size)),
    }
}

/// The log driver that the client names, or options for the daemon's.
fn to_log(host: &HostConfig) -> Option<LogConfig> {
    let options = host.log_config.config.clone().unwrap_or_default();
    match host.log_config.kind.as_str() {
        "" if options.is_empty() => None,
        "" => Some(LogConfig { options, ..LogConfig::default() }),
        driver => Some(LogConfig { driver: driver.to_owned(), options }),
    }
}

/// Reads a restart policy.
pub(crate) fn to_restart(policy: &WireRestart, auto_remove: bool) -> Result<RestartPolicy, ApiError> {
    let count = policy.maximum_retry_count;
    let restart = match policy.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" if count < 0 => {
            return Err(ApiError::bad_parameter(
                "invalid restart policy: maximum retry count cannot be negative",
            ));
        }
        "on-failure" => RestartPolicy::OnFailure(u32::try_from(count).unwrap_or(u32::MAX)),
        other => {
            return Err(ApiError::bad_parameter(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    let retries_mean_nothing =
        matches!(policy.name.as_str(), "no" | "always" | "unless-stopped") && count != 0;
    if retries_mean_nothing {
        let hint = if count < 0 { " and cannot be negative" } else { "" };
        return Err(ApiError::bad_parameter(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{hint}"
        )));
    }
    if auto_remove && restart != RestartPolicy::No {
        return Err(ApiError::bad_parameter("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(restart)
}

/// What dockerd refuses before it looks at anything else.
fn check(config: &Config, host: &HostConfig, context: &Context<'_>) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::bad_parameter(message));
    if let Some(name) = context.name.filter(|name| !is_name(name)) {
        return refuse(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let dir = &config.working_dir;
        return refuse(format!("the working directory '{dir}' is invalid, it needs to be an absolute path"));
    }
    if let Some(variable) = config.env.iter().flatten().find(|v| v.is_empty() || v.starts_with('=')) {
        return refuse(format!("invalid environment variable: {variable}"));
    }
    if host.shm_size < 0 {
        return refuse("SHM size can not be less than 0".to_owned());
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return refuse(format!("invalid isolation '{}' on linux", host.isolation));
    }
    check_log(host)?;
    if let Some(key) = host.annotations.as_ref().and_then(first_empty_key) {
        return refuse(format!(
            "invalid Annotations: the empty string is not permitted as an annotation key{key}"
        ));
    }
    if host.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return refuse(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option".to_owned(),
        );
    }
    resources::check(&host.resources, context.cpus, false)?;
    resources::check_sets(&host.resources, context.online.0, context.online.1)
}

fn first_empty_key(map: &StringMap) -> Option<&str> {
    map.keys().find(|key| key.is_empty()).map(String::as_str)
}

/// Options of the log driver that its writer does not know would be lost silently.
fn check_log(host: &HostConfig) -> Result<(), ApiError> {
    let driver = host.log_config.kind.as_str();
    let known: &[&str] = match driver {
        "" | "json-file" => {
            &["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"]
        }
        "none" => return Ok(()),
        other => {
            let message = format!("logger: no log driver named '{other}' is registered");
            return Err(ApiError::bad_parameter(message));
        }
    };
    match host.log_config.config.iter().flatten().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(ApiError::bad_parameter(format!("unknown log opt '{name}' for json-file log driver")))
        }
        None => Ok(()),
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]+` with an optional slash before it.
pub(crate) fn is_name(name: &str) -> bool {
    let name = name.strip_prefix('/').unwrap_or(name).as_bytes();
    name.len() >= 2
        && name[0].is_ascii_alphanumeric()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Reads `os[/arch[/variant]]`.
pub(crate) fn parse_platform(text: &str) -> Result<Option<Platform>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    Platform::parse(text)
        .map(Some)
        .map_err(|error| ApiError::bad_parameter(format!("{}: {error}", quote(text))))
}

#[cfg(test)]
mod tests;
