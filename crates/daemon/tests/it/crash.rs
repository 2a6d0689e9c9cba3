//! kill -9 of the daemon and of shims.

use crate::host::{Host, wait_for};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_death_of_the_daemon_loses_nothing() {
    let Some(mut host) = Host::start() else { return };
    host.run(
        &["-d", "--name", "ticks"],
        &["sh", "-c", "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.02; done"],
    )
    .good();
    host.run(&["-d", "--name", "ends"], &["sh", "-c", "sleep 0.5; exit 5"]).good();
    host.run(&["-d", "--name", "again", "--restart", "always"], &["sh", "-c", "sleep 0.5; exit 6"]).good();
    host.run(&["-d", "--rm", "--name", "goes"], &["sleep", "0.5"]).good();
    let pid = host.field("ticks", "{{.State.Pid}}");
    let long = host.docker(&["exec", "-d", "ticks", "sh", "-c", "sleep 1; exit 8"]);
    long.good();
    let exec = host.field("ticks", "{{index .ExecIDs 0}}");
    host.kill();
    // Everything but the first ends while nobody listens.
    tare_testkit::bench::pause(std::time::Duration::from_millis(1500));
    host.up();
    assert_eq!(host.field("ticks", "{{.State.Pid}}"), pid, "it runs on as it was");
    assert_eq!(host.field("ends", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    wait_for("the restart", || (host.field("again", "{{.RestartCount}}") != "0").then_some(()));
    wait_for("the removal", || (host.docker(&["inspect", "goes"]).code != 0).then_some(()));
    let socket = host.path("state/docker.sock");
    let inspected = std::process::Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(&socket)
        .arg(format!("http://localhost/exec/{exec}/json"))
        .output();
    if let Ok(inspected) = inspected {
        let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
        assert!(text.contains("\"ExitCode\":8"), "{text}");
    }
    let log = host.docker(&["logs", "ticks"]).good().out;
    let expected: Vec<String> = (0..log.lines().count()).map(|n| format!("tick {n}")).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), expected, "the log has no gap");
    host.docker(&["rm", "-f", "ticks", "ends", "again"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn daemons_that_die_while_containers_start_leave_nothing_half_done() {
    let Some(mut host) = Host::start() else { return };
    for round in 0_u64..6 {
        let children: Vec<_> = (0..4)
            .map(|n| {
                let name = format!("r{round}n{n}");
                let arguments =
                    ["run", "-d", "--name", &name, "--network", "none", &host.image, "sleep", "1000"];
                host.command(&arguments)
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        tare_testkit::bench::pause(std::time::Duration::from_millis(20 + round * 25));
        host.kill();
        for mut child in children {
            child.wait().unwrap();
        }
        host.up();
        for line in host.docker(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).good().out.lines() {
            let (name, state) = line.split_once(' ').unwrap();
            assert!(["created", "running"].contains(&state), "{line}");
            if state == "running" {
                assert_eq!(host.docker(&["exec", name, "echo", "here"]).out, "here", "{line}");
            }
            host.docker(&["rm", "-f", name]).good();
        }
    }
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn a_shim_that_is_slow_to_answer_keeps_its_container() {
    let Some(mut host) = Host::start() else { return };
    host.run(&["-d", "--name", "slow", "--restart", "always"], &["sleep", "1000"]).good();
    let pid = host.field("slow", "{{.State.Pid}}");
    let shim = Pid::from_raw(host.shim_of("slow")).unwrap();
    host.kill();
    kill_process(shim, Signal::STOP).unwrap();
    // It comes up although the shim does not answer.
    host.up();
    assert_eq!(host.field("slow", "{{.State.Status}}"), "running");
    kill_process(shim, Signal::CONT).unwrap();
    wait_for("the answer", || (host.field("slow", "{{.State.Pid}}") == pid).then_some(()));
    assert_eq!(host.docker(&["exec", "slow", "echo", "here"]).good().out, "here");
    assert_eq!(host.field("slow", "{{.RestartCount}}"), "0");
    host.docker(&["rm", "-f", "slow"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn the_death_of_a_shim_ends_its_container_and_is_told() {
    let Some(host) = Host::start() else { return };
    host.run(&["-d", "--name", "victim"], &["sleep", "1000"]).good();
    let pid = host.field("victim", "{{.State.Pid}}");
    let shim = Pid::from_raw(host.shim_of("victim")).unwrap();
    kill_process(shim, Signal::KILL).unwrap();
    wait_for("the end", || {
        (host.field("victim", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137").then_some(())
    });
    wait_for("the process to go", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    host.docker(&["start", "victim"]).good();
    assert_eq!(host.docker(&["exec", "victim", "echo", "back"]).good().out, "back");
    host.docker(&["rm", "-f", "victim"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}
