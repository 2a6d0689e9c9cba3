//! `--systemd-cgroup`: the container is a scope of systemd's, with its limits, and nothing is left of it. `make test-vm`
//! runs these in a machine with systemd; elsewhere it is checked that the command says what is missing.

use crate::bundle::{Bundle, able};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tare_testkit::{numbers::Numbers, skip, soak};

const DEADLINE: Duration = Duration::from_secs(60);
const FLAG: &str = "--systemd-cgroup";

/// sd_booted(3).
fn booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A bundle whose container is a scope.
struct Scope {
    bundle: Bundle,
    unit: String,
}

impl Scope {
    /// In `system.slice`; `None`, with the reason told, where there is no systemd.
    fn new(name: &str) -> Option<Self> {
        if !able() || !skip::needs(&[(booted(), "systemd (make test-vm)")]) {
            return None;
        }
        let bundle = Bundle::new(name);
        let unit = format!("t-{}.scope", bundle.id);
        let scope = Self { bundle, unit };
        scope.place(&format!("system.slice:t:{}", scope.bundle.id));
        scope.bundle.script("exec sleep 1000");
        Some(scope)
    }

    fn place(&self, path: &str) {
        self.bundle.change(|spec| spec["linux"]["cgroupsPath"] = path.into());
    }

    fn id(&self) -> &str {
        &self.bundle.id
    }

    /// Its directory, below the slice's.
    fn cgroup(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup/system.slice").join(&self.unit)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.cgroup().join(name)).unwrap().trim().to_string()
    }

