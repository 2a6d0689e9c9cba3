//! `hosts.toml`: which endpoints serve a registry, in order (containerd's hosts directory layout).
//!
//! `<dir>/<host>_<port>_/hosts.toml`, `<dir>/<host>[:<port>]/hosts.toml`, `<dir>/_default/hosts.toml`. A directory
//! without the file may hold Docker's `*.crt`, `*.cert` and `*.key`. Without either: the registry itself.

use crate::{
    ClientOptions, Error, Result,
    credentials::normalise_registry,
    endpoint::{Capabilities, Endpoint, TlsOptions, is_loopback},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::{
    io,
    path::{Path, PathBuf},
};
use tare_types::ErrorKind;

/// The endpoints of a registry: mirrors in the order of the file, the registry itself last.
pub(crate) fn load_endpoints(options: &ClientOptions, domain: &str) -> Result<Vec<Endpoint>> {
    for directory in &options.hosts_directories {
        for candidate in candidates(directory, domain) {
            match std::fs::read_to_string(candidate.join("hosts.toml")) {
                Ok(text) => return parse_hosts(&text, &candidate, options, domain),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = candidate.join("hosts.toml").display().to_string();
                    return Err(Error::new(ErrorKind::FailedPrecondition, "read", path, error.to_string())
                        .with_source(error));
                }
            }
            if let Some(tls) = docker_certificates(&candidate) {
                let mut origin = default_origin(options, domain)?;
                origin.scheme = "https";
                origin.tls = tls;
                return Ok(vec![origin]);
            }
        }
    }
    let mut endpoints = Vec::new();
    if normalise_registry(domain) == "docker.io" {
        for url in &options.hub_mirrors {
            let mirror = Endpoint::parse(url, false)?;
            endpoints
                .push(Endpoint { capabilities: Capabilities { push: false, ..Capabilities::ALL }, ..mirror });
        }
    }
    endpoints.push(default_origin(options, domain)?);
    Ok(endpoints)
}

fn candidates(directory: &Path, domain: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some((host, port)) = domain.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        found.push(directory.join(format!("{host}_{port}_")));
    }
    found.push(directory.join(domain));
    found.push(directory.join("_default"));
    found
}

/// The registry itself, as no file says anything about it.
fn default_origin(options: &ClientOptions, domain: &str) -> Result<Endpoint> {
    let matches = |list: &[String]| {
        let host_only = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
        list.iter().any(|entry| entry == domain || entry == host_only)
    };
    let host = if normalise_registry(domain) == "docker.io" { "registry-1.docker.io" } else { domain };
    let plain = matches(&options.plain_http) || (is_loopback(domain) && !domain.ends_with(":443"));
    let mut endpoint = Endpoint::parse(&format!("{}://{host}", if plain { "http" } else { "https" }), false)?;
    endpoint.tls.skip_verify = matches(&options.skip_verify);
    endpoint.origin = true;
    Ok(endpoint)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HostsFile {
    server: Option<String>,
    #[serde(flatten)]
    root: HostEntry,
    // The order of the tables is the order of the attempts.
    host: toml::Table,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct HostEntry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: toml::Table,
    override_path: bool,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn parse_hosts(text: &str, directory: &Path, options: &ClientOptions, domain: &str) -> Result<Vec<Endpoint>> {
    let path = directory.join("hosts.toml").display().to_string();
    let invalid = |detail: String| Error::new(ErrorKind::InvalidArgument, "parse", path.clone(), detail);
    let file: HostsFile =
        toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().replace('\n', " ")))?;
    let mut endpoints = Vec::new();
    for (url, value) in &file.host {
        let entry: HostEntry = value.clone().try_into().map_err(|e| invalid(format!("host {url:?}: {e}")))?;
        let mut endpoint = Endpoint::parse(url, entry.override_path)?;
        fill(&mut endpoint, &entry, directory)
            .map_err(|detail| invalid(format!("host {url:?}: {detail}")))?;
        endpoints.push(endpoint);
    }
    let mut origin = match file.server.as_deref().filter(|server| !server.is_empty()) {
        Some(server) => Endpoint::parse(server, file.root.override_path)?,
        None => default_origin(options, domain)?,
    };
    fill(&mut origin, &file.root, directory).map_err(invalid)?;
    // A host table for the registry itself stands in its place, as the place is written down there.
    let host = if normalise_registry(domain) == "docker.io" { "registry-1.docker.io" } else { domain };
    for endpoint in &mut endpoints {
        endpoint.origin = endpoint.authority == host;
    }
    if !endpoints
        .iter()
        .any(|endpoint| endpoint.authority == origin.authority && endpoint.scheme == origin.scheme)
    {
        // Credentials are for the registry of the reference; a foreign `server` is a mirror like any other.
        origin.origin = origin.authority == host;
        endpoints.push(origin);
    }
    Ok(endpoints)
}

