//! Checkpoint and restore with the real CRIU: memory, terminals, pipes, mounts, what is left when somebody is killed.

use crate::bundle::{Bundle, able};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tare_testkit::skip;

/// How long what is waited for may take: under an emulated processor a dump takes ten seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether CRIU can dump on this machine; says why not.
fn criu_works() -> bool {
    let check = || Command::new("criu").arg("check").output();
    able()
        && skip::needs(&[
            (check().is_ok(), "criu (package criu)"),
            (check().is_ok_and(|output| output.status.success()), "a kernel that `criu check` finds good"),
        ])
}

/// A program whose memory shows: it counts, and writes each number to a file of the container.
const COUNTER: &str =
    "i=0; while :; do i=$((i+1)); echo $i > /count.new; cp /count.new /count; sleep 0.1; done";

#[allow(clippy::disallowed_methods, reason = "between two looks, and to kill at points of a program in time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn wait_for<T>(what: &str, mut is_there: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = is_there() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {DEADLINE:?}");
        pause(Duration::from_millis(20));
    }
}

struct Counter(Bundle);

impl Counter {
    fn new(name: &str) -> Self {
        let bundle = Bundle::new(name);
        std::os::unix::fs::symlink("busybox", bundle.path.join("rootfs/bin/cp")).unwrap();
        bundle.script(COUNTER).change(|spec| spec["root"]["readonly"] = false.into());
        Self(bundle)
    }

    /// Runs it in the background with no stream that would keep this test waiting.
    fn run(&self) {
        quiet(&self.0, &["run", "-d", &self.0.id]);
        self.above(3);
    }

    fn count(&self) -> u64 {
        fs::read_to_string(self.0.path.join("rootfs/count"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    fn above(&self, least: u64) -> u64 {
        wait_for("greater count", || Some(self.count()).filter(|count| *count > least))
    }

    fn checkpoint(&self, more: &[&str]) {
        let paths = ["checkpoint", "--image-path", "image", "--work-path", "work"];
        self.0.ok(&[&paths, more, &[&self.0.id]].concat());
    }

    fn restore(&self, more: &[&str]) {
        let paths = ["restore", "-d", "--image-path", "image", "--work-path", "work"];
        quiet(&self.0, &[&paths, more, &[&self.0.id]].concat());
    }

    fn is_gone(&self) {
        let error = self.0.fails(1, &["state", &self.0.id]);
        assert!(error.contains("container does not exist"), "{error}");
        assert!(!self.0.cgroup().exists());
    }
}

/// A command that leaves a container behind must not hold a pipe of ours; it complains to a file.
fn quiet(bundle: &Bundle, arguments: &[&str]) {
    let log = bundle.path.join("complaint");
    let _ = fs::remove_file(&log);
    let arguments = [&["--log", log.to_str().unwrap()], arguments].concat();
    let status = bundle.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{arguments:?}: {}", fs::read_to_string(&log).unwrap_or_default());
}

/// Nothing of it is mounted in this namespace.
fn is_not_mounted(bundle: &Bundle) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&bundle.id), "{mounts}");
}

#[test]
fn a_counter_goes_on() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("counter");
    let bundle = &counter.0;
    counter.run();
    counter.checkpoint(&[]);
    counter.is_gone();
    let stopped_at = counter.count();
    assert!(bundle.path.join("image/inventory.img").exists() && bundle.path.join("work/dump.log").exists());

    counter.restore(&["--pid-file", "pid"]);
    counter.above(stopped_at);
    is_not_mounted(bundle);
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    assert_eq!(state["status"], "running");
    assert_eq!(state["pid"].to_string(), fs::read_to_string(bundle.path.join("pid")).unwrap());
    let names: Vec<_> = fs::read_dir(bundle.path.join("state").join(&bundle.id)).unwrap().collect();
    assert!(names.iter().all(|name| name.as_ref().unwrap().file_name() != "criu-root"), "{names:?}");
    assert_eq!(bundle.ok(&["exec", &bundle.id, "readlink", "/proc/1/exe"]).trim(), "/bin/busybox");
    assert_eq!(bundle.ok(&["exec", &bundle.id, "cat", "/sys/class/net/lo/operstate"]).trim(), "unknown");

    // A second life of the same images starts where the first one did.
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    wait_for("end", || (bundle.status() == "stopped").then_some(()));
    bundle.ok(&["delete", &bundle.id]);
    fs::remove_file(bundle.path.join("rootfs/count")).unwrap();
    counter.restore(&[]);
    let first = counter.above(0);
    assert!(first >= stopped_at, "{first} comes after {stopped_at}");
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    bundle.ok(&["resume", &bundle.id]);
    counter.above(counter.count());
}

