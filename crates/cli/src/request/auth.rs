//! Credentials of registries, where docker keeps them: `~/.docker/config.json` and its helpers.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tare_types::Reference;

/// The key of Docker Hub in the file, for historical reasons.
const HUB: &str = "https://index.docker.io/v1/";

/// Path of the file: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
pub(crate) fn config_path() -> PathBuf {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker")
    });
    directory.join("config.json")
}

fn load() -> Result<Value, Failure> {
    let path = config_path();
    match std::fs::read(&path) {
        Ok(bytes) if bytes.is_empty() => Ok(json!({})),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(Failure::new(format!("read {}: {error}", path.display()))),
    }
}

/// The key under which a registry's credentials stand.
pub(crate) fn key_of(domain: &str) -> String {
    if matches!(domain, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return HUB.to_owned();
    }
    domain.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// The `X-Registry-Auth` header for an image, if there are credentials.
pub(crate) fn header_for(image: &str) -> Result<Option<String>, Failure> {
    let Ok(reference) = Reference::parse_familiar(image) else { return Ok(None) };
    let key = key_of(reference.domain());
    Ok(lookup(&key)?.map(|credentials| URL_SAFE.encode(credentials.to_string())))
}

fn lookup(key: &str) -> Result<Option<Value>, Failure> {
    let config = load()?;
    let helper = config["credHelpers"][key].as_str().or_else(|| config["credsStore"].as_str());
    if let Some(helper) = helper {
        return ask_helper(helper, key);
    }
    let entry = &config["auths"][key];
    if entry.is_null() {
        return Ok(None);
    }
    if let Some(token) = entry["identitytoken"].as_str() {
        return Ok(Some(json!({"identitytoken": token, "serveraddress": key})));
    }
    let decoded = entry["auth"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let Some((user, password)) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| {
        text.split_once(':').map(|(u, p)| (u.to_owned(), p.trim_end_matches('\0').to_owned()))
    }) else {
        return Ok(None);
    };
    Ok(Some(json!({"username": user, "password": password, "serveraddress": key})))
}

/// Asks `docker-credential-NAME get`. A helper that is missing is an error, not a fall back to no credentials
/// (CVE-2021-41092).
fn ask_helper(helper: &str, key: &str) -> Result<Option<Value>, Failure> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(Failure::new(format!("credential helper {helper:?}: not a helper's name")));
    }
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| Failure::new(format!("run {program} get: {error}"));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        // The helpers' way of saying that they know nothing of this registry.
        return Ok(None);
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let (user, secret) = (&answer["Username"], &answer["Secret"]);
    Ok(Some(if user == "<token>" {
        json!({"identitytoken": secret, "serveraddress": key})
    } else {
        json!({"username": user, "password": secret, "serveraddress": key})
    }))
}

/// Stores what a login gave; the file is private to its owner.
pub(crate) fn store(key: &str, user: &str, password: &str, token: &str) -> Result<(), Failure> {
    let mut config = load()?;
    let mut entry = json!({"auth": STANDARD.encode(format!("{user}:{password}"))});
    if !token.is_empty() {
        entry = json!({"auth": STANDARD.encode(format!("{user}:")), "identitytoken": token});
    }
    config["auths"][key] = entry;
    save(&config)
}

/// Forgets a registry; says whether it was known.
pub(crate) fn forget(key: &str) -> Result<bool, Failure> {
    let mut config = load()?;
    let known = config["auths"].as_object_mut().and_then(|auths| auths.remove(key)).is_some();
    if known {
        save(&config)?;
    }
    Ok(known)
}

fn save(config: &Value) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = config_path();
    let failed = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(format!("{config:#}\n").as_bytes()).map_err(failed)?;
    std::fs::rename(&temporary, &path).map_err(failed)
}
