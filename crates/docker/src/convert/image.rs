//! Images.

use crate::convert::time_text;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::pattern::path_matches;
use crate::version::ApiVersion;
use crate::wire::container::GraphDriver;
use crate::wire::image::{Deleted, History, Inspect, Metadata, RootFs, Summary};
use serde_json::{Map, Value, json};
use tare_engine::images::{Image, Removed};
use tare_types::{Reference, Timestamp};

/// Names that the filters of images know.
pub(crate) const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

/// One row of the list. `containers` is how many use it.
pub(crate) fn to_summary(image: &Image, containers: i64, version: ApiVersion) -> Summary {
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    let mut summary = Summary {
        // Counted since API 1.51 only.
        containers: if version.at_least(51) { containers } else { -1 },
        created: image.config.created.map_or(0, |created| created.seconds),
        id: image.id.to_string(),
        labels: Some(image.config.config.labels.clone()).filter(|labels| !labels.is_empty()),
        parent_id: String::new(),
        repo_digests: image.repo_digests.iter().map(Reference::familiar).collect(),
        repo_tags: image.names.iter().map(Reference::familiar).collect(),
        shared_size: -1,
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
    };
    if !version.at_least(43) && summary.repo_tags.is_empty() && summary.repo_digests.is_empty() {
        summary.repo_tags.push("<none>:<none>".to_owned());
        summary.repo_digests.push("<none>@<none>".to_owned());
    }
    summary
}

/// The whole document.
pub(crate) fn to_inspect(image: &Image, snapshotter: &str, version: ApiVersion) -> Inspect {
    let config = &image.config;
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    Inspect {
        id: image.id.to_string(),
        repo_tags: image.names.iter().map(Reference::familiar).collect(),
        repo_digests: image.repo_digests.iter().map(Reference::familiar).collect(),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created: match config.created {
            Some(created) => created.to_string(),
            None if version.at_least(44) => String::new(),
            None => time_text(None),
        },
        author: config.author.clone(),
        config: to_config(image, version),
        architecture: config.platform.architecture.clone(),
        variant: config.platform.variant.clone(),
        os: config.platform.os.clone(),
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
        graph_driver: GraphDriver { data: None, name: snapshotter.to_owned() },
        root_fs: RootFs {
            kind: config.rootfs.kind.clone(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: time_text(Some(image.stored_at)) },
        ..Inspect::default()
    }
}

/// The image's own configuration with the empty members that clients of the version expect.
fn to_config(image: &Image, version: ApiVersion) -> Map<String, Value> {
    let mut config = match json!({
        "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "OnBuild": null, "User": "", "Volumes": null,
        "WorkingDir": "",
    }) {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    if !version.at_least(50) {
        for name in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
            config.insert(name.to_owned(), Value::Bool(false));
        }
        for name in ["Domainname", "Hostname", "Image"] {
            config.insert(name.to_owned(), Value::String(String::new()));
        }
    }
    match serde_json::to_value(&image.config.config) {
        Ok(Value::Object(own)) => config.extend(own),
        Ok(_) | Err(_) => unreachable!("invariant: a configuration prints as an object"),
    }
    config
}

/// The steps that made an image, newest first. `sizes` are the bytes of its layers, bottom first.
pub(crate) fn to_history(image: &Image, sizes: &[u64]) -> Vec<History> {
    let mut sizes = sizes.iter();
    let mut rows: Vec<History> = image
        .config
        .history
        .iter()
        .map(|step| History {
            comment: step.comment.clone(),
            created: step.created.map_or(0, |created| created.seconds),
            created_by: step.created_by.clone(),
            id: "<missing>".to_owned(),
            size: if step.empty_layer { 0 } else { sizes.next().map_or(0, |size| *size as i64) },
            tags: None,
        })
        .collect();
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest.id = image.id.to_string();
        let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
        newest.tags = Some(tags).filter(|tags| !tags.is_empty());
    }
    rows
}

/// What a removal did.
pub(crate) fn to_deleted(removed: &[Removed]) -> Vec<Deleted> {
    removed
        .iter()
        .map(|step| match step {
            Removed::Untagged(name) => Deleted { untagged: familiar(name), ..Deleted::default() },
            Removed::Deleted(digest) => Deleted { deleted: digest.to_string(), ..Deleted::default() },
        })
        .collect()
}

fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// The images between the two that `before` and `since` name, by the time they were made.
#[derive(Debug, Default)]
pub(crate) struct Span {
    pub(crate) before: Option<Timestamp>,
    pub(crate) since: Option<Timestamp>,
}

/// Whether the filters of a list let an image through.
pub(crate) fn is_wanted(image: &Image, filters: &Filters, span: &Span) -> Result<bool, ApiError> {
    let dangling = image.names.is_empty();
    let created = image.config.created.unwrap_or(Timestamp::ZERO);
    let in_span =
        span.before.is_none_or(|before| created < before) && span.since.is_none_or(|since| created > since);
    let is_dangling = !filters.contains("dangling") || filters.flag_or("dangling", false)? == dangling;
    Ok(in_span && is_dangling && filters.matches_labels("label", &image.config.config.labels))
}

/// Whether a `reference` filter takes the name: shell patterns over the familiar form, with or without its tag.
fn is_referenced(reference: &Reference, filters: &Filters) -> bool {
    let is = |pattern: &str| {
        path_matches(pattern, &reference.familiar()) || path_matches(pattern, &reference.familiar_name())
    };
    !filters.contains("reference") || filters.values("reference").any(is)
}

/// Leaves the names that the filters take; `None` when none is left of an image that had some.
pub(crate) fn with_wanted_names(mut image: Image, filters: &Filters) -> Option<Image> {
    image.names.retain(|name| is_referenced(name, filters));
    image.repo_digests.retain(|name| is_referenced(name, filters));
    let left = !image.names.is_empty() || !image.repo_digests.is_empty();
    (left || !filters.contains("reference")).then_some(image)
}