    fn create(&self) {
        let mut command = self.bundle.command(&[FLAG, "create", self.id()]);
        let output = self.bundle.path.join("said");
        let said = fs::File::create(&output).unwrap();
        let status = command.stdout(Stdio::null()).stderr(said).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(&output).unwrap());
    }

    fn run_detached(&self) {
        self.create();
        self.bundle.ok(&["start", self.id()]);
    }

    /// A property of the unit, as systemctl shows it.
    fn property(&self, name: &str) -> String {
        let output =
            Command::new("systemctl").args(["show", &self.unit, "--value", "-p", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    fn is_loaded(&self) -> bool {
        self.property("LoadState") == "loaded"
    }

    /// Unit and cgroup are gone, which systemd may take a moment for where it was not asked.
    fn expect_nothing(&self) {
        eventually("no unit and no cgroup", || !self.is_loaded() && !self.cgroup().exists());
    }

    /// What a process of the host, put into the cgroup, may open.
    fn may_open(&self, devices: &[&str]) -> String {
        let mut script = format!("echo $$ > {}/cgroup.procs;", self.cgroup().display());
        for device in devices {
            script += &format!("( : < /dev/{device} ) 2>/dev/null && echo {device};");
        }
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let _ = self.bundle.tare(&["delete", "--force", self.id()]);
        let _ = Command::new("systemctl").args(["stop", &self.unit]).stderr(Stdio::null()).status();
        let _ = Command::new("systemctl").args(["reset-failed", &self.unit]).stderr(Stdio::null()).status();
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn systemctl(arguments: &[&str]) {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_systemd_it_is_refused_by_name() {
    if !able() || !skip::needs(&[(!booted(), "a host without systemd")]) {
        return;
    }
    let bundle = Bundle::new("nosystemd");
    bundle.change(|spec| spec["linux"]["cgroupsPath"] = "system.slice:t:x".into());
    let error = bundle.fails(1, &[FLAG, "run", &bundle.id]);
    assert!(
        error.contains("systemd not running on this host, cannot use systemd cgroups manager"),
        "{error}"
    );
    assert!(!bundle.path.join("state").join(&bundle.id).exists());
}

#[test]
fn a_container_is_a_scope_from_create_to_delete() {
    let Some(scope) = Scope::new("life") else { return };
    scope.bundle.change(|spec| {
        spec["linux"]["resources"]["memory"] =
            json!({"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20});
        spec["linux"]["resources"]["cpu"] =
            json!({"shares": 512, "quota": 12345, "period": 100_000, "cpus": "0"});
        spec["linux"]["resources"]["pids"] = json!({"limit": 17});
        spec["linux"]["resources"]["blockIO"] = json!({"weight": 500});
        spec["linux"]["resources"]["unified"] = json!({"memory.high": "50331648"});
        spec["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "7",
            "org.systemd.property.Description": "'a test of tare'"});
    });
    scope.create();
    assert_eq!(scope.bundle.status(), "created");
    for (name, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("Description", "a test of tare"),
        ("TimeoutStopUSec", "7s"),
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "33554432"),
        ("MemoryHigh", "50331648"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "130ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "17"),
        ("IOWeight", "4950"),
        ("DevicePolicy", "strict"),
    ] {
        assert_eq!(scope.property(name), value, "{name}");
    }
    let limits = || {
        [
            "memory.max",
            "memory.low",
            "memory.swap.max",
            "memory.high",
            "cpu.weight",
            "cpu.max",
            "cpuset.cpus",
            "pids.max",
        ]
        .map(|name| scope.file(name))
    };
    let expected =
        ["67108864", "33554432", "33554432", "50331648", "59", "13000 100000", "0", "17"].map(String::from);
    assert_eq!(limits(), expected);
    // Nobody keeps the place any more: the first process is alone.
    assert_eq!(scope.file("cgroup.procs").lines().count(), 1);
    scope.bundle.ok(&["start", scope.id()]);
    systemctl(&["daemon-reload"]);
    assert_eq!(limits(), expected);
    let state: serde_json::Value = serde_json::from_slice(
        &fs::read(scope.bundle.path.join("state").join(scope.id()).join("state.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(state["config"]["cgroups"]["Systemd"], true);
    assert_eq!(state["config"]["cgroups"]["scope_prefix"], "t");
    assert_eq!(state["cgroup_paths"][""], scope.cgroup().to_str().unwrap());
    // From here on without the flag: the state knows.
    scope.bundle.ok(&["pause", scope.id()]);
    assert_eq!((scope.bundle.status().as_str(), scope.file("cgroup.freeze").as_str()), ("paused", "1"));
    scope.bundle.ok(&["resume", scope.id()]);
    scope.bundle.ok(&["kill", scope.id(), "KILL"]);
    eventually("the end", || scope.bundle.status() == "stopped");
    scope.bundle.ok(&["delete", scope.id()]);
    assert!(!scope.is_loaded() && !scope.cgroup().exists(), "gone when delete returns");
}

#[test]
fn an_update_changes_unit_and_files() {
    let Some(scope) = Scope::new("update") else { return };
    scope.bundle.change(|spec| {
        spec["linux"]["resources"]["cpu"] = json!({"quota": 20_000, "period": 50_000});
        spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    });
    scope.run_detached();
    let (id, update) = (scope.id(), |arguments: &[&str]| {
        scope.bundle.ok(&[&["update"], arguments, &[scope.id()]].concat());
    });
    update(&["--memory", "48M", "--pids-limit", "9", "--cpu-share", "2048", "--cpuset-cpus", "0"]);
    update(&["--cpu-quota", "10000"]);
    systemctl(&["daemon-reload"]);
    for (name, value, file, content) in [
        ("MemoryMax", "50331648", "memory.max", "50331648"),
        ("TasksMax", "9", "pids.max", "9"),
        ("CPUWeight", "174", "cpu.weight", "174"),
        ("AllowedCPUs", "0", "cpuset.cpus", "0"),
        ("CPUQuotaPerSecUSec", "200ms", "cpu.max", "10000 50000"),
        ("CPUQuotaPeriodUSec", "50ms", "cpu.max", "10000 50000"),
    ] {
        assert_eq!((scope.property(name).as_str(), scope.file(file).as_str()), (value, content), "{name}");
    }
    update(&["--cpu-quota", "-1", "--pids-limit", "-1", "--memory", "-1"]);
    for (name, file) in [("MemoryMax", "memory.max"), ("TasksMax", "pids.max")] {
        assert_eq!((scope.property(name).as_str(), scope.file(file).as_str()), ("infinity", "max"), "{name}");
    }
    assert_eq!(scope.property("CPUQuotaPerSecUSec"), "infinity");
    let error = scope.bundle.fails(1, &["update", "--cpuset-cpus", "3-1", id]);
    assert!(error.contains("3-1"), "{error}");
    scope.bundle.ok(&["delete", "--force", id]);
    scope.expect_nothing();
}

/// Further processes are in the scope, and nobody asked systemd for it.
#[test]
fn exec_asks_systemd_nothing() {
    let Some(scope) = Scope::new("exec") else { return };
    scope.run_detached();
    let pids = scope.bundle.path.join("pid");
    let arguments = ["exec", "--detach", "--pid-file", pids.to_str().unwrap(), scope.id(), "sleep", "1000"];
    let mut exec = scope.bundle.command(&arguments);
    assert!(exec.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid = fs::read_to_string(&pids).unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
    assert_eq!(cgroup.trim(), format!("0::/system.slice/{}", scope.unit));
    if Path::new("/usr/bin/strace").exists() {
        let calls = scope.bundle.path.join("calls");
        let exec = scope.bundle.command(&["exec", scope.id(), "true"]);
        let mut traced = Command::new("/usr/bin/strace");
        traced.args(["-f", "-e", "trace=connect,clone3,execve", "-o", calls.to_str().unwrap()]);
        traced.arg(exec.get_program()).args(exec.get_args()).current_dir(&scope.bundle.path);
        assert!(traced.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
        let calls = fs::read_to_string(&calls).unwrap();
        assert!(calls.contains("clone3(") && !calls.contains("connect("), "{calls}");
    }
    scope.bundle.ok(&["delete", "--force", scope.id()]);
    scope.expect_nothing();
}

/// systemd sets its own rules again whenever it likes: they must be the container's.
#[test]
fn device_rules_survive_systemd() {
    let deny_all = json!({"allow": false, "access": "rwm"});
    let kmsg = |allow: bool| json!({"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rwm"});
    let allow_all = json!({"allow": true, "access": "rwm"});
    for (name, rules, expected, policy) in [
        ("devlist", json!([deny_all, kmsg(true)]), "null kmsg", "strict"),
        ("devnone", json!([deny_all]), "null", "strict"),
        // What systemd cannot say: all but one.
        ("devbut", json!([allow_all, kmsg(false)]), "null mem", "auto"),
        ("devall", json!([allow_all]), "null kmsg mem", "auto"),
    ] {
        let Some(scope) = Scope::new(name) else { return };
        scope.bundle.change(|spec| spec["linux"]["resources"]["devices"] = rules);
        scope.run_detached();
        assert_eq!(scope.property("DevicePolicy"), policy, "{name}");
        let may = || scope.may_open(&["null", "kmsg", "mem"]);
        assert_eq!(may(), expected, "{name}");
        systemctl(&["daemon-reload"]);
        assert_eq!(may(), expected, "{name}, after daemon-reload");
        // A property that changes has systemd go through all of them.
        systemctl(&["set-property", "--runtime", &scope.unit, "CPUWeight=77"]);
        systemctl(&["daemon-reload"]);
        assert_eq!(may(), expected, "{name}, after a property has changed");
        assert_eq!(
            scope.bundle.ok(&["exec", scope.id(), "sh", "-c", "echo x > /dev/null && echo good"]),
            "good\n"
        );
        scope.bundle.ok(&["delete", "--force", scope.id()]);
        scope.expect_nothing();
    }
}

#[test]
fn slices_are_nested_and_one_process_is_enough() {
    let Some(scope) = Scope::new("slice") else { return };
    let slice = format!("tt{}", std::process::id());
    scope.place(&format!("{slice}-in.slice:t:{}", scope.id()));
    // The place is kept by a process of ours, which must not count against the container's limit.
    scope.bundle.change(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 1}));
    let directory = format!("/sys/fs/cgroup/{slice}.slice/{slice}-in.slice/{}", scope.unit);
    scope.run_detached();
    let read = |name: &str| fs::read_to_string(format!("{directory}/{name}")).unwrap();
    assert_eq!(read("pids.max"), "1\n");
    assert_eq!(read("cgroup.procs").lines().count(), 1);
    assert_eq!(scope.property("Slice"), format!("{slice}-in.slice"));
    scope.bundle.ok(&["delete", "--force", scope.id()]);
    assert!(!scope.is_loaded() && !Path::new(&directory).exists());
    systemctl(&["stop", &format!("{slice}.slice")]);
}

#[test]
fn what_no_unit_can_be_is_refused_and_leaves_nothing() {
    let Some(scope) = Scope::new("bad") else { return };
    for (path, word) in [
        ("/a/b", "expected cgroupsPath to be of format"),
        ("nothing:t:x", "invalid slice name: nothing"),
        ("a--b.slice:t:x", "invalid slice name: a--b.slice"),
        ("system.slice:t:../x", "is no name of a unit"),
        ("system.slice:t:x.slice", "holds no processes"),
    ] {
        scope.place(path);
        let error = scope.bundle.fails(1, &[FLAG, "run", scope.id()]);
        assert!(error.contains(word), "{error}");
        assert!(!scope.bundle.path.join("state").join(scope.id()).exists(), "{path}");
    }
    scope.place(&format!("system.slice:t:{}", scope.id()));
    for (name, value, word) in [
        ("FailureAction", "'reboot'", "beyond the container's scope"),
        ("TimeoutStopUSec", "'soon'", "StartTransientUnit"),
        ("CollectMode", "'never'", "StartTransientUnit"),
    ] {
        let key = format!("org.systemd.property.{name}");
        scope.bundle.change(|spec| spec["annotations"] = json!({key: value}));
        let error = scope.bundle.fails(1, &[FLAG, "run", scope.id()]);
        assert!(error.contains(word), "{error}");
        assert!(!scope.bundle.path.join("state").join(scope.id()).exists(), "{name}");
        scope.expect_nothing();
    }
    // A limit that the kernel refuses, after the unit was made.
    scope.bundle.change(|spec| {
        spec["annotations"] = json!({});
        spec["linux"]["resources"]["unified"] = json!({"cgroup.max.depth": "much"});
    });
    let error = scope.bundle.fails(1, &[FLAG, "run", scope.id()]);
    assert!(error.contains("cgroup.max.depth") && error.contains("much"), "{error}");
    scope.expect_nothing();
}

/// The unit of another container is not touched.
#[test]
fn a_unit_that_is_there_is_left_alone() {
    let Some(scope) = Scope::new("first") else { return };
    scope.run_detached();
    let other = Scope::new("second").expect("systemd is there");
    other.place(&format!("system.slice:t:{}", scope.id()));
    let error = other.bundle.fails(1, &[FLAG, "run", other.id()]);
    assert!(error.contains(&scope.unit) && error.contains("already"), "{error}");
    assert_eq!(scope.bundle.status(), "running");
    assert!(scope.is_loaded());
    assert_eq!(scope.file("cgroup.procs").lines().count(), 1);
}

/// One whose time is over fails and stays with systemd until somebody deletes the container, or makes it anew.
#[test]
fn a_failed_unit_does_not_stay() {
    let Some(scope) = Scope::new("failed") else { return };
    scope.bundle.change(|spec| {
        spec["annotations"] =
            json!({"org.systemd.property.RuntimeMaxSec": "1", "org.systemd.property.TimeoutStopSec": "1"});
    });
    scope.run_detached();
    eventually("the end by systemd", || scope.bundle.status() == "stopped");
    eventually("a failed unit", || scope.property("ActiveState") == "failed");
    // Its state is lost; the unit is in the way of the next one.
    fs::remove_dir_all(scope.bundle.path.join("state")).unwrap();
    scope.bundle.change(|spec| spec["annotations"] = json!({}));
    scope.run_detached();
    assert_eq!(scope.property("ActiveState"), "active");
    scope.bundle.ok(&["delete", "--force", scope.id()]);
    assert!(!scope.is_loaded());
    scope.bundle.change(|spec| {
        spec["annotations"] = json!({"org.systemd.property.RuntimeMaxUSec": "uint64 500000",
            "org.systemd.property.TimeoutStopUSec": "uint64 500000"});
    });
    scope.run_detached();
    eventually("a failed unit", || scope.property("ActiveState") == "failed");
    eventually("the end by systemd", || scope.bundle.status() == "stopped");
    scope.bundle.ok(&["delete", scope.id()]);
    assert!(!scope.is_loaded());
}

/// Killed between the making of the unit and the writing of the state, and anywhere else.
#[test]
fn a_killed_create_leaves_no_unit_after_delete() {
    let Some(scope) = Scope::new("killed") else { return };
    let begin = Instant::now();
    scope.create();
    let usual = begin.elapsed();
    scope.bundle.ok(&["delete", "--force", scope.id()]);
    let state = scope.bundle.path.join("state").join(scope.id()).join("state.json");
    let mut numbers = Numbers::seeded();
    let (mut between, mut early, mut late) = (0, 0, 0);
    for cycle in 0..soak::size("TARE_SOAK_CYCLES", 30) {
        let mut command = scope.bundle.command(&[FLAG, "create", scope.id()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        let delay = Duration::from_nanos(numbers.below(usual.as_nanos() as usize) as u64);
        // Each second one as soon as there is a unit; the others at random.
        while begin.elapsed() < delay && (cycle % 2 == 0 || !scope.cgroup().exists()) {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        child.wait().unwrap();
        // Before the state is whole it names what it will be about.
        let is_whole = fs::read(&state).is_ok_and(|bytes| bytes.first() == Some(&b'{'));
        match (scope.cgroup().exists(), is_whole) {
            (_, true) => late += 1,
            (true, false) => between += 1,
            (false, false) => early += 1,
        }
        let output = scope.bundle.tare(&["delete", "--force", scope.id()]);
        let said = String::from_utf8_lossy(&output.stderr);
        // Before there was a directory there is nothing to delete.
        assert!(
            output.status.success() || said.contains("container does not exist"),
            "cycle {cycle}: {said}"
        );
        scope.expect_nothing();
        assert!(!state.parent().unwrap().exists(), "cycle {cycle}");
    }
    println!("killed: {early} before the unit, {between} between unit and state, {late} after");
    assert!(between > 0, "{early} {between} {late}");
}

/// Debian's `daemon`: systemd runs services only for users that have a name, and nothing else runs for this one.
const USER: u32 = 1;

/// A systemd of an ordinary user, as `user@.service` runs it.
struct UserManager {
    unit: String,
    directory: PathBuf,
}

impl UserManager {
    fn start() -> Self {
        let unit = format!("tm{}.service", std::process::id());
        let directory = PathBuf::from(format!("/run/user/tm{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).unwrap();
        let environment = format!("--setenv=XDG_RUNTIME_DIR={}", directory.display());
        let output = Command::new("systemd-run")
            .args([
                "--unit",
                &unit,
                &format!("--uid={USER}"),
                &format!("--gid={USER}"),
                "--property=Delegate=yes",
            ])
            .args([&environment, "--setenv=HOME=/tmp", "/lib/systemd/systemd", "--user"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manager = Self { unit, directory };
        eventually("the user's systemd", || manager.directory.join("systemd/private").exists());
        manager
    }

    fn cgroup(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup/system.slice").join(&self.unit)
    }

    /// The command as the user, from a cgroup of the user's, or from that of the test.
    fn command(&self, bundle: &Bundle, inside: bool, arguments: &[&str]) -> Command {
        let shell = if inside {
            let place = self.cgroup().join("shell");
            fs::create_dir_all(&place).unwrap();
            format!("echo $$ > {}/cgroup.procs && ", place.display())
        } else {
            String::new()
        };
        let script = format!("{shell}exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(crate::bundle::binary());
        command
            .arg("--root")
            .arg(bundle.path.join("state"))
            .arg(FLAG)
            .args(arguments)
            .current_dir(&bundle.path);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin").env("XDG_RUNTIME_DIR", &self.directory);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        let _ = Command::new("systemctl").args(["stop", &self.unit]).status();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| own(&entry.path()));
    }
}

/// By the user's own systemd, and from outside of its cgroups, too: then systemd moves the processes in.
#[test]
fn an_ordinary_users_container_is_a_scope_of_the_users() {
    if !able() || !skip::needs(&[(booted(), "systemd (make test-vm)")]) {
        return;
    }
    let manager = UserManager::start();
    for inside in [true, false] {
        let bundle = Bundle::new(if inside { "userin" } else { "userout" });
        fs::remove_file(bundle.path.join("config.json")).unwrap();
        own(&bundle.path);
        let ok = |arguments: &[&str]| {
            let said = bundle.path.join("said");
            let mut command = manager.command(&bundle, inside, arguments);
            let status =
                command.stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap()).status().unwrap();
            assert!(status.success(), "{inside} {arguments:?}: {}", fs::read_to_string(&said).unwrap());
        };
        ok(&["spec", "--rootless"]);
        bundle.change(|spec| {
            spec["process"]["terminal"] = false.into();
            spec["process"]["args"] = json!(["sleep", "1000"]);
            spec["linux"]["cgroupsPath"] = format!("user.slice:t:{}", bundle.id).into();
            spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
            spec["linux"]["resources"]["pids"] = json!({"limit": 9});
        });
        own(&bundle.path);
        ok(&["run", "--detach", &bundle.id]);
        let directory = manager.cgroup().join(format!("user.slice/t-{}.scope", bundle.id));
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!((read("memory.max").as_str(), read("pids.max").as_str()), ("67108864\n", "9\n"));
        assert_eq!(read("cgroup.procs").lines().count(), 1);
        ok(&["exec", "--detach", &bundle.id, "sleep", "1000"]);
        assert_eq!(read("cgroup.procs").lines().count(), 2);
        ok(&["update", "--pids-limit", "7", &bundle.id]);
        assert_eq!(read("pids.max"), "7\n");
        ok(&["delete", "--force", &bundle.id]);
        eventually("no cgroup", || !directory.exists());
    }
}
