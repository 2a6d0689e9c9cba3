//! A layer and its config into a registry on this host (OCI distribution specification, "Push").

use super::packages::Recipe;
use crate::failure::Failure;
use crate::wire::client::{Body, empty, full};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use tare_types::image::media;
use tare_types::{Digest, Platform, Timestamp};
use tokio::net::TcpStream;

/// A registry that speaks plain HTTP.
#[derive(Debug)]
pub(crate) struct Registry {
    address: String,
}

impl Registry {
    /// A registry on `host:port`.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Whether it answers `GET /v2/`.
    pub(crate) async fn answers(&self) -> bool {
        let answer = self.send(Method::GET, "/v2/", "", empty()).await;
        answer.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Body,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| Failure::new(format!("connect to the registry {}: {error}", self.address)))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the answer has been read.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.address);
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        Ok(sender.send_request(request.body(body)?).await?)
    }

    async fn expect(
        &self,
        response: Response<Incoming>,
        what: &str,
        wanted: StatusCode,
    ) -> Result<(), Failure> {
        if response.status() == wanted {
            return Ok(());
        }
        let status = response.status();
        let text =
            response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Err(Failure::new(format!("registry {}: {what}: {status} {text}", self.address)))
    }

    async fn push_blob(&self, name: &str, bytes: Bytes) -> Result<Digest, Failure> {
        let digest = Digest::of_bytes(&bytes);
        let response = self.send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), "", empty()).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let Some(location) = location.map(str::to_owned) else {
            return self.expect(response, "start an upload", StatusCode::ACCEPTED).await.map(|()| digest);
        };
        let path =
            location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
        let path = path.unwrap_or(location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path =
            format!("{path}{separator}digest={}", crate::wire::client::percent_encode(digest.as_str()));
        let response = self.send(Method::PUT, &path, "application/octet-stream", full(bytes)).await?;
        self.expect(response, "upload a blob", StatusCode::CREATED).await?;
        Ok(digest)
    }
}

/// Pushes the layer with a config and a manifest; returns the image's name.
pub(crate) async fn push(address: &str, recipe: &Recipe, layer: &Path) -> Result<String, Failure> {
    let registry = Registry::new(address);
    let failed = |error: std::io::Error| Failure::new(format!("read {}: {error}", layer.display()));
    let plain = std::fs::read(layer).map_err(failed)?;
    let diff_id = Digest::of_bytes(&plain);
    drop(plain);
    let packed = Command::new("gzip").args(["-n", "-6", "-c"]).arg(layer).output();
    let packed = packed.map_err(|error| Failure::new(format!("run gzip: {error}")))?;
    if !packed.status.success() {
        return Err(Failure::new(format!("gzip ended with {}", packed.status)));
    }
    let packed = Bytes::from(packed.stdout);
    let size = packed.len();
    let digest = registry.push_blob(recipe.name, packed).await?;
    let config = Bytes::from(config(recipe, &diff_id).to_string());
    let config_size = config.len();
    let config_digest = registry.push_blob(recipe.name, config).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_CONFIG, "digest": config_digest, "size": config_size},
        "layers": [{"mediaType": media::OCI_LAYER_GZIP, "digest": digest, "size": size}],
    });
    let path = format!("/v2/{}/manifests/latest", recipe.name);
    let response = registry.send(Method::PUT, &path, media::OCI_MANIFEST, full(manifest.to_string())).await?;
    registry.expect(response, "put the manifest", StatusCode::CREATED).await?;
    Ok(format!("{address}/{}", recipe.name))
}

fn config(recipe: &Recipe, diff_id: &Digest) -> serde_json::Value {
    let platform = Platform::host();
    let now = Timestamp::new(crate::view::human::now(), 0).to_string();
    let set = |names: &[&str]| {
        names.iter().map(|name| ((*name).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "created": now,
        "config": {
            "User": recipe.user, "Env": recipe.environment, "Entrypoint": recipe.entrypoint, "Cmd": recipe.command,
            "WorkingDir": recipe.working_directory, "ExposedPorts": set(recipe.ports), "Volumes": set(recipe.volumes),
            "StopSignal": recipe.stop_signal,
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": now, "created_by": format!("tare image bootstrap {}", recipe.name)}],
    })
}
