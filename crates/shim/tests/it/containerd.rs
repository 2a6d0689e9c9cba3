//! Debian's containerd 1.6 with this shim as `io.containerd.tare.v2`, through `ctr`.

use crate::skip_unless_able;
use crate::support::{LIMIT, binary, make_rootfs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;
use tare_testkit::{ctr_events::CtrEvents, skip};

const CONTAINERD: &str = "/usr/bin/containerd";

/// A containerd with directories of its own.
struct Containerd {
    dir: tempfile::TempDir,
    process: Child,
}

impl Containerd {
    fn start() -> Option<Self> {
        if !Path::new(CONTAINERD).exists() || !Path::new("/usr/bin/ctr").exists() {
            skip::skipped("needs containerd and ctr (package containerd)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("tare-ctd-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(binary(), dir.path().join("bin/containerd-shim-tare-v2")).unwrap();
        make_rootfs(&dir.path().join("rootfs"));
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
             \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \
             \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.aufs\", \
             \"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = {:?}\n",
            path("root"),
            path("state"),
            path("c.sock")
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let process = spawn(dir.path());
        let containerd = Self { dir, process };
        containerd.until_it_answers();
        Some(containerd)
    }

    fn until_it_answers(&self) {
        let deadline = Instant::now() + LIMIT;
        while !self.ctr(&["version"]).status.success() {
            assert!(Instant::now() < deadline, "containerd does not answer");
        }
    }

    fn restart_after_kill(&mut self, meanwhile: impl FnOnce()) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        meanwhile();
        self.process = spawn(self.dir.path());
        self.until_it_answers();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/timeout");
        command
            .args(["-k", "1", "20", "ctr", "-a"])
            .arg(self.path("c.sock"))
            .args(["-n", &namespace()])
            .args(args);
        command.stdin(Stdio::null());
        command
    }

    fn ctr(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Output {
        let rootfs = self.path("rootfs");
        let fifos = self.path("fifos");
        let mut args =
            vec!["run", "--runtime", "io.containerd.tare.v2", "--fifo-dir", fifos.to_str().unwrap()];
        args.push("--rootfs");
        args.extend(flags);
        args.extend([rootfs.to_str().unwrap(), id]);
        args.extend(command);
        self.ctr(&args)
    }

    fn tasks(&self) -> String {
        String::from_utf8(self.ctr(&["tasks", "ls"]).stdout).unwrap()
    }

    fn until(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition(&self.tasks()) {
            assert!(Instant::now() < deadline, "{what}: {}", self.tasks());
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
        // ctr puts containers below a cgroup of the namespace's name, which nobody removes. Busy or absent is as good.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            std::fs::remove_dir(hierarchy.path().join(namespace())).unwrap_or_default();
        }
        std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(namespace())).unwrap_or_default();
    }
}

/// The test's own namespace of containerd; it names a cgroup too.
fn namespace() -> String {
    format!("tare-test-{}", std::process::id())
}

fn spawn(dir: &Path) -> Child {
    let path = format!("{}/bin:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let log = std::fs::File::create(dir.join("log")).unwrap();
    Command::new(CONTAINERD)
        .arg("-c")
        .arg(dir.join("config.toml"))
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn ctr_runs_execs_pauses_measures_and_kills() {
    skip_unless_able!();
    let Some(containerd) = Containerd::start() else { return };
    let output = containerd.run(&["--rm"], "r1", &["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let output = containerd.run(&["--rm"], "r2", &["/bin/nothing"]);
    assert!(
        !output.status.success() && text(&output).contains("no such file or directory"),
        "{}",
        text(&output)
    );
    // A terminal needs one on our side: script makes it. `--foreground` keeps timeout in the terminal's
    // foreground process group whichever shell script starts; from another group ctr would stop (SIGTTOU).
    let mut tty = Command::new("/usr/bin/script");
    let rootfs = containerd.path("rootfs");
    tty.args(["-qec", &format!(
        "timeout --foreground -k 1 20 ctr -a {} -n {} run --rm -t --runtime io.containerd.tare.v2 --rootfs {} r3 /bin/sh -c '[ -t 0 ] && echo is-a-tty; exit 3'",
        containerd.path("c.sock").display(), namespace(), rootfs.display()
    ), "/dev/null"]);
    let output = tty.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.code() == Some(3) && text(&output).contains("is-a-tty"), "{}", text(&output));

    // Without timeout(1) around it: killing that would leave ctr with our pipe.
    let plain = || {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(containerd.path("c.sock")).args(["-n", &namespace()]);
        command
    };
    let events = CtrEvents::start(plain, &namespace());
    let output = containerd.run(&["-d"], "d1", &["/bin/sleep", "1000"]);
    assert!(output.status.success(), "{}", text(&output));
    let output =
        containerd.ctr(&["tasks", "exec", "--exec-id", "x1", "d1", "/bin/sh", "-c", "echo inside; exit 9"]);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(9), &b"inside\n"[..]),
        "{}",
        text(&output)
    );
    assert!(containerd.ctr(&["tasks", "pause", "d1"]).status.success());
    assert!(containerd.tasks().contains("PAUSED"));
    assert!(containerd.ctr(&["tasks", "resume", "d1"]).status.success());
    let output = containerd.ctr(&["tasks", "metrics", "d1"]);
    assert!(text(&output).contains("pids.current"), "{}", text(&output));
    let output = containerd.ctr(&["tasks", "ps", "d1"]);
    assert_eq!(text(&output).lines().count(), 2, "{}", text(&output));
    assert!(containerd.ctr(&["tasks", "kill", "-s", "KILL", "d1"]).status.success());
    containerd.until("d1 does not stop", |tasks| tasks.contains("STOPPED"));
    assert!(containerd.ctr(&["tasks", "rm", "d1"]).status.code().is_some());
    containerd.ctr(&["containers", "rm", "d1"]);

    let output = containerd.run(
        &["--rm", "--memory-limit", "16000000"],
        "o1",
        &["/bin/sh", "-c", "x=a; while true; do x=$x$x; done"],
    );
    assert_eq!(output.status.code(), Some(137), "{}", text(&output));
    events.until(&["/tasks/delete", "o1"]);
    let seen = events.seen();
    let at = |topic: &str, id: &str| seen.lines().position(|line| line.contains(topic) && line.contains(id));
    for topic in [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/delete",
    ] {
        assert!(at(topic, "d1").is_some(), "{topic} is missing: {seen}");
    }
    assert!(at("/tasks/oom", "o1").unwrap() < at("/tasks/exit", "o1").unwrap(), "{seen}");
    assert_eq!(std::fs::read_dir(containerd.path("s")).unwrap().count(), 0, "a socket is left");
}

#[test]
fn containers_outlive_containerd_and_a_killed_shim_is_cleaned() {
    skip_unless_able!();
    let Some(mut containerd) = Containerd::start() else { return };
    assert!(containerd.run(&["-d"], "s1", &["/bin/sh", "-c", "sleep 0.5; exit 5"]).status.success());
    assert!(containerd.run(&["-d"], "s2", &["/bin/sleep", "1000"]).status.success());
    let tasks = containerd.tasks();
    let pid = |id: &str| {
        let line = tasks.lines().find(|line| line.starts_with(id)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let (first, second) = (pid("s1"), pid("s2"));
    containerd.restart_after_kill(|| {
        let deadline = Instant::now() + LIMIT;
        while Path::new(&format!("/proc/{first}")).exists() {
            assert!(Instant::now() < deadline, "the shim did not reap {first}");
            std::thread::yield_now();
        }
    });
    let tasks = containerd.tasks();
    assert!(tasks.lines().any(|line| line.starts_with("s1") && line.contains("STOPPED")), "{tasks}");
    assert!(tasks.lines().any(|line| line.starts_with("s2") && line.contains("RUNNING")), "{tasks}");
    let output = containerd.ctr(&["tasks", "rm", "s1"]);
    assert!(text(&output).contains("code 5"), "{}", text(&output));
    let output = containerd.ctr(&["tasks", "exec", "--exec-id", "x", "s2", "/bin/echo", "alive"]);
    assert_eq!(output.stdout, b"alive\n", "{}", text(&output));
    let stat = std::fs::read_to_string(format!("/proc/{second}/stat")).unwrap();
    let shim: i32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    containerd.until("the task of a killed shim stays", |tasks| !tasks.contains("s2"));
    crate::support::until_dead(second);
    containerd.ctr(&["containers", "rm", "s1", "s2"]);
    let left = std::fs::read_dir(containerd.path("state/io.containerd.runtime.v2.task").join(namespace()));
    assert_eq!(left.map_or(0, Iterator::count), 0, "a bundle is left");
}
