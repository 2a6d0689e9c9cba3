//! The command is killed at random points of every step of a container's life. What it leaves behind, `delete --force`
//! removes: process, cgroup, mount, file.

use crate::bundle::{Bundle, able};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tare_testkit::{numbers::Numbers, skip, soak};

/// How long what was killed may take to be gone.
const DEADLINE: Duration = Duration::from_secs(20);

/// How a step ended.
#[derive(Debug, Default)]
struct Outcome {
    killed: u64,
    done: u64,
    refused: u64,
}

/// The steps of a life and how long each takes when nobody disturbs it.
struct Life<'a> {
    bundle: &'a Bundle,
    init: Init,
    usual: BTreeMap<&'static str, Duration>,
    outcomes: BTreeMap<&'static str, Outcome>,
}

const STEPS: [&str; 4] = ["create", "start", "exec", "delete"];

impl<'a> Life<'a> {
    fn new(bundle: &'a Bundle) -> Self {
        let mut life =
            Self { bundle, init: Init::begin(), usual: BTreeMap::new(), outcomes: BTreeMap::new() };
        for _ in 0..3 {
            for step in STEPS {
                let begin = Instant::now();
                let status = life.init.spawn(&mut life.command(step)).wait().unwrap();
                assert!(status.success(), "{step}: {status}");
                let usual = life.usual.entry(step).or_default();
                *usual = (*usual).max(begin.elapsed());
            }
        }
        life
    }

