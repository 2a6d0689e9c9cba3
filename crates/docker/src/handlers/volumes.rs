//! Volumes.

use crate::body::{self, Handled};
use crate::convert::list::is_prunable;
use crate::convert::volume::{to_request, to_wire};
use crate::door::Docker;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::request::Request;
use crate::wire::volume::{Create, List, PruneReport};
use http::StatusCode;
use std::collections::BTreeMap;
use tare_engine::volumes::Volume;
use tare_types::ErrorKind;

const FILTERS: &[&str] = &["dangling", "driver", "label", "name"];

/// How many containers refer to each volume.
pub(crate) async fn references(door: &Docker) -> BTreeMap<String, i64> {
    let mut references = BTreeMap::new();
    for view in door.engine().containers().list(door.namespace()).await {
        let mounts = view.record.engine.iter().flat_map(|fields| &fields.mounts);
        for mount in mounts.filter(|mount| !mount.name.is_empty()) {
            *references.entry(mount.name.clone()).or_default() += 1;
        }
    }
    references
}

/// `GET /volumes`.
pub(crate) async fn list(door: &Docker, request: &Request) -> Handled {
    let filters = Filters::parse(request.query.get("filters"))?.accept(FILTERS)?;
    let dangling = filters.contains("dangling").then(|| filters.flag_or("dangling", false)).transpose()?;
    let references = references(door).await;
    let is_wanted = |volume: &Volume| {
        let is_name = !filters.contains("name")
            || filters.values("name").any(|part| crate::pattern::is_found(part, &volume.name));
        let is_dangling = dangling.is_none_or(|dangling| dangling != references.contains_key(&volume.name));
        is_name
            && is_dangling
            && filters.matches_exactly("driver", &volume.driver)
            && filters.matches_labels("label", &volume.labels)
    };
    let volumes = door.engine().volumes().list().await?;
    let volumes = volumes.iter().filter(|volume| is_wanted(volume)).map(|volume| to_wire(volume, None));
    body::ok(&List { volumes: volumes.collect(), warnings: None })
}

/// `POST /volumes/create`.
pub(crate) async fn create(door: &Docker, mut request: Request) -> Handled {
    let wire: Create = request.json().await?;
    if wire.cluster_volume_spec.is_some() {
        return Err(ApiError::not_implemented("cluster volumes"));
    }
    let name = wire.name.clone();
    if !name.is_empty() && !is_name(&name) {
        return Err(ApiError::bad_parameter(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() == 1 {
        let message = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(ApiError::bad_parameter(format!("create {name}: {message}")));
    }
    if !matches!(wire.driver.as_str(), "" | "local") {
        let driver = &wire.driver;
        return Err(ApiError::not_found(format!(
            "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
        )));
    }
    let created = door.engine().volumes().create(to_request(wire)).await;
    let volume = created.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ApiError::conflict(format!(
            "create {name}: conflict: volume name must be unique: {}",
            error.detail()
        )),
        ErrorKind::InvalidArgument => error.into(),
        _ => ApiError::from(error).map_message(|text| format!("create {name}: {text}")),
    })?;
    body::json(StatusCode::CREATED, &to_wire(&volume, None))
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `GET /volumes/{name}`.
pub(crate) async fn inspect(door: &Docker, name: &str) -> Handled {
    let volume = door.engine().volumes().get(name).await?;
    body::ok(&to_wire(&volume, None))
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(door: &Docker, request: &Request, name: &str) -> Handled {
    let removed = door.engine().volumes().remove(name, request.query.flag("force")).await;
    removed.map_err(|error| match error.kind() {
        ErrorKind::FailedPrecondition => {
            ApiError::conflict(format!("remove {name}: volume is in use - [{}]", error.detail()))
        }
        _ => error.into(),
    })?;
    body::no_content()
}

/// `POST /volumes/prune`. Before API 1.42 named volumes went too.
pub(crate) async fn prune(door: &Docker, request: &Request) -> Handled {
    let filters = Filters::parse(request.query.get("filters"))?.accept(&["all", "label", "label!"])?;
    let all = !request.version.at_least(42) || filters.flag_or("all", false)?;
    let select = |volume: &Volume| is_prunable(&filters, &volume.labels, volume.created_at, None);
    let (names, reclaimed) = door.engine().volumes().prune(all, select).await?;
    body::ok(&PruneReport {
        volumes_deleted: Some(names).filter(|names| !names.is_empty()),
        space_reclaimed: reclaimed,
    })
}
