//! Containers as objects: list, create, inspect, remove.

use crate::body::{self, Handled};
use crate::convert::create::{Context, parse_platform, to_request, to_restart};
use crate::convert::inspect::{Details, to_inspect};
use crate::convert::list::{FILTERS, Selection, is_prunable, select};
use crate::convert::resources;
use crate::door::Docker;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::handlers::lifecycle::not_running;
use crate::handlers::system::now;
use crate::request::Request;
use crate::units::parse_until;
use crate::wire::container::{Change, CreateRequest, CreateResponse, PruneReport, Top, UpdateResponse};
use crate::wire::host_config::UpdateRequest;
use http::StatusCode;
use tare_engine::changes::ChangeKind;
use tare_engine::containers::{RemoveOptions, UpdateContainer};
use tare_engine::record::DOCKER_EXTENSION;
use tare_engine::request::NetworkMode;
use tare_engine::state::Status;
use tare_types::ErrorKind;

/// `GET /containers/json`.
pub(crate) async fn list(door: &Docker, request: &Request) -> Handled {
    let query = &request.query;
    let filters = Filters::parse(query.get("filters"))?.accept(FILTERS)?;
    let limit = query.integer("limit")?.unwrap_or(0);
    let mut ancestors = None;
    for name in filters.values("ancestor") {
        let ids: &mut Vec<String> = ancestors.get_or_insert_default();
        // An image that is not there has no containers.
        if let Ok(image) = door.engine().images().get(door.namespace(), name).await {
            ids.push(image.id.to_string());
        }
    }
    let selection = Selection {
        all: query.flag("all"),
        limit: usize::try_from(limit).unwrap_or(0),
        ancestors,
        filters: with_bounds(filters, query.get("before"), query.get("since")),
    };
    let views = door.engine().containers().list(door.namespace()).await;
    let mut rows = select(&views, &selection, now())?;
    if query.flag("size") {
        for row in &mut rows {
            if let Some(view) = views.iter().find(|view| view.record.id.as_str() == row.id) {
                (row.size_rw, row.size_root_fs) = sizes(door, view).await;
            }
        }
    }
    if !request.version.at_least(46) {
        rows.iter_mut().for_each(|row| row.host_config.annotations = None);
    }
    body::ok(&rows)
}

/// Bytes of the writable layer, and of all; 0 when they cannot be counted.
pub(crate) async fn sizes(door: &Docker, view: &tare_engine::state::ContainerView) -> (i64, i64) {
    let wire = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let sizes = door.engine().containers().sizes(view).await;
    sizes.map_or((0, 0), |(written, all)| (wire(written), wire(all)))
}

/// Before API 1.22 `before` and `since` were parameters of their own.
fn with_bounds(mut filters: Filters, before: &str, since: &str) -> Filters {
    for (name, value) in [("before", before), ("since", since)] {
        if !value.is_empty() {
            filters.add(name, value);
        }
    }
    filters
}

/// `POST /containers/create`.
pub(crate) async fn create(door: &Docker, mut request: Request) -> Handled {
    request.check_json()?;
    let wire: CreateRequest = request.required_json().await?;
    let platform = parse_platform(request.query.get("platform"))?;
    if wire.config.image.is_empty() {
        return Err(ApiError::bad_parameter("no command specified"));
    }
    let image = door.engine().images().get(door.namespace(), &wire.config.image).await?;
    if let Some(wanted) = platform.as_ref().filter(|wanted| image.config.platform.rank_for(wanted).is_none())
    {
        return Err(ApiError::not_found(format!(
            "image with reference {} was found but does not provide the specified platform ({wanted})",
            wire.config.image
        )));
    }
    let (cpus, nodes) = crate::host::online_sets();
    let context = Context {
        online: (&cpus, &nodes),
        block_weight: crate::host::has_block_weight(),
        version: request.version,
        name: request.query.non_empty("name"),
        platform,
        defaults: door.defaults(),
        cpus: door.cpus(),
    };
    let (create, mut warnings) = to_request(wire, &image, &context)?;
    let created = door.engine().containers().create_from(create, image).await.map_err(|error| {
        let is_other = error.kind() == ErrorKind::NotFound && error.what() != "image";
        let answer = ApiError::from(error);
        // 404 would make the docker command pull the image.
        if is_other { ApiError::bad_parameter(answer.message()) } else { answer }
    })?;
    warnings.extend(created.warnings);
    let response = CreateResponse { id: created.id.to_string(), warnings };
    body::json(StatusCode::CREATED, &response)
}

