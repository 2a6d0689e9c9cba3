//! Whole images and file systems in and out: commit, import, export, save, load.

use crate::body::{self, Handled};
use crate::convert::changes;
use crate::convert::create::parse_platform;
use crate::convert::defaults;
use crate::convert::extension::Extension;
use crate::door::Docker;
use crate::error::ApiError;
use crate::handlers::archive::feed;
use crate::handlers::images::repo_tag;
use crate::request::Request;
use crate::wire::config::Config;
use http::StatusCode;
use serde_json::json;
use tare_engine::images::{CommitRequest, ImportRequest};
use tare_types::Reference;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks read ahead of the engine.
const AHEAD: usize = 8;

/// `repo` and `tag` of a request; `None` without a repository.
fn name(request: &Request) -> Result<Option<Reference>, ApiError> {
    match request.query.get("repo") {
        "" => Ok(None),
        repo => repo_tag(repo, request.query.get("tag")).map(Some),
    }
}

/// `POST /commit`.
pub(crate) async fn commit(door: &Docker, mut request: Request) -> Handled {
    let own: Option<Config> = if request.has_body() { request.optional_json().await? } else { None };
    let container = request.required("container")?.to_owned();
    let view = door.engine().containers().get(door.namespace(), &container).await?;
    let extension = Extension::from_record(&view.record).unwrap_or_default();
    let of_container = extension.config;
    let created_by = of_container.cmd.as_slice().join(" ");
    let mut config = own.unwrap_or_else(|| of_container.clone());
    let lines: Vec<&str> = request.query.all("changes").collect();
    changes::apply(&mut config, &lines)?;
    defaults::merge_image(&mut config, &changes::to_execution(&of_container));
    let commit = CommitRequest {
        name: name(&request)?,
        config: Some(changes::to_execution(&config)),
        author: request.query.get("author").to_owned(),
        comment: request.query.get("comment").to_owned(),
        created_by,
        pause: request.query.flag_or("pause", true),
    };
    let id = door.engine().images().commit(door.namespace(), view.record.id.as_str(), commit).await?;
    body::json(StatusCode::CREATED, &json!({ "Id": id.to_string() }))
}

/// `POST /images/create?fromSrc=-`: the body is a tar archive.
pub(crate) async fn import(door: &Docker, request: Request) -> Handled {
    if request.query.get("fromSrc") != "-" {
        return Err(ApiError::not_implemented(
            "POST /images/create with fromSrc of another place than the body",
        ));
    }
    let mut config = Config::default();
    let lines: Vec<&str> = request.query.all("changes").collect();
    changes::apply(&mut config, &lines)?;
    let comment = match request.query.get("message") {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    let import = ImportRequest {
        name: name(&request)?,
        config: changes::to_execution(&config),
        comment,
        platform: parse_platform(request.query.get("platform"))?,
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let images = door.engine().images();
    let importing = images.import(door.namespace(), import, receiver);
    let ((), id) = tokio::join!(feed(request.body, sender), importing);
    let id = id.map_err(archive_error)?;
    body::ok(&json!({ "status": id.to_string() }))
}

/// `GET /containers/{name}/export`.
pub(crate) async fn export(door: &Docker, name: &str) -> Handled {
    let chunks = door.engine().archive().export(door.namespace(), name).await?;
    Ok(body::stream("application/x-tar", ReceiverStream::new(chunks)))
}

/// `GET /images/get` and `GET /images/{name}/get`.
pub(crate) async fn save(door: &Docker, names: &[String]) -> Handled {
    if names.is_empty() {
        return Err(ApiError::bad_parameter("no image names were given"));
    }
    let chunks = door.engine().images().save(door.namespace(), names).await?;
    Ok(body::stream("application/x-tar", ReceiverStream::new(chunks)))
}

/// `POST /images/load`. The answer begins before the work, so that its errors are lines of it.
pub(crate) async fn load(door: &Docker, request: Request) -> Handled {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let images = door.engine().images();
    let ((), loaded) = tokio::join!(feed(request.body, sender), images.load(door.namespace(), receiver));
    let mut text = String::new();
    match loaded {
        Ok(loaded) => {
            for image in loaded {
                if image.names.is_empty() {
                    text += &line(&json!({ "stream": format!("Loaded image ID: {}\n", image.id) }));
                }
                for name in image.names {
                    let name = name.familiar();
                    text += &line(&json!({ "stream": format!("Loaded image: {name}\n") }));
                }
            }
        }
        Err(error) => {
            let message = archive_error(error).message().to_owned();
            text += &line(&json!({ "errorDetail": { "message": message }, "error": message }));
        }
    }
    Ok(body::bytes(StatusCode::OK, "application/json", text))
}

/// The error of an archive that cannot be read, without the layer that it was to be: the reason alone.
fn archive_error(error: tare_engine::Error) -> ApiError {
    let text = error.to_string();
    match text.split_once("apply layer entry ") {
        Some((_, reason)) => {
            let reason = reason.strip_prefix("\"\": ").unwrap_or(reason);
            ApiError::bad_parameter(format!("Error processing tar file: {reason}"))
        }
        None => error.into(),
    }
}

fn line(value: &serde_json::Value) -> String {
    format!("{value}\r\n")
}
