//! Starting a shim, and cleaning up with the shim's binary when its process died: containerd's bootstrap of shims
//! (`SHIM -namespace … -address … -id … start|delete`).

use super::{Shim, bundle::Bundle, client::failed, convert, diagnostics, resolve::Chosen};
use crate::{Any, EngineConfig, Error, Result, key::Key, tasks::ProcessExit};
use prost::Message;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tare_api::{containerd::task::v2::DeleteResponse, status::Status};
use tare_types::ErrorKind;
use tokio::{io::AsyncWriteExt, process::Command};

/// How a started shim is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Started {
    version: u32,
    address: String,
    #[serde(default)]
    protocol: String,
}

/// Starts a shim for a bundle and connects to it, within the configured time.
pub(crate) async fn start(
    config: &EngineConfig,
    key: &Key,
    bundle: &Bundle,
    chosen: &Chosen,
) -> Result<Shim> {
    let deadline = config.limits.shim_start;
    let diagnostics = (!chosen.native).then(|| diagnostics::follow(key, bundle)).transpose()?;
    let starting = async {
        let output = run(config, key, bundle, &chosen.binary, "start", chosen.options.as_ref()).await?;
        let started = parse(&output).map_err(|detail| {
            Error::new(ErrorKind::Internal, "start", "shim", chosen.binary.display().to_string(), detail)
        })?;
        let address = PathBuf::from(started.address.strip_prefix("unix://").unwrap_or(&started.address));
        let (binary, native, version) = (&chosen.binary, chosen.native, started.version);
        let shim = Shim::connect(key, binary, native, &address, version, config.limits.shim_call).await?;
        Ok(shim.followed_by(diagnostics))
    };
    tokio::time::timeout(deadline, starting).await.unwrap_or_else(|_| Err(late("start", chosen, deadline)))
}

/// Cleans up after a shim that died: its containers are killed, their mounts and cgroups removed.
pub(crate) async fn delete(
    config: &EngineConfig,
    key: &Key,
    bundle: &Bundle,
    binary: &Path,
) -> Result<ProcessExit> {
    let deadline = config.limits.shim_call;
    let deleting = async {
        let output = run(config, key, bundle, binary, "delete", None).await?;
        let answer = DeleteResponse::decode(output.as_slice()).map_err(|error| {
            failed("delete", key, Status::new(ErrorKind::DataLoss, format!("answer of the shim: {error}")))
        })?;
        Ok(convert::exit(answer.pid, answer.exit_status, answer.exited_at))
    };
    let chosen = Chosen { binary: binary.to_path_buf(), native: false, options: None };
    tokio::time::timeout(deadline, deleting).await.unwrap_or_else(|_| Err(late("delete", &chosen, deadline)))
}

fn late(verb: &'static str, chosen: &Chosen, deadline: Duration) -> Error {
    let detail = format!("the shim's {verb} did not end within {deadline:?}");
    Error::new(ErrorKind::DeadlineExceeded, verb, "shim", chosen.binary.display().to_string(), detail)
}

/// Runs one verb of a shim's binary and gives what it printed.
async fn run(
    config: &EngineConfig,
    key: &Key,
    bundle: &Bundle,
    binary: &Path,
    verb: &'static str,
    options: Option<&Any>,
) -> Result<Vec<u8>> {
    let spawn_failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        Error::new(kind, "run", "shim", binary.display().to_string(), "").with_source(error)
    };
    let mut command = Command::new(binary);
    command
        .args(["-namespace", key.namespace.as_str(), "-address"])
        .arg(&config.address)
        .args(["-publish-binary", "tared", "-id", key.id.as_str()])
        .current_dir(bundle.path())
        .env("TTRPC_ADDRESS", ttrpc_address(&config.address))
        .env("GRPC_ADDRESS", &config.address)
        .env("NAMESPACE", key.namespace.as_str())
        .env("MAX_SHIM_VERSION", "2")
        .env("GOMAXPROCS", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if verb == "delete" {
        command.arg("-bundle").arg(bundle.path());
    }
    let mut child = command.arg(verb).spawn().map_err(spawn_failed)?;
    let mut stdin = child.stdin.take().expect("invariant: stdin is a pipe");
    if let Some(options) = options {
        // A shim that does not read them (containerd 1.6 and before) may have closed its end: no error.
        let bytes = convert::any_to_wire(options.clone()).encode_to_vec();
        stdin.write_all(&bytes).await.unwrap_or_default();
    }
    drop(stdin);
    let output = child.wait_with_output().await.map_err(spawn_failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr })
            .trim()
            .to_owned();
    let detail = format!("{verb}: {}: {said}", output.status);
    Err(Error::new(ErrorKind::Unavailable, "run", "shim", binary.display().to_string(), detail))
}

/// Where shims send their events.
pub(crate) fn ttrpc_address(address: &Path) -> PathBuf {
    let mut name = address.as_os_str().to_owned();
    name.push(".ttrpc");
    name.into()
}

/// What `start` printed: JSON with version, address and protocol, or the bare address of a version 2 shim.
fn parse(output: &[u8]) -> Result<Started, String> {
    let text = std::str::from_utf8(output).map_err(|_| "it printed what is no text".to_owned())?.trim();
    if text.starts_with('{') {
        let started: Started =
            serde_json::from_str(text).map_err(|error| format!("it printed {text:?}: {error}"))?;
        if !matches!(started.protocol.as_str(), "" | "ttrpc") {
            return Err(format!("it speaks {}, which is not implemented", started.protocol));
        }
        return Ok(started);
    }
    if text.starts_with("unix://") || text.starts_with('/') {
        return Ok(Started { version: 2, address: text.to_owned(), protocol: String::new() });
    }
    Err(format!("it printed no address: {:?}", text.chars().take(200).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_address() {
        let bare = parse(b"unix:///run/containerd/s/abc\n").unwrap();
        assert_eq!((bare.version, bare.address.as_str()), (2, "unix:///run/containerd/s/abc"));
        let json = parse(br#"{"version":3,"address":"unix:///a","protocol":"ttrpc"}"#).unwrap();
        assert_eq!((json.version, json.address.as_str()), (3, "unix:///a"));
        for bad in [&b"{"[..], b"", b"panic", br#"{"version":3,"address":"x","protocol":"grpc"}"#, &[0xff]] {
            assert!(parse(bad).is_err());
        }
    }
}
