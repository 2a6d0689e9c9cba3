//! containerd's door, through `ctr`.

use crate::host::{Host, layer, wait_for};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tare_testkit::{
    image::{self, Tar},
    skip,
};

/// A daemon, where ctr is there too.
pub(crate) fn start() -> Option<Host> {
    let ctr = (Command::new("ctr").arg("--version").output().is_ok(), "ctr (package containerd)");
    if !skip::needs(&[ctr]) {
        return None;
    }
    Host::start()
}

/// Committed snapshots of the default namespace.
fn layers(host: &Host) -> Vec<String> {
    let text = host.ctr(&["snapshots", "ls"]).good().out;
    text.lines().filter(|line| line.starts_with("sha256:")).map(str::to_owned).collect()
}

#[test]
fn an_image_of_one_door_runs_at_the_other_and_nothing_is_fetched_or_unpacked() {
    let Some(host) = start() else { return };
    let (before, requests) = (layers(&host), host.registry.seen().len());
    let said = host.ctr(&["run", "--rm", &host.image, &host.name("a"), "echo", "by docker"]).good();
    assert_eq!(said.out, "by docker");
    assert_eq!((layers(&host), host.registry.seen().len()), (before, requests));

    let own = Tar::new().file("own", 0o644, b"1").finish();
    host.registry.put_image("other", "1", &image::build(&[layer(), own], &["/bin/sh"]));
    let other = format!("{}/other:1", host.registry.host());
    host.ctr(&["images", "pull", "--plain-http", &other]).good();
    let (before, requests) = (layers(&host), host.registry.seen().len());
    assert_eq!(before.len(), 2, "{before:?}");
    let said = host.docker(&["run", "--rm", "--network", "none", &other, "cat", "/own"]).good();
    assert_eq!(said.out, "1");
    assert_eq!((layers(&host), host.registry.seen().len()), (before, requests));
    assert!(host.docker(&["images", "-q", &other]).good().out.lines().count() == 1);
}

#[test]
fn what_a_container_changed_becomes_a_layer() {
    let Some(host) = start() else { return };
    let name = host.name("c");
    let change = "echo new > /etc/new; rm /etc/passwd; mkdir /made";
    // busybox of the image has no rm and mkdir of its own name.
    let change = change.replace("rm ", "busybox rm ").replace("mkdir ", "busybox mkdir ");
    host.ctr(&["run", &host.image, &name, "sh", "-c", &change]).good();
    for (media, tar) in [("", "-tzf"), ("application/vnd.oci.image.layer.v1.tar", "-tf")] {
        let mut ctr = host.ctr_command(&["snapshots", "diff", "--media-type", media, &name]);
        let mut ctr = ctr.stdout(Stdio::piped()).spawn().unwrap();
        let listed = Command::new("tar").args([tar, "-"]).stdin(ctr.stdout.take().unwrap()).output().unwrap();
        assert!(ctr.wait().unwrap().success());
        let text = String::from_utf8(listed.stdout).unwrap();
        let names: Vec<&str> = text.lines().map(|line| line.trim_end_matches('/')).collect();
        for wanted in ["etc", "etc/new", "etc/.wh.passwd", "made"] {
            assert!(names.contains(&wanted), "{wanted} in {names:?}");
        }
        assert!(!names.contains(&"bin/busybox"), "{names:?}");
    }
    let said = host.ctr(&["snapshots", "diff", "--media-type", "text/plain", &name]);
    assert!(said.code == 1 && said.err.contains("unsupported diff media type"), "{said:?}");
    host.ctr(&["containers", "rm", &name]).good();
}

#[test]
fn a_daemon_that_is_told_to_end_waits_for_no_client() {
    let Some(mut host) = start() else { return };
    let name = host.name("w");
    let mut waiting = host.ctr_command(&["run", &host.image, &name, "sleep", "1000"]).spawn().unwrap();
    let mut events = host.ctr_command(&["events"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the task", || host.ctr(&["tasks", "ls"]).out.contains("RUNNING").then_some(()));
    let took = host.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!host.path("state/tared.sock").exists() && !host.path("state/docker.sock").exists());
    assert!(!waiting.wait().unwrap().success(), "the client learns that it lost the daemon");
    events.wait().unwrap();
    host.up();
    assert!(host.ctr(&["tasks", "ls"]).good().out.contains("RUNNING"), "the container runs on");
    host.ctr(&["tasks", "kill", "-s", "KILL", &name]).good();
    wait_for("the end", || host.ctr(&["tasks", "ls"]).out.contains("STOPPED").then_some(()));
    host.ctr(&["tasks", "rm", &name]);
    host.ctr(&["containers", "rm", &name]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn ids_of_a_remapped_container_own_its_root() {
    let Some(host) = start() else { return };
    if !skip::needs(&[(Path::new("/proc/self/ns/user").exists(), "user namespaces")]) {
        return;
    }
    let map = ["--uidmap", "0:1000:1000", "--gidmap", "0:2000:1000"];
    let name = host.name("u");
    let made = "busybox mkdir /made && id -u && cat /proc/self/uid_map";
    let said =
        host.ctr(&[&["run", "--rm"], &map[..], &[&host.image, &name, "sh", "-c", made]].concat()).good();
    let words: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1000", "1000"]);
}

#[test]
fn failures_are_told_in_containerds_words_and_leave_nothing() {
    let Some(host) = start() else { return };
    let name = host.name("f");
    let fails = |arguments: &[&str], words: &str| {
        let said = host.ctr(arguments);
        assert!(said.code == 1 && said.err.contains(words), "{arguments:?}: {said:?}");
    };
    fails(&["run", "--rm", "absent:1", &name, "true"], "image \"absent:1\": not found");
    let missing = "failed to create shim task: OCI runtime create failed";
    fails(&["run", "--rm", &host.image, &name, "/absent"], missing);
    fails(&["run", "--rm", &host.image, &name, "/bin/plain"], "permission denied");
    fails(&["run", "--rm", "--snapshotter", "absent", &host.image, &name, "true"], "snapshotter not loaded");
    fails(&["containers", "info", "absent"], "container \"absent\" in namespace \"default\": not found");
    fails(&["containers", "create", "absent:1", &name], "not found");
    host.ctr(&["run", "-d", &host.image, &name, "sleep", "1000"]).good();
    fails(&["run", "-d", &host.image, &name, "true"], "already exists");
    fails(&["tasks", "rm", &name], "task must be stopped before deletion: running: failed precondition");
    fails(&["tasks", "exec", "--exec-id", "e", &name, "/absent"], "OCI runtime exec failed");
    fails(&["tasks", "checkpoint", &name], "not implemented");
    host.ctr(&["images", "label", &host.image, "key=value"]).good();
    let lease = host.ctr(&["leases", "create", "key=value"]).good().out;
    host.ctr(&["leases", "rm", &lease]).good();
    host.ctr(&["tasks", "rm", "-f", &name]);
    host.ctr(&["containers", "rm", &name]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    assert_eq!(layers(&host).len(), 1);
}

#[test]
fn output_of_a_short_process_always_arrives() {
    let Some(host) = start() else { return };
    let children: Vec<_> = (0..12)
        .map(|n| {
            let name = host.name(&format!("s{n}"));
            let mut command = host.ctr_command(&["run", "--rm", &host.image, &name, "echo", "here"]);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
    }
    let name = host.name("big");
    let mut command = host.ctr_command(&["run", "--rm", &host.image, &name, "seq", "1000000"]);
    let output = command.output().unwrap();
    assert!(output.stdout.ends_with(b"999999\n1000000\n"), "{} bytes", output.stdout.len());
}
