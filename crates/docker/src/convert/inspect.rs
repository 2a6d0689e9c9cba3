//! A container as `inspect` shows it.

use crate::convert::extension::Extension;
use crate::convert::{health, mounts, network, time_text};
use crate::wire::container::{GraphDriver, Inspect, State};
use std::path::PathBuf;
use tare_engine::state::{ContainerView, Status};
use tare_types::ExecId;

/// What the view does not hold.
#[derive(Debug)]
pub(crate) struct Details {
    /// Execs that are known.
    pub(crate) execs: Vec<ExecId>,
    /// Directory of the container's own files.
    pub(crate) directory: PathBuf,
    /// Bytes of the writable layer and of the whole root file system, if they were asked for.
    pub(crate) sizes: Option<(i64, i64)>,
    /// Its links on the built-in bridge, as `/container:/owner/alias`.
    pub(crate) links: Option<Vec<String>>,
}

/// The whole document. A container that another door made has no Docker part: what the engine knows is shown.
pub(crate) fn to_inspect(view: &ContainerView, details: Details) -> Inspect {
    let record = &view.record;
    let extension = Extension::from_record(record).unwrap_or_default();
    let mut inspect = Inspect {
        id: record.id.to_string(),
        created: time_text(Some(record.created_at)),
        state: to_state(view),
        restart_count: view.state.restart_count,
        driver: record.snapshotter.clone(),
        platform: "linux".to_owned(),
        exec_ids: Some(details.execs.iter().map(ToString::to_string).collect::<Vec<_>>())
            .filter(|execs| !execs.is_empty()),
        graph_driver: GraphDriver { data: None, name: record.snapshotter.clone() },
        size_rw: details.sizes.map(|(writable, _)| writable),
        size_root_fs: details.sizes.map(|(_, whole)| whole),
        ..Inspect::default()
    };
    // The files are made at the first start.
    if view.state.started_at.is_some() {
        let file = |name: &str| details.directory.join(name).to_string_lossy().into_owned();
        inspect.resolv_conf_path = file("resolv.conf");
        inspect.hostname_path = file("hostname");
        inspect.hosts_path = file("hosts");
        if extension.host_config.log_config.kind == "json-file" {
            inspect.log_path = file(&format!("{}-json.log", record.id));
        }
    }
    if let Some(fields) = &record.engine {
        let (path, args) =
            fields.argv.split_first().map_or((String::new(), &[][..]), |(p, a)| (p.clone(), a));
        inspect.path = path;
        inspect.args = args.to_vec();
        inspect.image = fields.image_id.to_string();
        inspect.name = format!("/{}", fields.name);
        let modes = extension.modes();
        inspect.mounts = fields.mounts.iter().map(|mount| mounts::from_mount_point(mount, &modes)).collect();
        inspect.network_settings =
            network::to_settings(view, &fields.network, &fields.exposed, &extension.networking);
    }
    inspect.config = extension.config;
    if inspect.config.hostname.is_empty() {
        inspect.config.hostname =
            record.engine.as_ref().map(|fields| fields.hostname.clone()).unwrap_or_default();
    }
    inspect.host_config = extension.host_config;
    inspect.host_config.links = details.links;
    inspect
}

/// Why the last start failed, in the words in which the start itself was answered.
fn error_text(error: &str) -> String {
    match error.strip_prefix("create task ").and_then(|rest| rest.split_once(": ")) {
        Some((_, detail)) => {
            format!("failed to create task for container: failed to create shim task: {detail}")
        }
        None => error.to_owned(),
    }
}

fn to_state(view: &ContainerView) -> State {
    let state = &view.state;
    State {
        status: state.status.as_str().to_owned(),
        // A container between two runs of its restart policy counts as running.
        running: state.status.is_running() || state.status == Status::Restarting,
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid,
        exit_code: i32::try_from(state.exit_code).unwrap_or(i32::MAX),
        error: error_text(&state.error),
        started_at: time_text(state.started_at),
        finished_at: time_text(state.finished_at),
        health: state.health.as_ref().map(health::to_wire),
    }
}
