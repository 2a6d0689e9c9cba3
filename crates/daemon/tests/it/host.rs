//! A daemon of one test, a registry with busybox, and the docker client in front of them.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tare_testkit::{
    fake_registry::FakeRegistry,
    image::{self, Tar},
    skip,
};

/// Name of the image in the test's registry.
const REPOSITORY: &str = "busybox";
/// Programs of busybox that tests use.
const APPLETS: [&str; 18] = [
    "sh", "cat", "echo", "true", "false", "sleep", "id", "hostname", "ps", "wget", "httpd", "touch", "seq",
    "tty", "stty", "mount", "ip", "head",
];

/// A daemon with its directories; it and everything it made end with this value.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
    /// Where the daemon's durable data is.
    root: PathBuf,
    daemon: Option<Child>,
    /// `127.0.0.1:port/busybox:latest`.
    pub(crate) image: String,
    runtime: tokio::runtime::Runtime,
    pub(crate) registry: FakeRegistry,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn shim() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_tared")).with_file_name("containerd-shim-tare-v2")
}

/// Waits until `condition` gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
        tare_testkit::bench::pause(Duration::from_millis(10));
    }
}

impl Host {
    /// A running daemon that has the image; `None`, and a line that says why, where that cannot be.
    pub(crate) fn start() -> Option<Self> {
        Self::start_on(None)
    }

    /// As [`Host::start`], with the daemon's durable data on a disk of its own.
    pub(crate) fn start_on(disk: Option<&Path>) -> Option<Self> {
        let missing = [
            (rustix::process::geteuid().is_root(), "root"),
            (Path::new("/bin/busybox").is_file(), "/bin/busybox (package busybox-static)"),
            (Command::new("docker").arg("--version").output().is_ok(), "the docker client"),
            (shim().is_file(), "containerd-shim-tare-v2 beside tared (cargo build -p tare-shim)"),
        ];
        if !skip::needs(&missing) {
            return None;
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let registry = runtime.block_on(FakeRegistry::start()).unwrap();
        registry.put_image(REPOSITORY, "latest", &image::build(&[layer()], &["/bin/sh"]));
        let directory = tempfile::Builder::new().prefix("tared-").tempdir().unwrap();
        let image = format!("{}/{REPOSITORY}:latest", registry.host());
        let root = disk.unwrap_or(directory.path()).join("root");
        let mut host = Self { directory, root, daemon: None, image, runtime, registry };
        host.up();
        let image = host.image.clone();
        host.docker(&["pull", "-q", &image]).good();
        Some(host)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match name.strip_prefix("root/") {
            Some(below) => self.root.join(below),
            None => self.directory.path().join(name),
        }
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tared"))
            .args(["--config", "/nonexistent", "--log-level", "debug", "--root"])
            .arg(&self.root)
            .arg("--state")
            .arg(self.path("state"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(child);
        wait_for("tared", || (self.docker(&["version"]).code == 0).then_some(()));
    }

    /// Kills the daemon as the kernel would for memory.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Ends the daemon as a service manager does; gives how long it took.
    pub(crate) fn stop(&mut self) -> Duration {
        let mut daemon = self.daemon.take().unwrap();
        let begun = Instant::now();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&daemon),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        daemon.wait().unwrap();
        begun.elapsed()
    }

    /// Runs a ctr command to its end, within 30 seconds.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Said {
        self.ctr_command(arguments).output().unwrap().into()
    }

    /// A ctr command, to be run.
    pub(crate) fn ctr_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "30", "ctr", "-a"]).arg(self.path("state/tared.sock")).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// A name that no other test on this host uses: ctr's cgroups are named after containers.
    pub(crate) fn name(&self, name: &str) -> String {
        let unique = self.directory.path().file_name().unwrap().to_string_lossy().replace('.', "");
        format!("{name}-{}", unique.trim_matches('-'))
    }

    /// Runs a docker command to its end, within 30 seconds.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// A docker command, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let socket = format!("unix://{}", self.path("state/docker.sock").display());
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "30", "docker", "-H", &socket]).args(arguments);
        command.env("DOCKER_CONFIG", self.path("docker-config")).stdin(Stdio::null());
        command
    }

    /// `docker run` with the test's image and no network; arguments of the command come after.
    pub(crate) fn run(&self, options: &[&str], command: &[&str]) -> Said {
        let mut arguments = vec!["run", "--network", "none"];
        arguments.extend(options);
        arguments.push(&self.image);
        arguments.extend(command);
        self.docker(&arguments)
    }

    /// One field of a container, by a Go template.
    pub(crate) fn field(&self, container: &str, template: &str) -> String {
        self.docker(&["inspect", "-f", template, container]).good().out
    }

    /// The process of a container's shim.
    pub(crate) fn shim_of(&self, container: &str) -> i32 {
        let pid = self.field(container, "{{.State.Pid}}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// The body of an answer of the Docker API.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path("state/docker.sock")).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// How many descriptors the daemon has.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.daemon.as_ref().unwrap().id();
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    /// What containers left below the directories: bundles, sockets, files, mounts; empty when nothing.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for place in ["state/io.containerd.runtime.v2.task/default", "root/containers/default", "state/s"] {
            for entry in fs::read_dir(self.path(place)).into_iter().flatten().flatten() {
                found.push(entry.path().display().to_string());
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.directory.path().display().to_string();
        let below = |line: &&str| line.split(' ').nth(4).is_some_and(|place| place.starts_with(&own));
        found.extend(mounts.lines().filter(below).map(str::to_owned));
        found
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        if self.daemon.is_some() {
            let all = self.docker(&["ps", "-aq"]).out;
            let ids: Vec<&str> = all.split_whitespace().collect();
            if !ids.is_empty() {
                self.docker(&[&["rm", "-f", "-v"][..], &ids].concat());
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            // Already ended is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = daemon.wait();
        }
        // Bridge and table of this instance.
        let _ = Command::new(env!("CARGO_BIN_EXE_tared"))
            .args(["--config", "/nonexistent", "--root"])
            .arg(&self.root)
            .arg("--state")
            .arg(self.path("state"))
            .arg("repair")
            .output();
        let _ = &self.runtime;
    }
}

impl Said {
    /// The same, after it is seen that the command succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// One layer with busybox and what programs expect.
pub(crate) fn layer() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut tar = Tar::new();
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "data"] {
        tar = tar.directory(directory, 0o755);
    }
    tar = tar.file("bin/busybox", 0o755, &busybox);
    for applet in APPLETS {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/data:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:\nweb:x:33:\n")
        .file("bin/plain", 0o644, b"not a program")
        .finish()
}
