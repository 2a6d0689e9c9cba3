//! containerd's door, through `ctr`.

use crate::host::{Host, layer, wait_for};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tare_testkit::{
    fake_registry::Act,
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

/// What `ctr content active` says: `(ref, bytes)`.
fn active(host: &Host) -> Vec<String> {
    let text = host.ctr(&["content", "active"]).good().out;
    text.lines().skip(1).map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_pull_that_ctr_gives_up_midway_goes_on_with_the_next() {
    let Some(host) = start() else { return };
    let noise: Vec<u8> =
        (0_u32..1_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let made = image::build(&[Tar::new().file("big", 0o644, &noise).finish()], &["true"]);
    host.registry.put_image("big", "latest", &made);
    let layer = &made.layers[0].descriptor;
    let path = format!("/blobs/{}", layer.digest);
    host.registry.script(http::Method::GET, &path, 1, Act::StallAfter(2_500_000));
    let name = format!("{}/big:latest", host.registry.host());
    // Without timeout(1) around it, which would leave ctr alive.
    let mut ctr = Command::new("ctr");
    ctr.arg("-a").arg(host.path("state/tared.sock")).args(["images", "pull", "--plain-http", &name]);
    let mut ctr = ctr.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let of_layer = |host: &Host| active(host).into_iter().find(|line| line.contains(layer.digest.as_str()));
    wait_for("half of the layer", || of_layer(&host).filter(|line| !line.ends_with(" 0B")));
    ctr.kill().unwrap();
    ctr.wait().unwrap();

    // Its lease is one that ends by itself: nobody is left who could end it.
    let leases = host.ctr(&["leases", "ls"]).good().out;
    assert_eq!(leases.lines().skip(1).count(), 1, "{leases}");
    assert!(leases.contains("containerd.io/gc.expire="), "{leases}");
    assert!(of_layer(&host).is_some(), "what has arrived is kept");
    assert!(!host.ctr(&["images", "ls", "-q"]).good().out.contains("big"));

    // The writer of the one that died is gone: the next one gets the ingest, and goes on from its last byte.
    host.ctr(&["images", "pull", "--plain-http", &name]).good();
    let asked = host.registry.seen_at(&path);
    let range = asked.last().unwrap().header("range").to_owned();
    let from: usize = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
    assert!(from > 0 && from <= 2_500_000, "{range}");
    assert_eq!(active(&host), Vec::<String>::new());
    let leases = host.ctr(&["leases", "ls", "-q"]).good().out;
    assert_eq!(leases.lines().count(), 1, "the second pull has ended its own: {leases}");
    host.ctr(&["leases", "rm", leases.trim()]).good();
    host.ctr(&["run", "--rm", &name, &host.name("b"), "/absent"]);
    host.ctr(&["images", "rm", "--sync", &name]).good();
    let left = host.ctr(&["content", "ls", "-q"]).good().out;
    assert!(!left.contains(layer.digest.as_str()), "{left}");
}

#[test]
fn what_shims_say_is_in_the_daemons_log() {
    use std::io::Write as _;
    let Some(mut host) = start() else { return };
    let name = host.name("says");
    host.ctr(&["run", "-d", &host.image, &name, "sleep", "1000"]).good();
    let bundle = host.path("state/io.containerd.runtime.v2.task/default").join(&name);
    let says = |words: &str| {
        let mut fifo = std::fs::File::options().write(true).open(bundle.join("log")).unwrap();
        writeln!(fifo, "{words}").unwrap();
    };
    says("one line of this shim");
    wait_for("the line", || host.log().contains("one line of this shim").then_some(()));
    // Said while no daemon runs: the shim's end of the fifo keeps it for the next.
    host.kill();
    says("a line for the next daemon");
    host.up();
    wait_for("the line", || host.log().contains("a line for the next daemon").then_some(()));
    assert!(host.log().contains("a shim says"), "its source is named");
    // Nobody waits for a daemon that does not read: a fifo that is full takes no more, and the shim goes on.
    host.kill();
    let mut fifo = rustix::fs::open(
        host.path("state/shims.log"),
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
        rustix::fs::Mode::empty(),
    )
    .map(std::fs::File::from)
    .unwrap();
    while fifo.write(&[b'x'; 4096]).is_ok() {}
    host.up();
    host.ctr(&["tasks", "kill", "-s", "KILL", &name]).good();
    wait_for("the end", || host.ctr(&["tasks", "ls"]).out.contains("STOPPED").then_some(()));
    host.ctr(&["tasks", "rm", &name]);
    host.ctr(&["containers", "rm", &name]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}