#[test]
fn a_container_is_left_running() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("left");
    counter.run();
    counter.checkpoint(&["--leave-running"]);
    assert_eq!(counter.0.status(), "running");
    counter.above(counter.count());
    // A paused one is dumped, too, and stays paused.
    counter.0.ok(&["pause", &counter.0.id]);
    counter.checkpoint(&["--leave-running"]);
    assert_eq!(counter.0.status(), "paused");
    counter.0.ok(&["resume", &counter.0.id]);
    counter.above(counter.count());
}

#[test]
fn memory_before_the_rest() {
    if !criu_works() {
        return;
    }
    let tracks = Command::new("criu").args(["check", "--feature", "mem_dirty_track"]).output();
    if !skip::needs(&[(
        tracks.is_ok_and(|output| output.status.success()),
        "a kernel that tracks changed pages",
    )]) {
        return;
    }
    let counter = Counter::new("predump");
    counter.run();
    counter.0.ok(&["checkpoint", "--pre-dump", "--image-path", "before", &counter.0.id]);
    assert_eq!(counter.0.status(), "running");
    assert!(!counter.0.path.join("before/descriptors.json").exists());
    counter.above(counter.count());
    counter.checkpoint(&["--parent-path", "../before"]);
    assert!(counter.0.path.join("image/parent").exists());
    let stopped_at = counter.count();
    counter.restore(&[]);
    counter.above(stopped_at);
}

#[test]
fn mounts_come_back() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("mounts");
    let bundle = &counter.0;
    for directory in ["outer", "inner", "rootfs/real/conf"] {
        fs::create_dir_all(bundle.path.join(directory)).unwrap();
    }
    fs::write(bundle.path.join("inner/file"), "of the host").unwrap();
    std::os::unix::fs::symlink("/real/conf", bundle.path.join("rootfs/conf")).unwrap();
    bundle.change(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        for (source, destination, option) in
            [("outer", "/test", "rw"), ("inner", "/test/for/nested", "ro"), ("inner", "/conf", "rw")]
        {
            let mount = serde_json::json!({"type": "bind", "source": source, "destination": destination,
                "options": ["bind", option]});
            mounts.push(mount);
        }
        let tmpfs = serde_json::json!({"type": "tmpfs", "source": "tmpfs", "destination": "/volatile"});
        mounts.push(tmpfs);
    });
    counter.run();
    bundle.ok(&["exec", &bundle.id, "sh", "-c", "echo kept > /volatile/file"]);
    counter.checkpoint(&[]);
    // The places of mounts that creation made are made again.
    fs::remove_dir_all(bundle.path.join("outer/for")).unwrap();
    counter.restore(&[]);
    is_not_mounted(bundle);
    let of = |script: &str| bundle.ok(&["exec", &bundle.id, "sh", "-c", script]);
    assert_eq!(
        of("cat /test/for/nested/file /real/conf/file /volatile/file"),
        "of the hostof the hostkept\n"
    );
    assert!(of("echo x > /test/for/nested/file || echo refused").contains("refused"));
    assert_eq!(of("cat /proc/kcore | dd bs=1 count=1 2>/dev/null"), "");
    assert!(of("echo 1 > /proc/sys/kernel/panic || echo refused").contains("refused"));
    assert!(of("ls /sys/fs/cgroup").lines().count() > 1);
}

#[test]
fn another_cgroup_and_other_limits() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("place");
    let bundle = &counter.0;
    bundle.change(|spec| spec["linux"]["cgroupsPath"] = format!("/{}-first", bundle.id).into());
    counter.run();
    counter.checkpoint(&["--manage-cgroups-mode", "ignore"]);
    bundle.change(|spec| {
        spec["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into();
        spec["linux"]["resources"]["pids"] = serde_json::json!({"limit": 55});
    });
    let stopped_at = counter.count();
    counter.restore(&["--manage-cgroups-mode", "ignore"]);
    counter.above(stopped_at);
    assert_eq!(fs::read_to_string(bundle.cgroup().join("pids.max")).unwrap().trim(), "55");
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    assert!(cgroup.contains(&format!("/{}\n", bundle.id)), "{cgroup}");
}

#[test]
fn a_foreground_restore_ends_with_the_program() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("foreground");
    let bundle = &counter.0;
    let out = bundle.path.join("out");
    // A pipe, as a manager of containers has one.
    let (mut ours, theirs) = std::io::pipe().unwrap();
    // A command holds its pipe as long as it lives.
    let run = |arguments: &[&str], stdout: std::io::PipeWriter| {
        let mut command = bundle.command(arguments);
        command.stdout(stdout).stderr(fs::File::create(&out).unwrap()).status().unwrap().code()
    };
    bundle.script("exec 2>&1; echo begun; while [ ! -e /go ]; do sleep 0.1; done; echo gone on; exit 7");
    assert_eq!(run(&["run", "-d", &bundle.id], theirs), Some(0));
    let mut begun = [0; 6];
    ours.read_exact(&mut begun).unwrap();
    counter.checkpoint(&[]);
    fs::write(bundle.path.join("rootfs/go"), "").unwrap();
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let code = run(&["restore", "--image-path", "image", "--work-path", "work", &bundle.id], theirs);
    assert_eq!(code, Some(7), "{}", fs::read_to_string(&out).unwrap());
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, "gone on\n");
    counter.is_gone();
}

