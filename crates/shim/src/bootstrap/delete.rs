//! `delete`: containerd runs it when a shim has died (kill -9 included). It ends what is left of the container,
//! removes cgroup, state and mounts, and prints how the container ended.

use prost::Message;
use std::io::Write;
use std::path::{Path, PathBuf};
use tare_api::containerd::task::v2::DeleteResponse;
use tare_runtime::{Runtime, RuntimeOptions};
use tare_types::ErrorKind;

use crate::args::Args;
use crate::diagnostics::{now, wire_time};
use crate::{rootfs, settings};

/// What a process killed by SIGKILL exits with.
const KILLED: u32 = 128 + 9;

/// Runs `delete`. What is gone already is no error: it may be called twice, or after a create that failed.
///
/// # Errors
/// A sentence with the step that failed.
pub(crate) fn delete(args: &Args) -> Result<(), String> {
    let bundle = if args.bundle.is_empty() { PathBuf::from(".") } else { PathBuf::from(&args.bundle) };
    let root = settings::load_runtime_root(&bundle, args);
    let runtime = Runtime::new(RuntimeOptions {
        root: root.root,
        systemd_cgroup: root.systemd_cgroup,
        user_systemd: Vec::new(),
        rootless: None,
    });
    let mut pid = 0;
    match runtime.load(&args.id) {
        Ok(mut container) => {
            pid = container.state().map_or(0, |state| state.pid);
            container.delete(true).map_err(|error| format!("delete container {}: {error}", args.id))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(format!("load container {}: {error}", args.id)),
    }
    rootfs::unmount(&bundle)?;
    remove_dead_socket(&bundle);
    let response =
        DeleteResponse { pid: pid.max(0) as u32, exit_status: KILLED, exited_at: Some(wire_time(now())) };
    std::io::stdout().write_all(&response.encode_to_vec()).map_err(|error| format!("write response: {error}"))
}

/// The socket of a group is removed only when no shim answers there: others of the group may live.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else { return };
    let path = Path::new(address.strip_prefix("unix://").unwrap_or(&address));
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        // A file that stays is replaced at the next start.
        std::fs::remove_file(path).unwrap_or_default();
    }
}
