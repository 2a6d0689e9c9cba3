//! The daemon itself: ping, version, information, events, disk usage, login.

use crate::body::{self, Handled};
use crate::convert::event::{is_wanted, to_message};
use crate::convert::{image, list, volume};
use crate::door::Docker;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::handlers::{containers, pull, volumes};
use crate::host;
use crate::request::Request;
use crate::units::parse_unix;
use crate::version::ApiVersion;
use crate::wire::event::Message;
use crate::wire::system::{
    AuthConfig, AuthResponse, Commit, Component, DiskUsage, IndexConfig, Info, Platform, Plugins,
    RegistryConfig, Runtime, Swarm, Version,
};
use crate::wire::volume::Usage;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tare_engine::events::{Event, Subscription};
use tare_types::{ErrorKind, Timestamp};

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// `GET` and `HEAD /_ping`.
pub(crate) fn ping(head: bool) -> Handled {
    let text: &[u8] = if head { b"" } else { b"OK" };
    let mut reply = body::bytes(StatusCode::OK, "text/plain; charset=utf-8", text);
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // The classic builder: clients must not take BuildKit for granted.
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(reply)
}

/// `OPTIONS` of any path.
pub(crate) fn options() -> Handled {
    Ok(body::status(StatusCode::OK))
}

/// `GET /version`.
pub(crate) fn version(door: &Docker) -> Handled {
    let config = door.config();
    let kernel_version = host::kernel_version();
    let details = [
        ("ApiVersion", ApiVersion::MAX.to_string()),
        ("Arch", host::go_arch().to_owned()),
        ("BuildTime", config.build_time.clone()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", config.git_commit.clone()),
        ("GoVersion", String::new()),
        ("KernelVersion", kernel_version.clone()),
        ("MinAPIVersion", ApiVersion::MIN.to_string()),
        ("Os", "linux".to_owned()),
    ];
    let details = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    body::ok(&Version {
        platform: Platform { name: "Tare".to_owned() },
        components: vec![Component {
            name: "Engine".to_owned(),
            version: config.version.clone(),
            details: Some(details),
        }],
        version: config.version.clone(),
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: ApiVersion::MIN.to_string(),
        git_commit: config.git_commit.clone(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: host::go_arch().to_owned(),
        kernel_version,
        experimental: false,
        build_time: config.build_time.clone(),
    })
}

/// `GET /info`.
pub(crate) async fn info(door: &Docker, version: ApiVersion) -> Handled {
    let engine = door.engine();
    let config = engine.config();
    let counts = engine.containers().counts(door.namespace());
    let images = engine.images().list(door.namespace()).await?.len();
    let v2 = door.defaults().cgroup_v2;
    let commit =
        |id: &str| Commit { id: id.to_owned(), expected: (!version.at_least(49)).then(|| id.to_owned()) };
    let mut info = Info {
        id: config.instance.clone(),
        containers: counts.containers,
        containers_running: counts.running,
        containers_paused: counts.paused,
        containers_stopped: counts.stopped,
        images,
        driver: config.snapshotter.clone(),
        driver_status: vec![["driver-type".to_owned(), "io.containerd.snapshotter.v1".to_owned()]],
        plugins: plugins(),
        memory_limit: host::has_controller("memory"),
        swap_limit: host::has_controller("memory"),
        cpu_cfs_period: host::has_controller("cpu"),
        cpu_cfs_quota: host::has_controller("cpu"),
        cpu_shares: host::has_controller("cpu"),
        cpu_set: host::has_controller("cpuset"),
        pids_limit: host::has_controller("pids"),
        ipv4_forwarding: host::forwards_ipv4(),
        n_fd: host::open_descriptors(),
        oom_kill_disable: !v2 && host::has_controller("memory"),
        system_time: now().to_string(),
        logging_driver: config.log.driver.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if v2 { "2" } else { "1" }.to_owned(),
        kernel_version: host::kernel_version(),
        operating_system: host::os_release("PRETTY_NAME"),
        os_version: host::os_release("VERSION_ID"),
        os_type: "linux".to_owned(),
        architecture: host::machine().to_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(&config.insecure_registries),
        ncpu: door.cpus(),
        mem_total: host::memory(),
        docker_root_dir: config.root.to_string_lossy().into_owned(),
        name: host::name(),
        server_version: door.config().version.clone(),
        runtimes: runtimes(door),
        default_runtime: "runc".to_owned(),
        swarm: Swarm { local_node_state: "inactive".to_owned(), ..Swarm::default() },
        // Containers outlive the daemon by design.
        live_restore_enabled: true,
        containerd_commit: commit(&door.config().git_commit),
        runc_commit: commit(&door.config().git_commit),
        init_commit: commit(&door.config().git_commit),
        security_options: security_options(v2),
        ..Info::default()
    };
    let mut warnings = Vec::new();
    if !info.ipv4_forwarding {
        warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
    for chain in engine.networks().other_firewalls().await {
        warnings.push(format!(
            "WARNING: the firewall chain {chain} drops forwarded packets: containers on a bridge reach nobody unless it accepts their bridge"
        ));
    }
    info.warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
    body::ok(&info)
}

fn plugins() -> Plugins {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Plugins {
        volume: names(&["local"]),
        network: names(&["bridge", "host", "null"]),
        authorization: None,
        log: names(&["json-file", "none"]),
    }
}

fn registries(insecure: &[String]) -> RegistryConfig {
    let index = |name: &str, official: bool, secure: bool| IndexConfig {
        mirrors: Vec::new(),
        name: name.to_owned(),
        official,
        secure,
    };
    let mut index_configs = BTreeMap::from([("docker.io".to_owned(), index("docker.io", true, true))]);
    for name in insecure {
        index_configs.insert(name.clone(), index(name, false, false));
    }
    RegistryConfig {
        insecure_registry_cidrs: vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()],
        index_configs,
        mirrors: None,
    }
}

fn runtimes(door: &Docker) -> BTreeMap<String, Runtime> {
    let config = door.engine().config();
    let mut runtimes: BTreeMap<String, Runtime> = ["runc", "io.containerd.runc.v2"]
        .into_iter()
        .map(|name| {
            (
                name.to_owned(),
                Runtime { path: config.shim.to_string_lossy().into_owned(), ..Runtime::default() },
            )
        })
        .collect();
    for (name, entry) in &config.runtimes {
        let path = entry
            .binary_name
            .clone()
            .unwrap_or_else(|| entry.shim.as_ref().unwrap_or(&config.shim).to_string_lossy().into_owned());
        runtimes.insert(name.clone(), Runtime { path, ..Runtime::default() });
    }
    runtimes
}

fn security_options(cgroup_v2: bool) -> Vec<String> {
    let mut options = Vec::new();
    if host::has_apparmor() {
        options.push("name=apparmor".to_owned());
    }
    options.push("name=seccomp,profile=builtin".to_owned());
    if cgroup_v2 {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// `POST /auth`.
pub(crate) async fn auth(door: &Docker, mut request: Request) -> Handled {
    let config: AuthConfig = request.json().await?;
    let server = Some(config.serveraddress.clone()).filter(|server| !server.is_empty());
    let server = server.unwrap_or_else(|| "https://index.docker.io/v1/".to_owned());
    let credentials = pull::to_credentials(config).unwrap_or_default();
    let token =
        door.engine().images().login(&server, credentials).await.map_err(|error| match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
                ApiError::new(StatusCode::UNAUTHORIZED, error.to_string())
            }
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => ApiError::internal(error.to_string()),
            _ => error.into(),
        })?;
    body::ok(&AuthResponse {
        status: "Login Succeeded".to_owned(),
        identity_token: token.unwrap_or_default(),
    })
}

/// `POST /build/prune`: there is no build cache, so nothing of it is removed.
pub(crate) fn build_cache_prune() -> Handled {
    body::ok(&serde_json::json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))
}

/// `GET /system/df`.
pub(crate) async fn disk_usage(door: &Docker, request: &Request) -> Handled {
    let mut wanted: Vec<&str> = request.query.all("type").collect();
    if wanted.is_empty() || !request.version.at_least(42) {
        wanted = vec!["container", "image", "volume", "build-cache"];
    }
    let mut usage = DiskUsage::default();
    let views = door.engine().containers().list(door.namespace()).await;
    for part in wanted {
        match part {
            "container" => {
                let mut rows = Vec::new();
                for view in &views {
                    let mut row = list::to_summary(view, now());
                    (row.size_rw, row.size_root_fs) = containers::sizes(door, view).await;
                    rows.push(row);
                }
                usage.containers = Some(rows);
            }
            "image" => {
                let images = door.engine().images().list(door.namespace()).await?;
                usage.layers_size = images.iter().map(|image| image.size as i64).sum();
                let count = |id: &str| {
                    let fields = views.iter().filter_map(|view| view.record.engine.as_ref());
                    fields.filter(|fields| fields.image_id.as_str() == id).count() as i64
                };
                // Disk usage counts the containers whatever the version says.
                let rows = images.iter().map(|found| {
                    let containers = count(found.id.as_str());
                    let mut row = image::to_summary(found, containers, request.version);
                    row.containers = containers;
                    row.shared_size = 0;
                    row
                });
                usage.images = Some(rows.collect());
            }
            "volume" => usage.volumes = Some(volume_usage(door).await?),
            "build-cache" => usage.build_cache = Some(Vec::new()),
            other => return Err(ApiError::bad_parameter(format!("unknown object type: {other}"))),
        }
    }
    body::ok(&usage)
}

async fn volume_usage(door: &Docker) -> Result<Vec<crate::wire::volume::Volume>, ApiError> {
    let references = volumes::references(door).await;
    let volumes = door.engine().volumes().list().await?;
    let mut rows = Vec::new();
    for found in &volumes {
        let ref_count = references.get(&found.name).copied().unwrap_or(0);
        let size = door.engine().volumes().size(&found.name).await;
        // -1: the size is not known.
        let size = size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
        rows.push(volume::to_wire(found, Some(Usage { ref_count, size })));
    }
    Ok(rows)
}

/// `GET /events`.
pub(crate) fn events(door: &Docker, request: &Request) -> Handled {
    let query = &request.query;
    let (since, until) = (parse_unix(query.get("since"))?, parse_unix(query.get("until"))?);
    if let (Some(from), Some(to)) = (since, until)
        && to < from
    {
        return Err(ApiError::bad_parameter(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.get("since"),
            query.get("until")
        )));
    }
    // Names that it does not know select nothing away, as in dockerd.
    let filters = Filters::parse(query.get("filters"))?;
    let (past, present) = door.engine().events().subscribe();
    // Without a bound nobody asks for the past.
    let past = if since.is_some() || until.is_some() { past } else { Vec::new() };
    let left = until.map(|until| until.unix_nanos().saturating_sub(now().unix_nanos()));
    let watch = Watch {
        wanted: Wanted {
            namespace: door.namespace().clone(),
            since,
            until,
            filters,
            version: request.version,
        },
        past: past.into(),
        present: left.is_none_or(|left| left > 0).then_some(present),
        deadline: left
            .and_then(|left| u64::try_from(left).ok())
            .map(|left| tokio::time::Instant::now() + Duration::from_nanos(left)),
    };
    Ok(body::stream("application/json", watch.lines()))
}