/// `GET /containers/{name}/json`.
pub(crate) async fn inspect(door: &Docker, request: &Request, name: &str) -> Handled {
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let sizes = match request.query.flag("size") {
        true => Some(sizes(door, &view).await),
        false => None,
    };
    let (namespace, id) = (&view.record.namespace, &view.record.id);
    let details = Details {
        execs: containers.execs(namespace, id),
        directory: containers.directory(namespace, id),
        links: links(door, &view).await,
        sizes,
    };
    body::ok(&to_inspect(&view, details))
}

/// The links of a container on the built-in bridge, as `/container:/owner/alias`.
async fn links(door: &Docker, view: &tare_engine::state::ContainerView) -> Option<Vec<String>> {
    let fields = view.record.engine.as_ref().filter(|fields| fields.network.mode == NetworkMode::Bridge)?;
    let mut shown = Vec::new();
    for link in &fields.network.links {
        // One that is gone leads nowhere.
        let Ok(other) = door.engine().containers().get(door.namespace(), &link.container).await else {
            continue;
        };
        let name = other.record.engine.as_ref().map_or("", |theirs| theirs.name.as_str());
        shown.push(format!("/{name}:/{}/{}", fields.name, link.alias));
    }
    Some(shown).filter(|shown| !shown.is_empty())
}

