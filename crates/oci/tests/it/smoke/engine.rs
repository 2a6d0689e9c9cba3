//! One container engine with everything of its own, taken down with all it made.

use crate::bundle::able;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tare_testkit::skip;

/// How long any one command of an engine may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The image's name in both engines.
pub(crate) const IMAGE: &str = "localhost/tare-smoke:1";

/// Busybox programs that the checks use.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "id", "sleep", "tty", "true", "touch", "pwd", "grep", "unshare", "stat", "env",
    "hostname", "ls", "kill", "wc", "dd", "mkdir",
];

/// Version 2 of cgroups alone.
pub(super) fn v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether systemd makes the cgroups: where it runs, and has those of version 2.
pub(super) fn systemd() -> bool {
    v2() && Path::new("/run/systemd/system").is_dir()
}

/// The parent as the engines want it named.
fn parent(cgroup: &str) -> &str {
    if systemd() { cgroup.trim_start_matches('/') } else { cgroup }
}

/// An engine and its client.
pub(crate) struct Engine {
    name: &'static str,
    /// The client with the flags of this engine.
    client: Vec<String>,
    /// Flags of every `run` and `create`.
    flags: Vec<String>,
    pub(crate) dir: PathBuf,
    /// Its containers' cgroups are below this one.
    cgroup: String,
    daemon: Option<Child>,
}

impl Engine {
    /// Directories and names of a new engine; `None`, with the reason printed, where it cannot run.
    pub(crate) fn new(name: &'static str, programs: &[&str]) -> Option<Self> {
        if !able() {
            return None;
        }
        if let Some(missing) = programs.iter().find(|program| !Path::new(program).exists()) {
            skip::skipped(&format!("{missing} is not installed"));
            return None;
        }
        let id = format!("tare-smoke-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        fs::create_dir_all(&dir).unwrap();
        // A slice's name says where it is: without a dash, at the top.
        let cgroup = if systemd() {
            format!("/taresmoke{name}{}.slice", std::process::id())
        } else {
            format!("/{id}")
        };
        let flags = ["--network=none".into(), format!("--cgroup-parent={}", parent(&cgroup))].to_vec();
        let engine = Self { name, client: Vec::new(), flags, dir, cgroup, daemon: None };
        engine.make_image();
        Some(engine)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// A path below the engine's directory, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().into()
    }

    /// The client with its flags.
    pub(crate) fn with_client(mut self, client: Vec<String>, flags: &[&str]) -> Self {
        self.client = client;
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// The daemon behind the client; returns when it answers.
    pub(crate) fn with_daemon(mut self, daemon: Child) -> Self {
        self.daemon = Some(daemon);
        self.until("the daemon answers", || self.client(&["version"]).status.success());
        self
    }

    /// For an ordinary user, who has no cgroups here: everything so far becomes that user's.
    pub(crate) fn given_to(mut self, user: u32) -> Self {
        fn give(path: &Path, user: u32) {
            lchown(path, Some(user), Some(user)).unwrap();
            let is_directory = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            for entry in fs::read_dir(path).into_iter().flatten().flatten().filter(|_| is_directory) {
                give(&entry.path(), user);
            }
        }
        give(&self.dir, user);
        self.flags.retain(|flag| !flag.starts_with("--cgroup-parent"));
        self.flags.push("--cgroups=disabled".into());
        self
    }

    fn make_image(&self) {
        let rootfs = self.dir.join("image");
        for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "data"] {
            fs::create_dir_all(rootfs.join(dir)).unwrap();
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n";
        fs::write(rootfs.join("etc/passwd"), users).unwrap();
        fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:42:user\n").unwrap();
        let archive = self.path("image.tar");
        let done = Command::new("tar").args(["-cf", &archive, "-C"]).arg(&rootfs).arg(".").status().unwrap();
        assert!(done.success(), "tar");
    }

    /// Makes the image known to the engine.
    pub(crate) fn import(self) -> Self {
        self.ok(&["import", &self.path("image.tar"), IMAGE]);
        self
    }

    /// A command of the client that ends, one way or the other, within the limit.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg("-k1").arg(LIMIT.as_secs().to_string()).args(&self.client).args(arguments);
        command.stdin(Stdio::null()).env("HOME", &self.dir);
        command
    }

    pub(crate) fn client(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// As [`Engine::client`] with a file as standard input.
    pub(crate) fn client_with_input(&self, arguments: &[&str], input: &Path) -> Output {
        self.command(arguments).stdin(fs::File::open(input).unwrap()).output().unwrap()
    }

    /// A command that must succeed; what it printed, trimmed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.client(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {:?} {error}", self.name, output.status.code());
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let arguments = self.arguments(&["run", "--rm"], flags, command);
        self.client(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A command line that makes a container: verb, the engine's flags, more flags, image, command.
    pub(crate) fn arguments(&self, verb: &[&str], flags: &[&str], command: &[&str]) -> Vec<String> {
        let own: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        [verb, &own, flags, &[IMAGE], command].concat().into_iter().map(String::from).collect()
    }

    /// What a script in a container with these flags printed; it must end with 0.
    pub(crate) fn script(&self, flags: &[&str], script: &str) -> String {
        let output = self.run(flags, &["sh", "-c", script]);
        let (text, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{} {flags:?} {script:?}: {:?} {text} {error}",
            self.name,
            output.status.code()
        );
        text.trim().to_string()
    }

    /// Starts a container in the background under a name and waits until its script has said `ready`.
    pub(crate) fn start(&self, name: &str, flags: &[&str], script: &str) {
        let script = format!("echo ready; {script}");
        let arguments = self.arguments(&["run", "-d", "--name", name], flags, &["sh", "-c", &script]);
        self.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        self.until("the script is ready", || self.ok(&["logs", name]).contains("ready"));
    }

    /// A field of `inspect`.
    pub(crate) fn inspect(&self, name: &str, field: &str) -> String {
        self.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
    }

    /// Waits for a condition.
    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "{}: not within {LIMIT:?}: {what}", self.name);
            std::thread::yield_now();
        }
    }

