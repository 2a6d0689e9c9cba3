//! `start`: what containerd runs to get a shim for a container, and how the server process comes to life.
//!
//! `start` finds the group of the container (one shim for the containers of a sandbox, else one each), makes the
//! listening socket or finds the shim that listens already, spawns the server with the socket as its standard
//! input, and prints the address: bare for containerd up to 1.7, protobuf `BootstrapResult` when standard input
//! held `BootstrapParams` (2.3), JSON when the environment says that version 3 is spoken.
//! It prints nothing else: containerd reads output and error together.

pub(crate) mod delete;
pub(crate) mod info;
pub(crate) mod logger;
mod params;
mod socket;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::args::Args;

/// Annotations that name the group of a container, the first that is there counts.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// Runs `start`.
///
/// # Errors
/// A sentence; containerd shows it to the client.
pub(crate) fn start(args: &Args) -> Result<(), String> {
    let (speech, socket_dir) = params::read(args)?;
    let group = group_of(Path::new("config.json"), &args.id)?;
    let path = socket::path(args, &group, socket_dir.as_deref());
    let address = format!("unix://{}", path.display());
    if let Some(listener) = socket::listen(&path)?
        && let Err(error) = spawn_server(args, &group, listener)
    {
        // Nobody will ever answer there.
        std::fs::remove_file(&path).unwrap_or_default();
        return Err(error);
    }
    // containerd up to 1.7 finds a running shim again by this file.
    std::fs::write("address", &address).map_err(|error| format!("write address file: {error}"))?;
    let answer = speech.answer(&address);
    std::io::stdout().write_all(&answer).map_err(|error| format!("write address: {error}"))
}

/// The group of the container whose configuration is at `config`; the container itself without one.
fn group_of(config: &Path, id: &str) -> Result<String, String> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let text = std::fs::read(config).map_err(|error| format!("read {}: {error}", config.display()))?;
    let parsed: Annotated =
        serde_json::from_slice(&text).map_err(|error| format!("parse {}: {error}", config.display()))?;
    let annotations = parsed.annotations.unwrap_or_default();
    let group = GROUP_ANNOTATIONS.iter().find_map(|name| annotations.get(*name));
    match group {
        // The group becomes the server's id: it must be as checked as an id.
        Some(group) => match tare_types::ContainerId::new(group) {
            Ok(_) => Ok(group.clone()),
            Err(error) => Err(format!("group of container {id}: {error}")),
        },
        None => Ok(id.to_owned()),
    }
}

fn spawn_server(args: &Args, group: &str, listener: OwnedFd) -> Result<(), String> {
    let sealed = tare_sys::sealed::sealed_self().ok();
    // Without the mount API the plain file is executed; the server says so in the log.
    let program = match &sealed {
        Some(fd) => format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd)),
        None => "/proc/self/exe".to_owned(),
    };
    let mut command = Command::new(program);
    command.arg0("containerd-shim-tare-v2");
    command.args(["-namespace", &args.namespace, "-id", group, "-address", &args.address]);
    if args.debug {
        command.arg("-debug");
    }
    command.arg("serve").stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    // The child is not waited for: it lives on, and this process ends now.
    command.spawn().map(drop).map_err(|error| format!("start the shim's server: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(config: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        group_of(&path, "self")
    }

    #[test]
    fn a_sandbox_is_one_group() {
        assert_eq!(group("{}").unwrap(), "self");
        assert_eq!(group(r#"{"annotations":null}"#).unwrap(), "self");
        assert_eq!(group(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#).unwrap(), "pod");
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(group(both).unwrap(), "g");
    }

    #[test]
    fn a_group_cannot_lead_out_of_the_directory() {
        assert!(group(r#"{"annotations":{"io.containerd.runc.v2.group":"../../etc"}}"#).is_err());
        assert!(group("not json").is_err());
    }
}
