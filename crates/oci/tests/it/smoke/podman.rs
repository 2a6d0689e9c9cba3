//! Debian's podman 4.3 with conmon: no daemon.

use super::engine::{Engine, systemd};
use crate::bundle::binary;
use std::{fs, os::unix::process::CommandExt, process::Command};
use tare_testkit::skip;

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

/// Nobody on the machine has this number: one id of the containers is mapped, no range.
const USER: u32 = 64_124;

/// The same for an ordinary user, in a directory of that user's with a copy of the command.
pub(super) fn start_for_user() -> Option<Engine> {
    let engine = Engine::new("podman-user", &[CLIENT, "/usr/bin/conmon", "/usr/bin/setpriv"])?;
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-U", "-r", "true"]).uid(USER).gid(USER).status();
    if !skip::needs(&[(probe.is_ok_and(|status| status.success()), "user namespaces for ordinary users")]) {
        return None;
    }
    let runtime = engine.path("tare-oci");
    fs::copy(binary(), &runtime).unwrap();
    fs::create_dir_all(engine.dir.join("xdg")).unwrap();
    // Without this podman asks no runtime but crun for containers without cgroups.
    let settings = format!(
        "[engine]\nruntime_supports_nocgroup = [\"own\"]\nruntime_supports_json = [\"own\"]\n\
        [engine.runtimes]\nown = [\"{runtime}\"]\n"
    );
    fs::write(engine.dir.join("containers.conf"), settings).unwrap();
    let (root, runroot, tmpdir) = (engine.path("root"), engine.path("run"), engine.path("tmp"));
    let user = USER.to_string();
    let (home, own) = (format!("XDG_RUNTIME_DIR={}", engine.path("xdg")), engine.path("containers.conf"));
    let settings = format!("CONTAINERS_CONF={own}");
    let client =
        ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "env", &home, &settings, CLIENT]
            .into_iter()
            .chain(["--root", &root, "--runroot", &runroot, "--tmpdir", &tmpdir, "--runtime=own"])
            .chain(["--storage-driver=vfs", "--storage-opt=vfs.ignore_chown_errors=true"])
            .chain(["--cgroup-manager=cgroupfs", "--events-backend=file"]);
    let client = client.map(String::from).collect();
    let flags = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--log-driver=k8s-file"];
    Some(engine.given_to(USER).with_client(client, &flags).import())
}