/// Which events a client wants.
struct Wanted {
    namespace: tare_types::Namespace,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filters: Filters,
    version: ApiVersion,
}

impl Wanted {
    fn message(&self, event: &Event) -> Option<Message> {
        let in_time = self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until);
        if event.namespace != self.namespace || !in_time {
            return None;
        }
        let message = to_message(event)?;
        // Creations of images are told since API 1.46.
        let known = self.version.at_least(46) || message.kind != "image" || message.action != "create";
        (known && is_wanted(&message, &self.filters)).then_some(message)
    }
}

/// A client that watches.
struct Watch {
    wanted: Wanted,
    past: VecDeque<Arc<Event>>,
    present: Option<Subscription>,
    deadline: Option<tokio::time::Instant>,
}

impl Watch {
    fn lines(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut watch| async move {
            loop {
                let event = watch.next().await?;
                if let Some(message) = watch.wanted.message(&event) {
                    let line = serde_json::to_vec(&message).map_err(std::io::Error::other).map(|mut line| {
                        line.push(b'\n');
                        Bytes::from(line)
                    });
                    return Some((line, watch));
                }
            }
        })
    }

    async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        let present = self.present.as_mut()?;
        loop {
            let next = match self.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, present.next()).await.ok()?,
                None => present.next().await,
            };
            match next? {
                Ok(event) => return Some(event),
                // A client that reads slowly loses events; the stream goes on.
                Err(lost) => tracing::debug!(lost, "a client of events was too slow"),
            }
        }
    }
}

/// The answer to what only the manager of a swarm knows.
pub(crate) fn not_a_manager() -> ApiError {
    let unavailable = http::StatusCode::SERVICE_UNAVAILABLE;
    ApiError::new(
        unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}

/// The answer to a node that would leave a swarm.
pub(crate) fn not_in_swarm() -> ApiError {
    ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm")
}
