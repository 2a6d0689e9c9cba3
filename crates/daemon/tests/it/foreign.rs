//! Go's shim and runc, driven by tared: an unchanged second runtime.

use crate::{containerd::start, host::wait_for};
use std::{path::Path, process::Stdio};
use tare_testkit::skip;

/// The shim of the package containerd.
const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

#[test]
fn gos_shim_runs_containers_and_is_found_again_after_the_daemon_died() {
    let needs = [
        (Path::new(SHIM).is_file(), "containerd-shim-runc-v2"),
        (Path::new("/usr/sbin/runc").is_file(), "runc"),
    ];
    if !skip::needs(&needs) {
        return;
    }
    let Some(mut host) = start() else { return };
    let (image, name) = (host.image.clone(), host.name("go"));
    let once = host.name("once");
    let said = host.ctr(&["run", "--rm", "--runtime", SHIM, &image, &once, "sh", "-c", "echo out; exit 3"]);
    assert_eq!((said.code, said.out.as_str()), (3, "out"));

    let events = host.ctr_command(&["events"]).stdout(Stdio::piped()).spawn().unwrap();
    host.ctr(&["run", "-d", "--runtime", SHIM, &image, &name, "sleep", "1000"]).good();
    let exec = |host: &crate::host::Host, id: &str| {
        host.ctr(&["tasks", "exec", "--exec-id", id, &name, "sh", "-c", "echo inside; exit 5"])
    };
    let said = exec(&host, "e1");
    assert_eq!((said.code, said.out.as_str()), (5, "inside"));
    let terminal =
        format!("ctr -a {} tasks exec -t --exec-id e2 {name} tty", host.path("state/tared.sock").display());
    let said = std::process::Command::new("script").args(["-qec", &terminal, "/dev/null"]).output();
    if let Ok(said) = said {
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.contains("/dev/pts/"), "{text}");
    }
    host.ctr(&["tasks", "pause", &name]).good();
    assert!(host.ctr(&["tasks", "ls"]).good().out.contains("PAUSED"));
    host.ctr(&["tasks", "resume", &name]).good();
    assert!(host.ctr(&["tasks", "metrics", &name]).good().out.contains("pids.current"));
    assert!(host.ctr(&["tasks", "ps", &name]).good().out.lines().count() >= 2);

    host.kill();
    host.up();
    assert!(host.ctr(&["tasks", "ls"]).good().out.contains("RUNNING"));
    let said = exec(&host, "e3");
    assert_eq!((said.code, said.out.as_str()), (5, "inside"));
    host.ctr(&["tasks", "kill", "-s", "KILL", &name]).good();
    wait_for("the end", || host.ctr(&["tasks", "ls"]).out.contains("STOPPED").then_some(()));
    host.ctr(&["tasks", "rm", &name]);
    host.ctr(&["containers", "rm", &name]).good();
    let seen = events.wait_with_output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    for topic in ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/paused", "/tasks/resumed"] {
        assert!(seen.contains(topic), "{topic} in {seen}");
    }
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}
