//! Debian's dockerd 20.10 with its own containerd.

use super::engine::{Engine, systemd};
use crate::bundle::binary;
use std::{
    fs,
    process::{Command, Stdio},
};

const DAEMON: &str = "/usr/sbin/dockerd";
const CLIENT: &str = "/usr/bin/docker";

/// Starts a daemon whose default runtime is `tare-oci`.
pub(super) fn start() -> Option<Engine> {
    let engine = Engine::new("docker", &[DAEMON, CLIENT, "/usr/bin/containerd"])?;
    let socket = format!("unix://{}", engine.path("docker.sock"));
    fs::write(engine.dir.join("daemon.json"), "{}").unwrap();
    let log = fs::File::create(engine.dir.join("daemon.log")).unwrap();
    let driver = if systemd() { "systemd" } else { "cgroupfs" };
    // Without its parent the daemon ends too: a test that is killed leaves nothing that runs.
    let daemon = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", DAEMON, "-H", &socket])
        .args(["--config-file", &engine.path("daemon.json"), "--pidfile", &engine.path("pid")])
        .args(["--data-root", &engine.path("data"), "--exec-root", &engine.path("exec")])
        .args(["--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip-forward=false"])
        .args([&format!("--exec-opt=native.cgroupdriver={driver}"), "--default-runtime=tare"])
        .args(["--add-runtime", &format!("tare={}", binary().display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let client = [CLIENT, "-H", &socket].map(String::from).to_vec();
    let engine = engine.with_client(client, &[]).with_daemon(daemon);
    assert_eq!(engine.ok(&["info", "--format", "{{.DefaultRuntime}}"]), "tare");
    Some(engine.import())
}