/// What accepts the master of a terminal.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.path.join("console.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { path, listener }
    }

    fn master(&self) -> fs::File {
        let (stream, _) = self.listener.accept().unwrap();
        let fd: OwnedFd = tare_sys::socket::receive_fd(&stream).unwrap();
        fd.into()
    }
}

fn read_until(terminal: &mut fs::File, text: &str) {
    let mut seen = String::new();
    wait_for(text, || {
        let mut bytes = [0; 256];
        let length = terminal.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        seen.contains(text).then_some(())
    });
}

#[test]
fn a_terminal_is_handed_out_again() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("terminal");
    let bundle = &counter.0;
    bundle.script("n=0; while read word; do n=$((n+1)); echo $n:$word; done");
    bundle.change(|spec| spec["process"]["terminal"] = true.into());
    let socket = Socket::new(bundle);
    let path = socket.path.to_str().unwrap();
    quiet(bundle, &["run", "-d", "--console-socket", path, &bundle.id]);
    let mut terminal = socket.master();
    terminal.write_all(b"one\n").unwrap();
    read_until(&mut terminal, "1:one");
    counter.checkpoint(&[]);
    drop(terminal);
    counter.restore(&["--console-socket", path]);
    let mut terminal = socket.master();
    terminal.write_all(b"two\n").unwrap();
    read_until(&mut terminal, "2:two");
    assert!(bundle.fails(1, &["restore", "-d", "--image-path", "image", "other"]).contains("console socket"));
}

#[test]
fn hooks_hear_of_a_restore() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("hooks");
    let bundle = &counter.0;
    counter.run();
    counter.checkpoint(&[]);
    let heard = bundle.path.join("heard");
    let hook = |script: String| serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    bundle.change(|spec| {
        spec["hooks"]["createRuntime"] = hook(format!("cat > {}", heard.display()));
        spec["hooks"]["poststart"] = hook("exit 1".into());
    });
    counter.restore(&[]);
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&heard).unwrap()).unwrap();
    assert_eq!(
        (state["id"].as_str(), state["status"].as_str()),
        (Some(bundle.id.as_str()), Some("creating"))
    );
    assert!(Path::new(&format!("/proc/{}", state["pid"])).exists());
    bundle.ok(&["delete", "--force", &bundle.id]);

    bundle.change(|spec| spec["hooks"]["createRuntime"] = hook("exit 3".into()));
    let error =
        bundle.fails(1, &["restore", "-d", "--image-path", "image", "--work-path", "work", &bundle.id]);
    assert!(error.contains("error running createRuntime hook #0: exit status 3"), "{error}");
    counter.is_gone();
    is_not_mounted(bundle);
}

#[test]
fn what_cannot_be_dumped_goes_on() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("refused");
    let bundle = &counter.0;
    // A file of the host that no mount of the container has.
    let out = fs::File::create(bundle.path.join("out")).unwrap();
    let mut run = bundle.command(&["run", "-d", &bundle.id]);
    assert!(run.stdout(out).stderr(Stdio::null()).status().unwrap().success());
    counter.above(1);
    let error = bundle.fails(1, &["checkpoint", "--image-path", "image", "--work-path", "work", &bundle.id]);
    let log = format!("log file: {}/work/dump.log", bundle.path.display());
    assert!(error.contains("criu failed: type ") && error.contains(&log), "{error}");
    assert!(error.contains("Can't lookup mount"), "{error}");
    assert_eq!(bundle.status(), "running");
    counter.above(counter.count());

    bundle.change(|spec| spec["linux"]["cgroupsPath"] = format!("/{}-other", bundle.id).into());
    fs::create_dir_all(bundle.path.join("empty")).unwrap();
    fs::write(bundle.path.join("empty/descriptors.json"), "[]").unwrap();
    let error = bundle.fails(1, &["restore", "-d", "--image-path", "empty", "other"]);
    let log = format!("log file: {}/empty/restore.log", bundle.path.display());
    assert!(error.contains("restore failed: criu failed: type RESTORE") && error.contains(&log), "{error}");
    assert!(bundle.fails(1, &["state", "other"]).contains("container does not exist"));
    assert!(!bundle.cgroup().with_file_name(format!("{}-other", bundle.id)).exists());
}

