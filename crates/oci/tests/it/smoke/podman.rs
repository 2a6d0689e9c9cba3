//! Debian's podman 4.3 with conmon: no daemon.

use super::engine::{Engine, systemd};
use crate::bundle::binary;

const CLIENT: &str = "/usr/bin/podman";

/// A store whose containers run on `tare-oci`.
pub(super) fn start() -> Option<Engine> {
    let engine = Engine::new("podman", &[CLIENT, "/usr/bin/conmon"])?;
    let runtime = binary().display().to_string();
    let (root, runroot, tmpdir) = (engine.path("root"), engine.path("run"), engine.path("tmp"));
    let manager = if systemd() { "--cgroup-manager=systemd" } else { "--cgroup-manager=cgroupfs" };
    let client = [CLIENT, "--root", &root, "--runroot", &runroot, "--tmpdir", &tmpdir, "--runtime", &runtime]
        .into_iter()
        .chain(["--storage-driver=vfs", manager, "--events-backend=file"]);
    let client = client.map(String::from).collect();
    // Podman raises limits by default, which a host without CAP_SYS_RESOURCE refuses every runtime.
    let flags = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--log-driver=k8s-file"];
    Some(engine.with_client(client, &flags).import())
}