/// `DELETE /containers/{name}`.
pub(crate) async fn remove(door: &Docker, request: &Request, name: &str) -> Handled {
    let query = &request.query;
    if query.flag("link") {
        let Some((parent, alias)) = name.trim_start_matches('/').split_once('/') else {
            return Err(ApiError::bad_parameter(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        door.engine().containers().unlink(door.namespace(), parent, alias).await?;
        return Ok(body::status(StatusCode::NO_CONTENT));
    }
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let force = query.flag("force");
    let words = |text: String| format!("cannot remove container \"{name}\": {text}");
    if !force {
        let refuse = |why: String| Err(ApiError::conflict(why).map_message(words));
        match view.state.status {
            Status::Paused => return refuse("container is paused and must be unpaused first".to_owned()),
            status @ (Status::Running | Status::Restarting) => {
                return refuse(format!(
                    "container is {}: stop the container before removing or force remove",
                    status.as_str()
                ));
            }
            Status::Created | Status::Removing | Status::Exited | Status::Dead => {}
        }
    }
    let options = RemoveOptions { force, volumes: query.flag("v") };
    match containers.remove(door.namespace(), view.record.id.as_str(), options).await {
        Ok(()) => body::no_content(),
        Err(error) if error.kind() == ErrorKind::Aborted => {
            Err(ApiError::conflict(format!("removal of container {name} is already in progress")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error.into()),
        Err(error) => Err(ApiError::from(error).map_message(words)),
    }
}

/// `POST /containers/{name}/rename`.
pub(crate) async fn rename(door: &Docker, request: &Request, name: &str) -> Handled {
    let new = request.query.get("name");
    if new.is_empty() || name.is_empty() {
        return Err(ApiError::bad_parameter("Neither old nor new names may be empty"));
    }
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let old = view.record.engine.as_ref().map_or("", |fields| fields.name.as_str());
    if old == new.trim_start_matches('/') {
        return Err(ApiError::bad_parameter("Renaming a container with the same name as its current name"));
    }
    let words = |text: String| format!("Error when allocating new name: {text}");
    if !crate::convert::create::is_name(new) {
        let message = format!("Invalid container name ({new}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        return Err(ApiError::bad_parameter(message).map_message(words));
    }
    let renamed = containers.rename(door.namespace(), view.record.id.as_str(), new).await;
    renamed.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ApiError::from(error).map_message(words),
        _ => ApiError::from(error),
    })?;
    body::no_content()
}

/// `POST /containers/{name}/update`.
pub(crate) async fn update(door: &Docker, mut request: Request, name: &str) -> Handled {
    let mut wire: UpdateRequest = request.json().await?;
    if !request.version.at_least(40) {
        wire.resources.pids_limit = None;
    }
    if wire.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        wire.resources.pids_limit = Some(-1);
    }
    resources::check(&wire.resources, door.cpus(), true)?;
    let containers = door.engine().containers();
    let view = containers.get(door.namespace(), name).await?;
    let auto_remove = view.record.engine.as_ref().is_some_and(|fields| fields.auto_remove);
    let restart = match wire.restart_policy.name.as_str() {
        "" => None,
        _ if auto_remove => {
            return Err(ApiError::bad_parameter(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        _ => Some(to_restart(&wire.restart_policy, false)?),
    };
    let change = UpdateContainer { resources: Some(resources::to_resources(&wire.resources)), restart };
    let id = view.record.id.clone();
    let warnings = containers.update(door.namespace(), id.as_str(), change).await.map_err(|error| {
        ApiError::from(error).map_message(|text| format!("Cannot update container {id}: {text}"))
    })?;
    keep_update(door, &view.record.id, wire).await?;
    body::ok(&UpdateResponse { warnings: Some(warnings) })
}

/// Writes the change into the Docker part of the record, which `inspect` shows.
async fn keep_update(
    door: &Docker,
    id: &tare_types::ContainerId,
    wire: UpdateRequest,
) -> Result<(), ApiError> {
    let change = move |record: &mut tare_engine::ContainerRecord| {
        if let Some(mut extension) = crate::convert::extension::Extension::from_record(record) {
            resources::merge(&mut extension.host_config.resources, &wire.resources);
            if !wire.restart_policy.name.is_empty() {
                extension.host_config.restart_policy = wire.restart_policy;
            }
            record.extensions.insert(DOCKER_EXTENSION.to_owned(), extension.to_any());
        }
        Ok(())
    };
    door.engine().records().update(door.namespace(), id, change).await?;
    Ok(())
}

/// `GET /containers/{name}/changes`.
pub(crate) async fn changes(door: &Docker, name: &str) -> Handled {
    let changes = door.engine().containers().changes(door.namespace(), name).await?;
    let rows: Vec<Change> = changes
        .into_iter()
        .map(|change| Change {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    body::ok(&Some(rows).filter(|rows| !rows.is_empty()))
}

/// `GET /containers/{name}/top`.
pub(crate) async fn top(door: &Docker, request: &Request, name: &str) -> Handled {
    let arguments = request.query.non_empty("ps_args").unwrap_or("-ef");
    let view = door.engine().containers().get(door.namespace(), name).await?;
    match view.state.status {
        Status::Running | Status::Paused => {}
        Status::Restarting => {
            let id = &view.record.id;
            let message = format!("Container {id} is restarting, wait until the container is running");
            return Err(ApiError::conflict(message));
        }
        Status::Created | Status::Removing | Status::Exited | Status::Dead => return Err(not_running(&view)),
    }
    let table = door.engine().top().processes(door.namespace(), view.record.id.as_str(), arguments).await?;
    body::ok(&Top { processes: table.rows, titles: table.titles })
}

/// `POST /containers/prune`.
pub(crate) async fn prune(door: &Docker, request: &Request) -> Handled {
    let filters = Filters::parse(request.query.get("filters"))?.accept(&["label", "label!", "until"])?;
    let until = parse_until(&filters, now())?;
    let select = |view: &tare_engine::state::ContainerView| {
        let labels = crate::convert::extension::Extension::from_record(&view.record)
            .and_then(|extension| extension.config.labels)
            .unwrap_or_else(|| view.record.labels.clone());
        is_prunable(&filters, &labels, view.record.created_at, until)
    };
    let pruned = door.engine().containers().prune(door.namespace(), select).await?;
    let ids: Vec<String> = pruned.removed.iter().map(ToString::to_string).collect();
    body::ok(&PruneReport {
        containers_deleted: Some(ids).filter(|ids| !ids.is_empty()),
        space_reclaimed: pruned.reclaimed,
    })
}