#[test]
fn a_killed_checkpoint_leaves_a_container_that_goes_on_or_can_be_deleted() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("killed");
    let bundle = &counter.0;
    counter.run();
    let begin = Instant::now();
    counter.checkpoint(&["--leave-running"]);
    let usual = begin.elapsed();
    for part in 1..6 {
        let mut command = bundle.command(&["checkpoint", "--image-path", "image", &bundle.id]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(usual * part / 6);
        child.kill().unwrap();
        child.wait().unwrap();
        // CRIU notices at its next word to the one that is gone, and puts everything back; if it was done, it was done.
        let status = wait_for("rest", || {
            let output = bundle.tare(&["state", &bundle.id]);
            let gone = String::from_utf8_lossy(&output.stderr).contains("does not exist");
            if gone {
                Some("gone".to_string())
            } else {
                Some(bundle.status()).filter(|status| status != "paused")
            }
        });
        if matches!(status.as_str(), "stopped" | "gone") {
            if status == "stopped" {
                bundle.ok(&["delete", &bundle.id]);
            }
            counter.is_gone();
            counter.run();
            continue;
        }
        counter.above(counter.count());
        assert_eq!(bundle.ok(&["exec", &bundle.id, "echo", "well"]).trim(), "well");
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    counter.is_gone();
}

#[test]
fn a_killed_restore_leaves_nothing_that_delete_does_not_remove() {
    if !criu_works() {
        return;
    }
    let counter = Counter::new("cut");
    let bundle = &counter.0;
    counter.run();
    counter.checkpoint(&[]);
    let begin = Instant::now();
    counter.restore(&[]);
    let usual = begin.elapsed();
    bundle.ok(&["delete", "--force", &bundle.id]);
    for part in 0..8 {
        let arguments = ["restore", "-d", "--image-path", "image", "--work-path", "work", &bundle.id];
        let mut child =
            bundle.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(usual * part / 8);
        child.kill().unwrap();
        child.wait().unwrap();
        let deleted = bundle.tare(&["delete", "--force", &bundle.id]);
        println!("part {part}: {}", String::from_utf8_lossy(&deleted.stderr));
        counter.is_gone();
        is_not_mounted(bundle);
        assert!(!bundle.path.join("state").join(&bundle.id).exists());
    }
    counter.restore(&[]);
    counter.above(counter.count());
}

/// What needs no CRIU.
#[test]
fn refusals_are_named() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("nocriu");
    let id = bundle.id.as_str();
    bundle.script("exec sleep 1000").create();
    let error = bundle.fails(1, &["checkpoint", id]);
    assert!(error.contains("Container cannot be checkpointed in created state"), "{error}");
    bundle.ok(&["start", id]);
    let error = bundle.fails(1, &["--criu", "no-such-criu", "checkpoint", "--image-path", "image", id]);
    assert!(error.contains("exec: \"no-such-criu\": executable file not found in $PATH"), "{error}");
    let error = bundle.fails(1, &["--criu", "/no/criu", "checkpoint", "--image-path", "image", id]);
    assert!(error.contains("/no/criu: no such file or directory"), "{error}");
    // A program that is none: it ends without a word.
    let error = bundle.fails(1, &["--criu", "/bin/false", "checkpoint", "--image-path", "image", id]);
    assert!(error.contains("criu failed"), "{error}");
    assert_eq!(bundle.status(), "running");
    for (arguments, words) in [
        (["--parent-path", "/abs"], "--parent-path must be relative"),
        (["--parent-path", "../none"], "invalid --parent-path: "),
        (["--manage-cgroups-mode", "props"], "invalid manage-cgroups-mode value"),
        (["--empty-ns", "pid"], "namespace \"pid\" is not supported"),
        (["--page-server", "here"], "Use --page-server ADDRESS:PORT"),
    ] {
        let error = bundle.fails(1, &["checkpoint", "--image-path", "image", arguments[0], arguments[1], id]);
        assert!(error.contains(words), "{error}");
    }
    let error = bundle.fails(1, &["restore", "-d", "--image-path", "none", "other"]);
    assert!(error.contains("restore failed: restore: open") && error.contains("none"), "{error}");
    let error = bundle.fails(1, &["restore", "-d", "--image-path", "image", "other"]);
    assert!(error.contains("descriptors.json") || error.contains("criu"), "{error}");
    // A bind mount with a map of its own would come back without it.
    bundle.change(|spec| {
        let map = serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let mount = serde_json::json!({"type": "bind", "source": "/tmp", "destination": "/mapped",
            "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map});
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    let error = bundle.fails(1, &["checkpoint", "--image-path", "image", id]);
    assert!(error.contains("idmapped mount \"/mapped\": not implemented"), "{error}");
    assert!(bundle.ok(&["restore", "--help"]).contains("--lsm-profile value"));
}
