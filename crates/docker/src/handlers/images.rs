//! Images as objects: list, inspect, tag, remove.

use crate::body::{self, Handled};
use crate::convert::error::no_such_image;
use crate::convert::image::{
    FILTERS, Span, is_wanted, to_deleted, to_history, to_inspect, to_summary, with_wanted_names,
};
use crate::convert::list::is_prunable;
use crate::door::Docker;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::handlers::system::now;
use crate::query::quote;
use crate::request::Request;
use crate::units::parse_until;
use crate::wire::image::{PruneReport, Summary};
use http::StatusCode;
use std::collections::BTreeMap;
use tare_engine::images::Image;
use tare_engine::state::ContainerView;
use tare_types::{ErrorKind, Reference, Timestamp};

pub(crate) use super::pull::{create, push};

/// Containers per image id.
async fn usage(door: &Docker) -> BTreeMap<String, Vec<ContainerView>> {
    let mut usage: BTreeMap<String, Vec<ContainerView>> = BTreeMap::new();
    for view in door.engine().containers().list(door.namespace()).await {
        if let Some(fields) = &view.record.engine {
            usage.entry(fields.image_id.to_string()).or_default().push(view);
        }
    }
    usage
}

/// `GET /images/json`.
pub(crate) async fn list(door: &Docker, request: &Request) -> Handled {
    let mut filters = Filters::parse(request.query.get("filters"))?.accept(FILTERS)?;
    // Before API 1.41 the reference was a parameter of its own.
    if let Some(reference) = request.query.non_empty("filter").filter(|_| !request.version.at_least(41)) {
        filters.add("reference", reference);
    }
    let mut span = Span { before: parse_until(&filters, now())?, since: None };
    for name in filters.values("before") {
        let created = created(door, name).await?;
        span.before = Some(span.before.map_or(created, |before| before.min(created)));
    }
    for name in filters.values("since") {
        let created = created(door, name).await?;
        span.since = Some(span.since.map_or(created, |since| since.max(created)));
    }
    let usage = usage(door).await;
    let mut rows: Vec<Summary> = Vec::new();
    for image in door.engine().images().list(door.namespace()).await? {
        if !is_wanted(&image, &filters, &span)? {
            continue;
        }
        if let Some(image) = with_wanted_names(image, &filters) {
            let containers = usage.get(image.id.as_str()).map_or(0, |views| views.len() as i64);
            rows.push(to_summary(&image, containers, request.version));
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    body::ok(&rows)
}

async fn created(door: &Docker, name: &str) -> Result<Timestamp, ApiError> {
    let image = door.engine().images().get(door.namespace(), name).await?;
    Ok(image.config.created.unwrap_or(Timestamp::ZERO))
}

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(door: &Docker, request: &Request, name: &str) -> Handled {
    let image = door.engine().images().get(door.namespace(), name).await?;
    if let Some(platform) = request.json_platform("platform")?.filter(|_| request.version.at_least(49)) {
        let own = &image.config.platform;
        if platform.rank_for(own).is_none() {
            let message = format!(
                "image with reference {name} was found but does not provide the specified platform ({platform})"
            );
            return Err(ApiError::not_found(message));
        }
    }
    let mut inspect = to_inspect(&image, &door.engine().config().snapshotter, request.version);
    let parent = door.engine().images().parent_of(door.namespace(), &image.id).await?;
    inspect.parent = parent.unwrap_or_default();
    body::ok(&inspect)
}

/// `GET /images/{name}/history`.
pub(crate) async fn history(door: &Docker, name: &str) -> Handled {
    let image = door.engine().images().get(door.namespace(), name).await?;
    let sizes = door.engine().images().layer_sizes(door.namespace(), &image).await?;
    body::ok(&to_history(&image, &sizes))
}

/// Name and tag of a request: a missing tag is `latest`.
pub(crate) fn repo_tag(repo: &str, tag: &str) -> Result<Reference, ApiError> {
    let invalid = |_| ApiError::bad_parameter("invalid reference format");
    let reference = Reference::parse_familiar(repo).map_err(|error| {
        if error.reason.contains("lower case") {
            ApiError::bad_parameter(format!(
                "invalid reference format: repository name ({repo}) must be lowercase"
            ))
        } else {
            invalid(error)
        }
    })?;
    if reference.digest().is_some() {
        return Err(ApiError::bad_parameter("cannot import digest reference"));
    }
    if tag.is_empty() {
        Ok(reference)
    } else {
        reference.with_tag(tag).map_err(|_| ApiError::bad_parameter("invalid tag format"))
    }
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(door: &Docker, request: &Request, name: &str) -> Handled {
    let repo = request.query.get("repo");
    if repo.is_empty() {
        return Err(ApiError::bad_parameter("repository name must have at least one component"));
    }
    let target = repo_tag(repo, request.query.get("tag"))?;
    if target.familiar_name() == "sha256" {
        return Err(ApiError::bad_parameter(
            "refusing to create an ambiguous tag using digest algorithm as name",
        ));
    }
    door.engine().images().tag(door.namespace(), name, &target).await?;
    Ok(body::status(StatusCode::CREATED))
}

/// `DELETE /images/{name}`.
pub(crate) async fn remove(door: &Docker, request: &Request, name: &str) -> Handled {
    if name.trim().is_empty() {
        return Err(ApiError::bad_parameter("image name cannot be blank"));
    }
    let force = request.query.flag("force");
    let images = door.engine().images();
    let image = images.get(door.namespace(), name).await?;
    let usage = usage(door).await;
    let users = usage.get(image.id.as_str()).map_or(&[][..], Vec::as_slice);
    check_removal(&image, name, force, users)?;
    let by_id = is_id_of(&image, name);
    let removed = if by_id && image.names.len() > 1 {
        // All names of one repository go with the id.
        let mut removed = Vec::new();
        for reference in &image.names {
            removed.extend(images.remove(door.namespace(), &reference.to_string(), force).await?);
        }
        removed
    } else {
        images.remove(door.namespace(), name, force).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ApiError::not_found(no_such_image(name)),
            ErrorKind::FailedPrecondition => ApiError::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is being used by container {}",
                image.id.short(),
                short_id(error.detail())
            )),
            _ => error.into(),
        })?
    };
    body::ok(&to_deleted(&removed))
}

