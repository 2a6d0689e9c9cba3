//! Containers as `ps` shows them, and its filters.

use crate::convert::extension::Extension;
use crate::convert::{health, mounts, network, ports};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::units::human_duration;
use crate::wire::StringMap;
use crate::wire::container::{Summary, SummaryHostConfig, SummaryNetworks};
use std::collections::BTreeMap;
use tare_engine::request::NetworkMode;
use tare_engine::state::{ContainerState, ContainerView, Status};
use tare_types::Timestamp;

/// Names that the filters of containers know.
pub(crate) const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// One row.
pub(crate) fn to_summary(view: &ContainerView, now: Timestamp) -> Summary {
    let record = &view.record;
    let extension = Extension::from_record(record).unwrap_or_default();
    let mut summary = Summary {
        id: record.id.to_string(),
        created: record.created_at.seconds,
        labels: extension.config.labels.clone().unwrap_or_else(|| record.labels.clone()),
        state: view.state.status.as_str().to_owned(),
        status: status_text(&view.state, now),
        image: extension.config.image.clone(),
        host_config: SummaryHostConfig {
            network_mode: extension.host_config.network_mode.clone(),
            annotations: extension.host_config.annotations.clone(),
        },
        ..Summary::default()
    };
    let Some(fields) = &record.engine else { return summary };
    summary.names = vec![format!("/{}", fields.name)];
    summary.image_id = fields.image_id.to_string();
    summary.command = command_text(&fields.argv);
    let modes = extension.modes();
    summary.mounts = fields.mounts.iter().map(|mount| mounts::from_mount_point(mount, &modes)).collect();
    if let Some(name) = network::network_name(view, &fields.network.mode) {
        let asked = extension.networking.endpoints_config.get(&name).and_then(Option::as_ref);
        let endpoint = network::from_endpoint(view.endpoint.as_ref(), &fields.network, asked);
        summary.network_settings = SummaryNetworks { networks: BTreeMap::from([(name, endpoint)]) };
    }
    let settings = network::to_settings(view, &fields.network, &fields.exposed, &extension.networking);
    summary.network_settings.networks.clone_from(&settings.networks);
    summary.ports = ports::to_rows(&settings.ports);
    summary
}

