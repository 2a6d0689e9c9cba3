//! `tare` through `tared` beside docker through Debian's dockerd and ctr through Debian's containerd: run, exec,
//! memory and durable commits. Every daemon has its own directories and is ended by pid.

use super::machine::{self, path};
use super::{Figures, Row, interleave, table, verdict};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A daemon of this benchmark.
struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a program and waits until `ready` succeeds.
    fn start(program: &str, arguments: &[&str], log: &Path, ready: impl Fn() -> bool) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let errors = file.try_clone().context("share the log")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("run {program}"))?;
        let daemon = Self { child };
        let deadline = Instant::now() + START_DEADLINE;
        while !ready() {
            if Instant::now() > deadline {
                bail!("{program} does not answer within 30 s; see {}", log.display());
            }
            super::pause(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // One that is gone already needs no signal.
        let _sent = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = self.child.wait();
    }
}

/// The registry that `tare image bootstrap` has started and left running; none if one ran there already.
struct Registry(Option<rustix::process::Pid>);

impl Registry {
    /// Reads its process number from what the command said.
    fn of(said: &str) -> Self {
        let number = said.split_once("(pid ").and_then(|(_, rest)| rest.split_once(','));
        Self(number.and_then(|(number, _)| rustix::process::Pid::from_raw(number.parse().ok()?)))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // One that is gone already needs no signal.
            let _sent = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn succeeds(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Prints the tables of the daemons.
///
/// # Errors
/// When a daemon does not start or a command fails.
pub fn run(bin: &Path, directory: &Path, rounds: usize) -> Result<String> {
    let bench = Bench::start(bin, directory)?;
    let mut text = bench.idle_daemon()?;
    let bridge = interleave(bench.run_rows(None), rounds, Duration::ZERO)?;
    text.push_str(&table("run --rm of true, default network", &bridge, &["docker"]));
    text.push_str(&judge(&bridge, "docker", 0.1));
    let alone = interleave(bench.run_rows(Some("none")), rounds, Duration::ZERO)?;
    text.push_str(&table("run --rm of true, no network", &alone, &["docker", "ctr"]));
    text.push_str(&judge(&alone, "docker", 1.0 / 12.0));
    text.push_str(&judge(&alone, "ctr", 1.0 / 8.0));
    let exec = bench.exec(rounds)?;
    text.push_str(&table("exec of true", &exec, &["docker"]));
    text.push_str(&judge(&exec, "docker", 1.0 / 12.0));
    text.push_str(&bench.memory()?);
    text.push_str(&bench.durable_commits()?);
    Ok(text)
}

fn judge(figures: &[Figures], anchor: &str, bound: f64) -> String {
    let find = |name: &str| figures.iter().find(|figures| figures.name == name);
    match (find("tare"), find(anchor)) {
        (Some(tare), Some(anchor)) => {
            verdict(&format!("tare x {}", anchor.name), tare.ratio_to(anchor), bound)
        }
        _ => format!("  skipped: no {anchor} on this host\n"),
    }
}

struct Bench {
    tare: String,
    image: String,
    /// `-H` of each client; docker's own daemon only where it is installed.
    socket: String,
    docker_socket: Option<String>,
    containerd_socket: Option<String>,
    tared: Daemon,
    /// Ended after the others.
    _peers: Vec<Daemon>,
    _registry: Registry,
    directory: PathBuf,
}

impl Bench {
    fn start(bin: &Path, directory: &Path) -> Result<Self> {
        let place = |name: &str| directory.join(name).display().to_string();
        let tare = path(&bin.join("tare"))?.to_owned();
        let registry = "127.0.0.1:5599";
        let output = machine::output(
            &tare,
            &["image", "bootstrap", "--registry", registry, "--registry-root", &place("registry"), "busybox"],
        )?;
        let image = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let registry = Registry::of(&String::from_utf8_lossy(&output.stderr));
        let socket = format!("unix://{}", place("docker.sock"));
        let arguments = [
            "--root",
            &place("tare-root"),
            "--state",
            &place("tare-state"),
            "--address",
            &place("tared.sock"),
            "--docker-address",
            &place("docker.sock"),
            "--log-level",
            "warn",
        ];
        let tared =
            Daemon::start(path(&bin.join("tared"))?, &arguments, &directory.join("tared.log"), || {
                succeeds(&[&tare, "-H", &socket, "version"])
            })?;
        machine::output(&tare, &["-H", &socket, "pull", "-q", &image])?;
        let mut bench = Self {
            tare,
            image,
            socket,
            tared,
            docker_socket: None,
            containerd_socket: None,
            _peers: Vec::new(),
            _registry: registry,
            directory: directory.to_path_buf(),
        };
        bench.start_docker()?;
        bench.start_containerd()?;
        Ok(bench)
    }

    fn start_docker(&mut self) -> Result<()> {
        if !Path::new("/usr/sbin/dockerd").exists() {
            return Ok(());
        }
        let place = |name: &str| self.directory.join(name).display().to_string();
        let socket = format!("unix://{}", place("peer-docker.sock"));
        let arguments = [
            "--data-root",
            &place("docker-root"),
            "--exec-root",
            &place("docker-exec"),
            "-H",
            &socket,
            "-p",
            &place("docker.pid"),
            "--bip",
            "10.213.77.1/24",
        ];
        let daemon =
            Daemon::start("/usr/sbin/dockerd", &arguments, &self.directory.join("dockerd.log"), || {
                succeeds(&["docker", "-H", &socket, "version"])
            })?;
        machine::output("docker", &["-H", &socket, "pull", "-q", &self.image])?;
        self._peers.push(daemon);
        self.docker_socket = Some(socket);
        Ok(())
    }

    fn start_containerd(&mut self) -> Result<()> {
        if !succeeds(&["ctr", "--version"]) {
            return Ok(());
        }
        let place = |name: &str| self.directory.join(name).display().to_string();
        let socket = place("containerd.sock");
        let arguments = [
            "--address",
            &socket,
            "--root",
            &place("containerd-root"),
            "--state",
            &place("containerd-state"),
        ];
        let daemon = Daemon::start("containerd", &arguments, &self.directory.join("containerd.log"), || {
            succeeds(&["ctr", "-a", &socket, "version"])
        })?;
        let full = format!("{}:latest", self.image);
        machine::output("ctr", &["-a", &socket, "images", "pull", "--plain-http", &full])?;
        self._peers.push(daemon);
        self.containerd_socket = Some(socket);
        Ok(())
    }

    fn run_rows(&self, network: Option<&str>) -> Vec<Row> {
        let mut rows = Vec::new();
        let words = |client: &str, socket: &str| {
            let mut words =
                vec![client.to_owned(), "-H".into(), socket.to_owned(), "run".into(), "--rm".into()];
            if let Some(network) = network {
                words.extend(["--network".to_owned(), network.to_owned()]);
            }
            words.extend([self.image.clone(), "true".into()]);
            words
        };
        let command = |name: &str, words: Vec<String>| {
            Row::command(name, &words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        rows.push(command("tare", words(&self.tare, &self.socket)));
        if let Some(socket) = &self.docker_socket {
            rows.push(command("docker", words("docker", socket)));
        }
        if let (Some(socket), Some(_)) = (&self.containerd_socket, network) {
            let (socket, full) = (socket.clone(), format!("{}:latest", self.image));
            let mut next = 0_u32;
            rows.push(Row::action("ctr", move || {
                next += 1;
                super::time(&["ctr", "-a", &socket, "run", "--rm", &full, &format!("bench{next}"), "true"])
            }));
        }
        rows
    }

    fn exec(&self, rounds: usize) -> Result<Vec<Figures>> {
        let mut rows = Vec::new();
        let mut running = Vec::new();
        let docker = self.docker_socket.as_deref().map(|socket| ("docker", "docker", socket));
        for (name, client, socket) in
            [("tare", self.tare.as_str(), self.socket.as_str())].into_iter().chain(docker)
        {
            machine::output(
                client,
                &["-H", socket, "run", "-d", "--name", "bench-exec", &self.image, "sleep", "1000"],
            )?;
            rows.push(Row::command(name, &[client, "-H", socket, "exec", "bench-exec", "true"]));
            running.push((client, socket));
        }
        let figures = interleave(rows, rounds, Duration::ZERO);
        for (client, socket) in running {
            machine::output(client, &["-H", socket, "rm", "-f", "bench-exec"])?;
        }
        figures
    }

    /// Before anything has run.
    fn idle_daemon(&self) -> Result<String> {
        let (_, resident) = machine::memory(self.tared.pid())?;
        Ok(format!(
            "\nmemory of an idle daemon\n{}",
            verdict("tared RSS in MB", resident as f64 / 1024.0, 20.0)
        ))
    }

    fn memory(&self) -> Result<String> {
        let mut text = "\nmemory after the runs above (KiB)\n".to_owned();
        let tare = |words: &[&str]| {
            let words: Vec<&str> =
                ["-H", self.socket.as_str()].into_iter().chain(words.iter().copied()).collect();
            machine::output(&self.tare, &words)
        };
        let (_, resident) = machine::memory(self.tared.pid())?;
        text.push_str(&format!("  tared: RSS {resident}\n"));
        tare(&["run", "-d", "--name", "bench-memory", &self.image, "sleep", "1000"])?;
        let shim = shim_of(&self.directory.join("tare-state"))?;
        // An idle shim lets go of its code's pages and free heap a second after its last call.
        super::pause(Duration::from_secs(3));
        let (idle, _) = machine::memory(shim)?;
        for _ in 0..1000 {
            tare(&["exec", "bench-memory", "true"])?;
        }
        super::pause(Duration::from_secs(3));
        let (after, _) = machine::memory(shim)?;
        tare(&["rm", "-f", "bench-memory"])?;
        text.push_str(&format!("  shim: PSS {idle} idle, {after} after 1000 execs\n"));
        text.push_str(&verdict("shim PSS in MB", idle.max(after) as f64 / 1024.0, 2.0));
        Ok(text)
    }

    /// Durable commits of one `run --rm`, counted by strace on the daemon.
    fn durable_commits(&self) -> Result<String> {
        let file = self.directory.join("fsync.strace");
        let mut tracer = Command::new("strace")
            .args([
                "-f",
                "-e",
                "trace=fsync,fdatasync,syncfs,sync_file_range,msync",
                "-o",
                path(&file)?,
                "-p",
            ])
            .arg(self.tared.pid().to_string())
            .stderr(Stdio::null())
            .spawn()
            .context("run strace")?;
        let attached = || {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.tared.pid())).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let deadline = Instant::now() + START_DEADLINE;
        while !attached() && Instant::now() < deadline {
            super::pause(Duration::from_millis(10));
        }
        const RUNS: u32 = 10;
        for _ in 0..RUNS {
            machine::output(
                &self.tare,
                &["-H", &self.socket, "run", "--rm", "--network", "none", &self.image, "true"],
            )?;
        }
        let pid = rustix::process::Pid::from_child(&tracer);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).context("stop strace")?;
        tracer.wait().context("wait for strace")?;
        let text = std::fs::read_to_string(&file).context("read strace's lines")?;
        let commits = text.lines().filter(|line| line.contains("sync") && !line.contains("resumed")).count();
        let each = commits as f64 / f64::from(RUNS);
        Ok(format!("\ndurable commits of tared per run --rm\n{}", verdict("commits", each, 2.0)))
    }
}

/// The pid of the only shim below a state directory.
fn shim_of(state: &Path) -> Result<u32> {
    let wanted = path(state)?;
    for entry in std::fs::read_dir("/proc").context("read /proc")?.filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        let directory = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let is_shim =
            words.split('\0').next().is_some_and(|program| program.contains("containerd-shim-tare"));
        if is_shim && (words.contains(wanted) || directory.starts_with(state)) {
            return Ok(pid);
        }
    }
    bail!("no shim of {wanted} runs")
}