fn is_id_of(image: &Image, name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let named = image
        .names
        .iter()
        .chain(&image.repo_digests)
        .any(|reference| Reference::parse_familiar(name).is_ok_and(|given| given == *reference));
    !named && image.id.as_str().strip_prefix("sha256:").is_some_and(|digits| digits.starts_with(hex))
}

fn short_id(id: &str) -> &str {
    &id[..id.len().min(12)]
}

/// dockerd's refusals, in its order.
fn check_removal(image: &Image, name: &str, force: bool, users: &[ContainerView]) -> Result<(), ApiError> {
    let short = image.id.short();
    let running = users.iter().find(|view| view.state.status.is_running());
    if !is_id_of(image, name) {
        if image.names.len() > 1 || force && running.is_none() {
            return Ok(());
        }
        // The last name: the image would go with it.
        return match running.or(users.first()) {
            Some(view) if !force => Err(ApiError::conflict(format!(
                "conflict: unable to remove repository reference {} (must force) - container {} is using its referenced image {short}",
                quote(name),
                short_id(view.record.id.as_str()),
            ))),
            _ => Ok(()),
        };
    }
    if let Some(view) = running {
        return Err(ApiError::conflict(format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
            short_id(view.record.id.as_str())
        )));
    }
    if force {
        return Ok(());
    }
    let repositories: std::collections::BTreeSet<String> = image.names.iter().map(Reference::name).collect();
    if repositories.len() > 1 {
        return Err(ApiError::conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    match users.first() {
        Some(view) => Err(ApiError::conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
            short_id(view.record.id.as_str())
        ))),
        None => Ok(()),
    }
}

/// `POST /images/prune`.
pub(crate) async fn prune(door: &Docker, request: &Request) -> Handled {
    let filters =
        Filters::parse(request.query.get("filters"))?.accept(&["dangling", "label", "label!", "until"])?;
    let all = !filters.flag_or("dangling", true)?;
    let until = parse_until(&filters, now())?;
    let images = door.engine().images();
    let selective = until.is_some() || filters.contains("label") || filters.contains("label!");
    let (removed, reclaimed) = if selective {
        let usage = usage(door).await;
        let (mut removed, mut reclaimed) = (Vec::new(), 0);
        for image in images.list(door.namespace()).await? {
            let created = image.config.created.unwrap_or(image.stored_at);
            let wanted = (all || image.names.is_empty())
                && !usage.contains_key(image.id.as_str())
                && is_prunable(&filters, &image.config.config.labels, created, until);
            if !wanted {
                continue;
            }
            let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
            for name in if names.is_empty() { vec![image.id.to_string()] } else { names } {
                removed.extend(images.remove(door.namespace(), &name, false).await?);
            }
            reclaimed += image.size;
        }
        (removed, reclaimed)
    } else {
        images.prune(door.namespace(), all).await?
    };
    let deleted = to_deleted(&removed);
    body::ok(&PruneReport {
        images_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
        space_reclaimed: reclaimed,
    })
}
