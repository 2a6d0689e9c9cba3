//! From run to rm through the docker client.

use crate::host::{Host, wait_for};
use std::io::Write;

#[test]
fn a_container_runs_says_its_code_and_leaves_nothing() {
    let Some(host) = Host::start() else { return };
    let said = host.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (3, "out", "err"));
    assert_eq!(host.run(&["--rm"], &["absent"]).code, 127);
    assert_eq!(host.run(&["--rm"], &["/bin/plain"]).code, 126);
    assert_eq!(host.docker(&["ps", "-aq"]).good().out, "");
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn identity_environment_and_limits_arrive() {
    let Some(host) = Host::start() else { return };
    let run = |options: &[&str], command: &str| {
        host.run(&[&["--rm"], options].concat(), &["sh", "-c", command]).good().out
    };
    assert_eq!(run(&["--hostname", "alpha"], "hostname; cat /etc/hostname"), "alpha\nalpha");
    assert_eq!(run(&["-u", "web"], "id -u; id -g; echo $HOME"), "33\n33\n/data");
    assert_eq!(run(&["-e", "A=b c", "-w", "/tmp"], "echo $A; pwd"), "b c\n/tmp");
    assert_eq!(run(&["--read-only"], "touch /x 2>/dev/null || echo refused"), "refused");
    assert_eq!(run(&["--tmpfs", "/t"], "touch /t/x && echo made"), "made");
    assert_eq!(host.run(&["--rm", "-u", "4294967296"], &["true"]).code, 125);
    let limit = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max";
    let memory = run(&["--memory", "64m"], limit);
    assert_eq!(memory, "67108864");
}

#[test]
fn stdin_flows_in_and_ends() {
    let Some(host) = Host::start() else { return };
    let mut child = host
        .command(&["run", "--rm", "-i", "--network", "none", &host.image, "cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let text = "line\n".repeat(100_000);
    let mut stdin = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), text.len());
}

#[test]
fn logs_exec_pause_stop_restart_rename() {
    let Some(host) = Host::start() else { return };
    host.run(
        &["-d", "--name", "one"],
        &["sh", "-c", "trap 'echo bye; exit 9' TERM; echo ready; while true; do sleep 0.1; done"],
    )
    .good();
    wait_for("the first line", || (host.docker(&["logs", "one"]).out == "ready").then_some(()));
    let said = host.docker(&["exec", "-e", "X=1", "one", "sh", "-c", "echo $X; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, "1"));
    assert_eq!(host.docker(&["exec", "one", "absent"]).code, 127);
    host.docker(&["pause", "one"]).good();
    assert_eq!(host.field("one", "{{.State.Status}}"), "paused");
    assert_ne!(host.docker(&["exec", "one", "true"]).code, 0);
    host.docker(&["unpause", "one"]).good();
    let follower = host.command(&["logs", "-f", "one"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    host.docker(&["stop", "-t", "10", "one"]).good();
    assert_eq!(host.field("one", "{{.State.ExitCode}}"), "9");
    let followed = follower.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "ready\nbye\n");
    host.docker(&["start", "one"]).good();
    assert_eq!(host.docker(&["logs", "--tail", "1", "one"]).out.lines().count(), 1);
    host.docker(&["rename", "one", "two"]).good();
    host.docker(&["restart", "-t", "10", "two"]).good();
    assert_ne!(host.docker(&["rm", "two"]).code, 0, "a running container is not removed");
    host.docker(&["rm", "-f", "two"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn names_conflict_and_waits_answer() {
    let Some(host) = Host::start() else { return };
    host.docker(&["create", "--name", "taken", &host.image, "true"]).good();
    let said = host.docker(&["create", "--name", "taken", &host.image, "true"]);
    assert!(said.code != 0 && said.err.contains("is already in use by container"), "{said:?}");
    host.run(&["-d", "--name", "brief"], &["sh", "-c", "sleep 0.3; exit 4"]).good();
    assert_eq!(host.docker(&["wait", "brief"]).good().out, "4");
    assert_eq!(host.docker(&["wait", "brief"]).good().out, "4", "one that has ended answers at once");
    assert_ne!(host.docker(&["rm", "absent"]).code, 0);
}

#[test]
fn a_removed_container_stays_removed() {
    let Some(mut host) = Host::start() else { return };
    for name in ["a1", "a2", "a3", "a4"] {
        host.run(&["-d", "--name", name], &["sleep", "1000"]).good();
    }
    host.docker(&["rm", "-f", "a1", "a2", "a3", "a4"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    assert!(!host.log().contains("delete through the shim failed"), "each task is deleted once");
    host.kill();
    host.up();
    assert_eq!(host.docker(&["ps", "-aq"]).good().out, "");
}

#[test]
fn restart_policies_are_followed() {
    let Some(host) = Host::start() else { return };
    host.run(&["-d", "--name", "again", "--restart", "on-failure:2"], &["false"]).good();
    wait_for("two restarts", || {
        (host.field("again", "{{.RestartCount}} {{.State.Status}}") == "2 exited").then_some(())
    });
    host.run(&["-d", "--name", "always", "--restart", "always"], &["sh", "-c", "sleep 0.2"]).good();
    wait_for("a restart", || (host.field("always", "{{.RestartCount}}") != "0").then_some(()));
    host.docker(&["stop", "always"]).good();
    assert_eq!(host.field("always", "{{.State.Running}}"), "false");
}