    fn command(&self, step: &str) -> Command {
        let id = self.bundle.id.as_str();
        let arguments: &[&str] = match step {
            "create" => &["create", id],
            "start" => &["start", id],
            "exec" => &["exec", id, "true"],
            _ => &["delete", "--force", id],
        };
        let mut command = self.bundle.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// One step that is killed after `delay`, if it is not done by then.
    fn step(&mut self, step: &'static str, delay: Option<Duration>) {
        let begin = Instant::now();
        let mut child = self.init.spawn(&mut self.command(step));
        if let Some(delay) = delay {
            // The points of interest are microseconds apart: no timer hits them.
            while begin.elapsed() < delay {
                std::hint::spin_loop();
            }
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        let outcome = self.outcomes.entry(step).or_default();
        match (status.signal(), status.success()) {
            (Some(9), _) => outcome.killed += 1,
            (_, true) => outcome.done += 1,
            _ => outcome.refused += 1,
        }
    }

    /// A life in which one step, or each, is killed.
    fn live(&mut self, numbers: &mut Numbers) {
        let victim = numbers.below(STEPS.len() + 1);
        for (index, step) in STEPS.into_iter().enumerate() {
            let hit = victim == index || victim == STEPS.len();
            let longest = self.usual[step].as_nanos() as usize * 6 / 5;
            let delay = hit.then(|| Duration::from_nanos(numbers.below(longest) as u64));
            self.step(step, delay);
        }
    }
}

/// Reaps the processes that the kernel gives to this one because their parent was killed, as an init does: the end of a
/// pid namespace waits for it.
#[derive(Clone, Default)]
struct Init {
    /// The command that runs now; it is waited for by who started it.
    own: Arc<Mutex<i32>>,
}

const ENDED: i32 = -1;

impl Init {
    fn begin() -> Self {
        let init = Self::default();
        let own = init.own.clone();
        std::thread::spawn(move || {
            while *own.lock().unwrap() != ENDED {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                // Without a child there is nothing to wait for yet.
                let _ = rustix::process::waitid(WaitId::All, options);
                let own = own.lock().unwrap();
                let mut pid = 0;
                for entry in children() {
                    if entry != *own && *own != ENDED {
                        pid = entry;
                        let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
                    }
                }
                drop(own);
                if pid == 0 {
                    // Its own child is not waited for yet, or there is none.
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        init
    }

    /// Stops reaping.
    fn end(&self) {
        *self.own.lock().unwrap() = ENDED;
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let mut own = self.own.lock().unwrap();
        let child = command.spawn().unwrap();
        *own = child.id() as i32;
        child
    }

    fn output(&self, command: &mut Command) -> Output {
        let child = self.spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        child.wait_with_output().unwrap()
    }
}

/// The children of this process, of whichever thread.
fn children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// What of the container is there: processes, cgroups, mounts, files.
fn remains(bundle: &Bundle) -> Vec<String> {
    let mut remains = Vec::new();
    let name = bundle.id.as_str();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == rustix::process::getpid().as_raw_nonzero().get() {
            continue;
        }
        let of = |file: &str| fs::read(path.join(file)).unwrap_or_default();
        // A process that has ended waits for its parent to ask; init's business.
        if String::from_utf8_lossy(&of("stat")).contains(") Z ") {
            continue;
        }
        let mentions = |file: &str| String::from_utf8_lossy(&of(file)).contains(name);
        if mentions("cmdline") || mentions("cgroup") {
            remains.push(format!("process {pid} {}", String::from_utf8_lossy(&of("cmdline"))));
        }
    }
    let trees = Path::new("/sys/fs/cgroup");
    let each = fs::read_dir(trees).unwrap().flatten().map(|entry| entry.path());
    for tree in each.chain([trees.to_path_buf()]) {
        let directory = tree.join(name);
        if directory.exists() {
            remains.push(format!("cgroup {}", directory.display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    remains.extend(mounts.lines().filter(|line| line.contains(name)).map(|line| format!("mount {line}")));
    let state = bundle.path.join("state").join(name);
    if state.exists() {
        remains.push(format!("file {}", state.display()));
    }
    remains
}

/// Every name below a directory.
fn names(directory: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        into.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            names(&entry.path(), into);
        }
    }
}

fn files(bundle: &Bundle) -> Vec<String> {
    let mut all = Vec::new();
    names(&bundle.path, &mut all);
    all.sort();
    all
}

#[test]
fn a_killed_command_leaves_nothing_that_delete_does_not_remove() {
    let alone = std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test");
    if !able() || !skip::needs(&[(alone, "a process of its own (cargo nextest): it reaps whatever comes")]) {
        return;
    }
    let cycles = soak::size("TARE_SOAK_CYCLES", 40);
    let bundle = Bundle::new("crash");
    bundle.script("exec sleep 1000");
    let mut life = Life::new(&bundle);
    let before = files(&bundle);
    let mut numbers = Numbers::seeded();
    for cycle in 0..cycles {
        life.live(&mut numbers);
        let output = life.init.output(&mut bundle.command(&["delete", "--force", &bundle.id]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cycle {cycle}: delete --force: {said}");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = remains(&bundle);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "cycle {cycle} left {left:#?}");
            std::thread::yield_now();
        }
    }
    life.init.end();
    assert_eq!(files(&bundle), before);
    println!("{cycles} lives: {:?}", life.outcomes);
    for step in STEPS {
        let outcome = &life.outcomes[step];
        assert!(outcome.killed > 0 && outcome.done > 0, "{step}: {outcome:?}: it was not hit at random");
    }
}

/// A command that was stopped where the first process waits already and the state is not written yet, as close as it
/// can be had from outside: the file of the state holds what it began with again.
#[test]
fn a_first_process_without_a_state_is_ended() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("stateless");
    bundle.create();
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    let pid = state["pid"].as_i64().unwrap() as i32;
    let pidfd =
        rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), rustix::process::PidfdFlags::empty())
            .unwrap();
    let file = bundle.path.join("state").join(&bundle.id).join("state.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let paths = whole["cgroup_paths"].as_object().unwrap();
    let lines = paths.iter().map(|(name, path)| format!("{name} {}\n", path.as_str().unwrap()));
    fs::write(&file, lines.collect::<String>()).unwrap();
    assert!(bundle.cgroup().exists());
    assert!(bundle.fails(1, &["state", &bundle.id]).contains("container does not exist"));
    bundle.ok(&["delete", "--force", &bundle.id]);
    let alive = rustix::process::pidfd_send_signal(&pidfd, Signal::CONT).is_ok();
    let comm = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(!alive || comm.contains(") Z"), "the first process lives: {comm}");
    // Whoever adopted it reaps it when it gets to that.
    let deadline = Instant::now() + DEADLINE;
    while !remains(&bundle).is_empty() {
        assert!(Instant::now() < deadline, "left: {:?}", remains(&bundle));
        std::thread::yield_now();
    }
}

/// The cgroup of a creation that was cut off may be one that others live in: they stay.
#[test]
fn processes_of_others_are_left_alone() {
    if !able() {
        return;
    }
    let (bundle, other) = (Bundle::new("cut"), Bundle::new("neighbour"));
    other.script("exec sleep 1000").create();
    other.ok(&["start", &other.id]);
    let state = bundle.path.join("state").join(&bundle.id);
    fs::create_dir_all(&state).unwrap();
    let directory = other.cgroup();
    fs::write(state.join("state.json"), format!("pids {}\n", directory.display())).unwrap();
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(!state.exists() && directory.exists());
    assert_eq!(other.status(), "running");
}