/// Program and arguments; one with a space stands in quotes.
fn command_text(argv: &[String]) -> String {
    let mut text = argv.first().cloned().unwrap_or_default();
    for argument in argv.iter().skip(1) {
        text.push(' ');
        if argument.contains(' ') {
            text.push_str(&format!("'{argument}'"));
        } else {
            text.push_str(argument);
        }
    }
    text
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status_text(state: &ContainerState, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| {
        human_duration(
            time.map_or(0, |time| now.unix_nanos().saturating_sub(time.unix_nanos()) / 1_000_000_000),
        )
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", since(state.started_at), health::suffix(state)),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}

/// What a listing asks for.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) all: bool,
    /// At most so many, running or not; 0 is no bound.
    pub(crate) limit: usize,
    /// Ids of images that the `ancestor` filter means; `None` without the filter.
    pub(crate) ancestors: Option<Vec<String>>,
    pub(crate) filters: Filters,
}

/// The rows that a selection takes, of all containers, newest first.
pub(crate) fn select(
    views: &[ContainerView],
    selection: &Selection,
    now: Timestamp,
) -> Result<Vec<Summary>, ApiError> {
    let filters = &selection.filters;
    check_filters(filters)?;
    // A task of a swarm never runs here.
    if filters.flag_or("is-task", false)? {
        return Ok(Vec::new());
    }
    let all = selection.all || filters.contains("status") || selection.limit > 0;
    let before = position(views, filters, "before")?;
    let since = position(views, filters, "since")?;
    let mut rows = Vec::new();
    for (at, view) in views.iter().enumerate() {
        if before.is_some_and(|before| at <= before) {
            continue;
        }
        if since.is_some_and(|since| at >= since) || (selection.limit > 0 && rows.len() == selection.limit) {
            break;
        }
        let running = view.state.status.is_running() || view.state.status == Status::Restarting;
        if !running && !all {
            continue;
        }
        let mut row = to_summary(view, now);
        row.names.extend(link_names(views, view));
        if is_wanted(view, &row, selection)? {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The further names that links of others give a container: `/owner/alias`.
fn link_names<'a>(views: &'a [ContainerView], view: &'a ContainerView) -> impl Iterator<Item = String> + 'a {
    let fields = views.iter().filter_map(|other| other.record.engine.as_ref());
    fields.filter(|fields| fields.network.mode == NetworkMode::Bridge).flat_map(|fields| {
        let links = fields.network.links.iter().filter(|link| link.container == view.record.id.as_str());
        links.map(|link| format!("/{}/{}", fields.name, link.alias))
    })
}

fn check_filters(filters: &Filters) -> Result<(), ApiError> {
    for value in filters.values("status") {
        if !STATES.contains(&value) {
            return Err(ApiError::bad_parameter(format!(
                "invalid filter 'status={value}': invalid value for state ({value}): must be one of {}",
                STATES.join(", ")
            )));
        }
    }
    for value in filters.values("health") {
        if !["none", "starting", "healthy", "unhealthy"].contains(&value) {
            return Err(ApiError::bad_parameter(format!(
                "invalid filter 'health={value}': invalid value for health ({value}): must be one of none, starting, healthy, unhealthy"
            )));
        }
    }
    for value in filters.values("exited") {
        if value.parse::<i64>().is_err() {
            return Err(ApiError::bad_parameter(format!(
                "invalid filter 'exited={value}': strconv.Atoi: parsing {}: invalid syntax",
                crate::query::quote(value)
            )));
        }
    }
    Ok(())
}

/// Where the container named by `before` or `since` stands.
fn position(views: &[ContainerView], filters: &Filters, name: &str) -> Result<Option<usize>, ApiError> {
    let mut found = None;
    for wanted in filters.values(name) {
        let at = views.iter().position(|view| is_named(view, wanted));
        found = Some(at.ok_or_else(|| ApiError::not_found(format!("No such container: {wanted}")))?);
    }
    Ok(found)
}

fn is_named(view: &ContainerView, wanted: &str) -> bool {
    let name = view.record.engine.as_ref().map_or("", |fields| fields.name.as_str());
    view.record.id.as_str() == wanted || name == wanted.trim_start_matches('/')
}

fn is_wanted(view: &ContainerView, row: &Summary, selection: &Selection) -> Result<bool, ApiError> {
    let filters = &selection.filters;
    let name = row.names.first().map_or("", String::as_str);
    let is_name = filters.matches("name", name) || filters.matches("name", name.trim_start_matches('/'));
    // An image that was asked for without its tag is shown by its id once the tag points elsewhere; the row knows.
    let is_ancestor = selection.ancestors.as_ref().is_none_or(|ids| ids.contains(&row.image_id));
    Ok(is_name
        && is_ancestor
        && filters.matches_prefix("id", &row.id)
        && filters.matches_labels("label", &row.labels)
        && filters.matches_exactly("status", &row.state)
        && filters.matches_exactly("health", health::word(&view.state))
        && is_exited_with(view, filters)
        && has_volume(row, filters)
        && has_network(row, filters)
        && has_port(row, filters)?)
}

fn is_exited_with(view: &ContainerView, filters: &Filters) -> bool {
    let state = &view.state;
    !filters.contains("exited")
        || (state.status == Status::Exited && filters.matches_exactly("exited", &state.exit_code.to_string()))
}

fn has_volume(row: &Summary, filters: &Filters) -> bool {
    let is = |wanted: &str| {
        row.mounts.iter().any(|mount| {
            let origin = if mount.name.is_empty() { &mount.source } else { &mount.name };
            mount.destination == wanted || origin == wanted
        })
    };
    !filters.contains("volume") || filters.values("volume").any(is)
}

fn has_network(row: &Summary, filters: &Filters) -> bool {
    let networks = &row.network_settings.networks;
    let is = |wanted: &str| {
        networks.contains_key(wanted)
            || networks.values().any(|endpoint| endpoint.network_id.starts_with(wanted))
    };
    !filters.contains("network") || filters.values("network").any(is)
}

fn has_port(row: &Summary, filters: &Filters) -> Result<bool, ApiError> {
    let (published, exposed) = (port_ranges(filters, "publish")?, port_ranges(filters, "expose")?);
    if published.is_empty() && exposed.is_empty() {
        return Ok(true);
    }
    let is_in = |ranges: &[(u16, u16, String)], port: u16, kind: &str| {
        ranges.iter().any(|(first, last, wanted)| (*first..=*last).contains(&port) && wanted == kind)
    };
    Ok(row.ports.iter().any(|port| {
        is_in(&published, port.public_port, &port.kind) || is_in(&exposed, port.private_port, &port.kind)
    }))
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_ranges(filters: &Filters, name: &str) -> Result<Vec<(u16, u16, String)>, ApiError> {
    let mut ranges = Vec::new();
    for value in filters.values(name) {
        let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let read = |text: &str| {
            text.parse::<u16>().map_err(|_| {
                ApiError::bad_parameter(format!(
                    "error while looking up for {name} {value}: strconv.ParseUint: parsing {}: invalid syntax",
                    crate::query::quote(text)
                ))
            })
        };
        ranges.push((read(first)?, read(last)?, protocol.to_owned()));
    }
    Ok(ranges)
}

/// Whether the labels pass `label` and `label!`, and the creation `until`, of a prune.
pub(crate) fn is_prunable(
    filters: &Filters,
    labels: &StringMap,
    created: Timestamp,
    until: Option<Timestamp>,
) -> bool {
    let excluded = filters.values("label!").any(|wanted| crate::filters::has_label(wanted, labels));
    filters.matches_labels("label", labels) && !excluded && until.is_none_or(|until| created < until)
}

#[cfg(test)]
mod tests;
