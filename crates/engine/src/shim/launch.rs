//! The short way to Tare's own shim: the daemon makes the socket and executes the server, one process and no output to
//! read. Under another containerd the same shim is started by its `start` verb ([`super::bootstrap`]).
//!
//! The binary is executed through a read-only clone of its mount, made once: a container that reaches the shim's
//! `/proc/<pid>/exe` cannot write to it (CVE-2019-5736).

use super::{
    Shim,
    bootstrap::ttrpc_address,
    bundle::{Bundle, VOICES},
    diagnostics::{self, Diagnostics},
};
use crate::{Engine, EngineConfig, Error, Result, key::Key, naming};
use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::UnixListener,
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};
use tare_api::ttrpc::Client;
use tare_types::ErrorKind;
use tokio::process::{Child, Command};

/// Directory of sockets below the state directory: short, for unix(7) allows 107 bytes.
const SOCKETS: &str = "s";
/// Longest path of a socket.
const MAX_PATH: usize = 107;
/// Version of the Task service that Tare's shim speaks.
pub(crate) const VERSION: u32 = 3;

/// What is kept from one launch to the next.
#[derive(Debug, Default)]
pub(crate) struct Launcher {
    sealed: OnceLock<Option<OwnedFd>>,
    /// Where shims say what is wrong, with who reads it.
    voices: OnceLock<(Diagnostics, OwnedFd)>,
}

/// A new path for a shim's socket.
pub(crate) fn socket_path(config: &EngineConfig) -> Result<PathBuf> {
    let name = naming::random_id()?;
    let path = config.state.join(SOCKETS).join(&name[..16]);
    if path.as_os_str().len() > MAX_PATH {
        let detail = format!("its path has more than {MAX_PATH} bytes");
        let name = path.display().to_string();
        return Err(Error::new(ErrorKind::InvalidArgument, "make", "socket", name, detail)
            .with_hint("choose a shorter state directory"));
    }
    Ok(path)
}

impl Launcher {
    /// Reads from now on what shims say that were or will be launched.
    pub(crate) fn listen(&self, config: &EngineConfig) {
        match diagnostics::follow_own(&config.state.join(VOICES)) {
            // Called once, at the start of the engine.
            Ok(voices) => drop(self.voices.set(voices)),
            Err(error) => tracing::warn!(%error, "what shims say is not heard"),
        }
    }

    /// Makes the socket and executes the shim. Blocks for the time of an execve.
    fn spawn(&self, config: &EngineConfig, key: &Key, bundle: &Bundle, address: &Path) -> Result<Child> {
        let listener = listen(address)?;
        let sealed = self.sealed.get_or_init(|| {
            let sealed = tare_sys::sealed::sealed_program(&config.shim.to_string_lossy());
            sealed.inspect_err(|error| tracing::warn!(%error, "the shim's binary cannot be sealed")).ok()
        });
        let program = match sealed {
            Some(sealed) => PathBuf::from(format!("/proc/self/fd/{}", sealed.as_raw_fd())),
            None => config.shim.clone(),
        };
        let mut command = std::process::Command::new(program);
        command
            .arg0("containerd-shim-tare-v2")
            .args(["-namespace", key.namespace.as_str(), "-id", key.id.as_str(), "-address"])
            .arg(&config.address)
            .args(["-events", "exits", "serve"])
            .current_dir(bundle.path())
            .env("TTRPC_ADDRESS", ttrpc_address(&config.address))
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(
                self.voices.get().and_then(|(_, fd)| fd.try_clone().ok()).map_or(Stdio::null(), Stdio::from),
            );
        Command::from(command).spawn().map_err(|error| {
            // Nobody will ever answer there.
            fs::remove_file(address).unwrap_or_default();
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Internal,
            };
            Error::new(kind, "run", "shim", config.shim.display().to_string(), "").with_source(error)
        })
    }
}

/// Starts a shim for a bundle and connects to it. The socket listens before the shim runs, so the first call waits for
/// the shim and not for a retry.
pub(crate) async fn launch(engine: &Engine, key: &Key, bundle: &Bundle, address: &Path) -> Result<Shim> {
    let config = engine.config();
    let mut child = engine.inner().launcher.spawn(config, key, bundle, address)?;
    let stop = engine.stopping().clone();
    engine.spawn(async move {
        tokio::select! {
            // Left to init; the shim outlives the daemon.
            () = stop.cancelled() => {}
            // How it ended is told by its connection and its containers.
            ended = child.wait() => drop(ended),
        }
    });
    let client =
        Client::connect(address).await.map_err(|status| super::client::failed("connect to", key, status))?;
    Ok(Shim::of(client, key, &config.shim, true, address, VERSION, config.limits.shim_call))
}

/// A listening socket, 0600 in a directory 0700.
fn listen(path: &Path) -> Result<UnixListener> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Internal, "make", "socket", path.display().to_string(), "").with_source(error)
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Removes the socket of a dead shim, if this module made it.
pub(crate) fn remove_socket(config: &EngineConfig, address: &Path) {
    if address.parent() == Some(&config.state.join(SOCKETS)) {
        // Gone is removed; anything else is swept at the next start.
        fs::remove_file(address).unwrap_or_default();
    }
}

/// Removes sockets that no task names: what a crash left. Runs at start-up, before any shim is started.
pub(crate) fn sweep_sockets(config: &EngineConfig, known: &[PathBuf]) {
    for entry in fs::read_dir(config.state.join(SOCKETS)).into_iter().flatten().flatten() {
        let path = entry.path();
        // A socket of the `start` verb has another name, and its shim removes it.
        let ours = entry.file_name().len() == 16;
        if ours && !known.contains(&path) {
            fs::remove_file(path).unwrap_or_default();
        }
    }
}