fn fill(endpoint: &mut Endpoint, entry: &HostEntry, directory: &Path) -> std::result::Result<(), String> {
    if let Some(list) = &entry.capabilities {
        let has = |word: &str| list.iter().any(|entry| entry == word);
        if let Some(bad) =
            list.iter().find(|word| !matches!(word.as_str(), "pull" | "resolve" | "push" | "referrers"))
        {
            return Err(format!("unknown capability {bad:?}"));
        }
        endpoint.capabilities =
            Capabilities { pull: has("pull"), resolve: has("resolve"), push: has("push") };
    }
    let list = match &entry.ca {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one.clone()],
        Some(OneOrMany::Many(many)) => many.clone(),
    };
    endpoint.tls.authorities = list.iter().map(|file| directory.join(file)).collect();
    endpoint.tls.clients = parse_clients(entry.client.as_ref(), directory)?;
    endpoint.tls.skip_verify = entry.skip_verify.unwrap_or(endpoint.tls.skip_verify);
    endpoint.headers = parse_headers(&entry.header)?;
    Ok(())
}

/// `"both.pem"`, `["a.pem", "b.pem"]` or `[["a.cert", "a.key"], …]`.
fn parse_clients(
    value: Option<&toml::Value>,
    directory: &Path,
) -> std::result::Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
    let file = |text: &str| directory.join(text);
    let entry = |value: &toml::Value| match value {
        toml::Value::String(one) => Ok((file(one), None)),
        toml::Value::Array(pair) => match pair.as_slice() {
            [toml::Value::String(cert)] => Ok((file(cert), None)),
            [toml::Value::String(cert), toml::Value::String(key)] if key.is_empty() => Ok((file(cert), None)),
            [toml::Value::String(cert), toml::Value::String(key)] => Ok((file(cert), Some(file(key)))),
            _ => Err("client: a pair must be [certificate, key]".to_string()),
        },
        _ => Err("client: expected a path or a list".to_string()),
    };
    match value {
        None => Ok(Vec::new()),
        Some(toml::Value::Array(list)) => list.iter().map(entry).collect(),
        Some(one) => Ok(vec![entry(one)?]),
    }
}

fn parse_headers(table: &toml::Table) -> std::result::Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let bad = || format!("header {name:?} is not a valid header");
        let key: HeaderName = name.parse().map_err(|_| bad())?;
        let values = match value {
            toml::Value::Array(list) => list.iter().collect(),
            one => vec![one],
        };
        for value in values {
            let text = value.as_str().ok_or_else(bad)?;
            headers.append(key.clone(), HeaderValue::from_str(text).map_err(|_| bad())?);
        }
    }
    Ok(headers)
}

/// Docker's `/etc/docker/certs.d/<host>` layout; `None` when the directory has no certificate.
fn docker_certificates(directory: &Path) -> Option<TlsOptions> {
    let mut tls = TlsOptions::default();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    for path in names {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                tls.clients.push((path, Some(key)));
            }
            _ => {}
        }
    }
    (!tls.authorities.is_empty() || !tls.clients.is_empty()).then_some(tls)
}

#[cfg(test)]
mod tests;