    /// Removes every container.
    pub(crate) fn remove_all(&self) {
        let ids = self.client(&["ps", "-aq"]);
        let ids = String::from_utf8_lossy(&ids.stdout).to_string();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            self.client(&[&["rm", "-f"], ids.as_slice()].concat());
        }
    }

    /// Ends the daemon, by force if it does not end by itself, and the containerd that it started.
    fn stop_daemon(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid = daemon.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let deadline = Instant::now() + LIMIT;
        while daemon.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = daemon.kill();
            }
            std::thread::yield_now();
        }
        if let Ok(pid) = fs::read_to_string(self.dir.join("exec/containerd/containerd.pid")) {
            let name = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            if name.contains(self.dir.to_str().unwrap()) {
                let _ = Command::new("kill").args(["-9", pid.trim()]).status();
            }
        }
    }

    /// Mount points below the engine's directory, the innermost first.
    fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = |point: &&str| Path::new(point).starts_with(&self.dir);
        text.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(own).map(String::from).collect()
    }

    /// Directories of the engine's cgroup in every tree.
    fn cgroups(&self) -> Vec<PathBuf> {
        let top = PathBuf::from("/sys/fs/cgroup");
        let trees = fs::read_dir(&top).into_iter().flatten().flatten().map(|tree| tree.path());
        trees.chain([top]).map(|tree| tree.join(&self.cgroup[1..])).filter(|path| path.exists()).collect()
    }
}

/// Removes a cgroup and those below it; what is still busy stays. Podman makes the directories also where no
/// controller is mounted: their files are ordinary ones, those of a cgroup refuse to be removed alone.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        } else {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

impl Engine {
    /// Podman of an ordinary user leaves a process that keeps the user namespace.
    fn stop_keeper(&self) {
        let Ok(pid) = fs::read_to_string(self.dir.join("tmp/pause.pid")) else { return };
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        if name.trim() == "podman" || name.trim() == "catatonit" {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.remove_all();
        self.stop_daemon();
        if systemd() {
            let _ = Command::new("systemctl").args(["stop", parent(&self.cgroup)]).status();
        }
        self.stop_keeper();
        for point in self.mounts() {
            let _ = Command::new("umount").args(["-l", &point]).status();
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.cgroups().is_empty() && Instant::now() < deadline {
            self.cgroups().iter().for_each(|path| remove_cgroup(path));
            std::thread::yield_now();
        }
        let (mounts, cgroups) = (self.mounts(), self.cgroups());
        if mounts.is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
        if !std::thread::panicking() {
            assert!(mounts.is_empty() && cgroups.is_empty(), "left behind: {mounts:?} {cgroups:?}");
        }
    }
}
