//! kill -9 of the daemon while containers start, and of shims. Under load: [`crate::load`].

use crate::host::{Host, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use tare_testkit::soak;

#[test]
fn daemons_that_die_while_containers_start_leave_nothing_half_done() {
    let Some(mut host) = Host::start() else { return };
    for round in 0..soak::size("TARE_SOAK_ROUNDS", 6) {
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
        tare_testkit::bench::pause(std::time::Duration::from_millis(20 + (round % 6) * 25 + round / 6 % 25));
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
