//! Cgroups of this machine: version 1 with all limits, version 2 for what the unified tree can do.

mod v2;

use rustix::event::{PollFd, Timespec, poll};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tare_runtime::cgroup::{Cgroup, CgroupOptions, Entrance};
use tare_sys::cgroup::{Mounts, read};
use tare_testkit::skip;
use tare_types::ErrorKind;
use tare_types::spec::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources};

const SIGKILL: i32 = 9;

/// Whether the test can run; says why not.
fn is_root() -> bool {
    skip::needs(&[(rustix::process::geteuid().is_root(), "root")])
}

/// A container's cgroups and a process in them, gone when dropped.
struct Fixture {
    cgroup: Cgroup,
    top: Vec<String>,
}

impl Fixture {
    fn new(mounts: &Mounts, name: &str, resources: &LinuxResources) -> Self {
        let path = format!("/tare-test-{}-{name}/a/b", std::process::id());
        let options = CgroupOptions { path: &path, id: name, resources: Some(resources), rootless: false };
        let cgroup = Cgroup::create(mounts, &options).unwrap();
        let above = |path: &String| path.strip_suffix("/a/b").unwrap().to_string();
        let top = cgroup.paths().values().map(above).collect();
        Self { cgroup, top }
    }

    fn file(&self, controller: &str, name: &str) -> String {
        read(self.cgroup.directory(controller).unwrap(), name).unwrap().trim().to_string()
    }

    /// A shell in the cgroup that runs `script` as soon as it is told.
    fn shell(&self, script: &str) -> (Child, ChildStdin) {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.add(child.id() as i32).unwrap();
        let stdin = child.stdin.take().unwrap();
        (child, stdin)
    }

    fn run(&self, script: &str) -> String {
        let (mut child, mut stdin) = self.shell(script);
        stdin.write_all(b"go\n").unwrap();
        drop(stdin);
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.cgroup.kill(SIGKILL);
        self.cgroup.remove().unwrap();
        for top in &self.top {
            for directory in [format!("{top}/a"), top.clone()] {
                let _ = std::fs::remove_dir(directory);
            }
            assert!(!std::path::Path::new(top).exists(), "{top} is left");
        }
    }
}

/// Waits for a condition that the kernel brings about.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// This machine's trees of version 1, or a reason to skip.
fn v1() -> Option<Mounts> {
    let mounts = is_root().then(Mounts::detect)?.unwrap();
    if mounts.is_v2() {
        skip::skipped("version 1 of cgroups is not mounted");
        return None;
    }
    Some(mounts)
}

/// The tree of version 2, alone or beside version 1.
fn v2() -> Option<Mounts> {
    match is_root().then(Mounts::detect)?.unwrap() {
        Mounts::V1 { unified: Some(mount), .. } | Mounts::V2 { mount } => Some(Mounts::V2 { mount }),
        Mounts::V1 { unified: None, .. } => {
            skip::skipped("version 2 of cgroups is not mounted");
            None
        }
    }
}

fn limits() -> LinuxResources {
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(64 << 20),
            reservation: Some(32 << 20),
            swappiness: Some(30),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: Some(512),
            quota: Some(20_000),
            period: Some(100_000),
            cpus: "0".into(),
            ..LinuxCpu::default()
        }),
        pids: Some(LinuxPids { limit: Some(17) }),
        ..LinuxResources::default()
    }
}

#[test]
fn limits_of_version_1_are_set_before_anything_runs() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "limits", &limits());
    assert_eq!(fixture.file("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(fixture.file("memory", "memory.soft_limit_in_bytes"), (32 << 20).to_string());
    assert_eq!(fixture.file("memory", "memory.swappiness"), "30");
    assert_eq!(fixture.file("cpu", "cpu.shares"), "512");
    assert_eq!(fixture.file("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(fixture.file("cpuset", "cpuset.cpus"), "0");
    assert!(!fixture.file("cpuset", "cpuset.mems").is_empty(), "inherited");
    let above = format!("{}/..", fixture.cgroup.directory("cpuset").unwrap());
    assert_eq!(read(&above, "cgroup.clone_children").unwrap(), "1\n", "what was made on the way hands on");
    assert_eq!(fixture.file("pids", "pids.max"), "17");
    let devices = fixture.file("devices", "devices.list");
    assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
    let unified = usize::from(matches!(&mounts, Mounts::V1 { unified: Some(_), .. }));
    let count = mount_count(&mounts) + unified;
    assert_eq!(fixture.run("cat /proc/self/cgroup | grep -c /a/b"), format!("{count}\n"));
}

fn mount_count(mounts: &Mounts) -> usize {
    match mounts {
        Mounts::V1 { hierarchies, .. } => hierarchies.len(),
        Mounts::V2 { .. } => 1,
    }
}

#[test]
fn update_changes_what_is_given_and_explains_what_is_refused() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "update", &limits());
    let memory = |limit, check| LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(limit),
            check_before_update: check,
            ..LinuxMemory::default()
        }),
        ..LinuxResources::default()
    };
    fixture.cgroup.update(&memory(128 << 20, None)).unwrap();
    assert_eq!(fixture.file("memory", "memory.limit_in_bytes"), (128 << 20).to_string());
    assert_eq!(fixture.file("pids", "pids.max"), "17", "absent values stay");
    assert!(!fixture.file("devices", "devices.list").contains("a *:*"), "devices stay");
    let (_child, mut stdin) = fixture.shell("x=$(head -c 3000000 /dev/zero | tr '\\0' a); read more");
    stdin.write_all(b"go\n").unwrap();
    eventually("memory in use", || fixture.file("memory", "memory.usage_in_bytes") != "0");
    let refused = fixture.cgroup.update(&memory(4096, Some(true))).unwrap_err();
    assert!(refused.to_string().contains("rejecting memory limit 4096"), "{refused}");
    let shares = LinuxResources {
        cpu: Some(LinuxCpu { shares: Some(1), ..LinuxCpu::default() }),
        ..LinuxResources::default()
    };
    let refused = fixture.cgroup.update(&shares).unwrap_err();
    assert!(refused.to_string().contains("minimum allowed cpu-shares is 2"), "{refused}");
    let cpus = LinuxResources {
        cpu: Some(LinuxCpu { cpus: "9999".into(), ..LinuxCpu::default() }),
        ..LinuxResources::default()
    };
    let refused = fixture.cgroup.update(&cpus).unwrap_err().to_string();
    assert!(refused.contains("cpuset.cpus") && refused.contains("9999"), "{refused}");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(mounts) = v1() else { return };
    let path = format!("/tare-test-{}-undo/x", std::process::id());
    let mut resources = limits();
    resources.memory = Some(LinuxMemory { swappiness: Some(101), ..LinuxMemory::default() });
    let options = CgroupOptions { path: &path, id: "undo", resources: Some(&resources), rootless: false };
    let error = Cgroup::create(&mounts, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("101"), "{error}");
    let top = path.trim_end_matches("/x");
    for controller in ["memory", "cpuset", "devices", "pids"] {
        let directory = mounts.directory(controller, top).unwrap();
        assert!(!std::path::Path::new(&directory).exists(), "{directory}");
    }
}

#[test]
fn a_cgroup_in_use_is_refused_by_name() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "busy", &LinuxResources::default());
    let (_child, _stdin) = fixture.shell("true");
    let directory = fixture.cgroup.directory("memory").unwrap();
    let path = directory.split_once("/memory").unwrap().1;
    let options = CgroupOptions { path, id: "other", resources: None, rootless: false };
    let error = Cgroup::create(&mounts, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let text = error.to_string();
    assert!(text.contains("is not empty: 1 process(es)") && text.contains(path), "{text}");
}

#[test]
fn a_parent_with_an_empty_cpuset_is_filled() {
    let Some(mounts) = v1() else { return };
    let top = format!("/tare-test-{}-pod", std::process::id());
    let pod = mounts.directory("cpuset", &format!("{top}/a")).unwrap();
    std::fs::create_dir_all(&pod).unwrap();
    assert!(read(&pod, "cpuset.cpus").unwrap().trim().is_empty());
    let fixture = Fixture::new(&mounts, "pod", &LinuxResources::default());
    assert!(!fixture.file("cpuset", "cpuset.cpus").is_empty());
    fixture.run("true");
    drop(fixture);
}

#[test]
fn a_frozen_cgroup_is_refused() {
    let versions = [v1(), v2()];
    for (number, mounts) in versions.iter().flatten().enumerate() {
        let fixture = Fixture::new(mounts, &format!("cold{number}"), &LinuxResources::default());
        fixture.cgroup.freeze().unwrap();
        let path = format!("/tare-test-{}-cold{number}/a/b", std::process::id());
        let options = CgroupOptions { path: &path, id: "other", resources: None, rootless: false };
        let error = Cgroup::create(mounts, &options).unwrap_err();
        fixture.cgroup.thaw().unwrap();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains("unexpectedly frozen"), "{error}");
    }
}

#[test]
fn a_task_enters_by_writing_zero() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "enter", &LinuxResources::default());
    let Entrance::Tasks(tasks, _) = fixture.cgroup.entrance(&[]).unwrap() else { panic!("version 1") };
    assert_eq!(tasks.len(), mount_count(&mounts));
    let inside = std::thread::spawn(move || {
        for task in &tasks {
            rustix::io::write(task, b"0").unwrap();
        }
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let text = inside.join().unwrap();
    assert_eq!(text.matches("-enter/a/b").count(), mount_count(&mounts), "{text}");
    let escape = fixture.cgroup.entrance(&["../../x".into()]).unwrap_err();
    assert!(escape.to_string().contains("bad sub cgroup path"), "{escape}");
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    let versions = [v1(), v2()];
    for (number, mounts) in versions.iter().flatten().enumerate() {
        let fixture = Fixture::new(mounts, &format!("freeze{number}"), &LinuxResources::default());
        let (mut child, mut stdin) = fixture.shell("echo ran; read more");
        fixture.cgroup.freeze().unwrap();
        assert!(fixture.cgroup.is_frozen().unwrap());
        stdin.write_all(b"go\n").unwrap();
        assert_eq!(fixture.cgroup.processes().unwrap(), [child.id() as i32]);
        fixture.cgroup.thaw().unwrap();
        assert!(!fixture.cgroup.is_frozen().unwrap());
        let mut ran = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut ran).unwrap();
        fixture.cgroup.freeze().unwrap();
        fixture.cgroup.kill(SIGKILL).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(SIGKILL));
        fixture.cgroup.thaw().unwrap();
    }
}

#[test]
fn kill_reaches_what_forks_and_what_is_below() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "kill", &LinuxResources::default());
    let below = format!("{}/below", fixture.cgroup.directory("devices").unwrap());
    std::fs::create_dir(&below).unwrap();
    let (mut first, mut go) = fixture.shell("while :; do sh -c 'sleep 100' & sleep 0.01; done");
    let (mut second, _stdin) = fixture.shell("true");
    std::fs::write(format!("{below}/cgroup.procs"), second.id().to_string()).unwrap();
    go.write_all(b"go\n").unwrap();
    eventually("a few forks", || fixture.cgroup.processes().unwrap().len() > 5);
    fixture.cgroup.kill(SIGKILL).unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    eventually("an empty cgroup", || fixture.cgroup.processes().unwrap().is_empty());
}

#[test]
fn usage_is_counted() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "usage", &limits());
    let before = fixture.cgroup.stats().unwrap();
    assert_eq!(before.pids.limit, 17);
    fixture.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    let after = fixture.cgroup.stats().unwrap();
    assert!(after.cpu.usage.total > 1_000_000, "{:?}", after.cpu);
    assert_eq!(after.memory.usage.limit, 64 << 20);
    assert!(after.memory.raw.contains_key("cache"));
    assert_eq!(after.cpuset.cpus, [0]);
    serde_json::to_string(&after).unwrap();
}

#[test]
fn memory_shortage_is_told_and_counted() {
    let Some(mounts) = v1() else { return };
    let memory = LinuxMemory { limit: Some(8 << 20), swap: None, ..LinuxMemory::default() };
    let resources = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    let fixture = Fixture::new(&mounts, "oom", &resources);
    let mut events = fixture.cgroup.oom_events().unwrap();
    assert_eq!(fixture.cgroup.oom_kills().unwrap(), 0);
    // tail keeps all that has no line end.
    fixture.run("head -c 100000000 /dev/zero | tail");
    let interest = events.interest();
    let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&events, interest)], Some(&timeout)).unwrap(), 1);
    assert!(events.take().unwrap());
    assert!(fixture.cgroup.oom_kills().unwrap() >= 1);
}

#[test]
fn the_end_of_a_cgroup_is_no_shortage() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "oomend", &LinuxResources::default());
    let mut events = fixture.cgroup.oom_events().unwrap();
    fixture.cgroup.remove().unwrap();
    let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
    let interest = events.interest();
    assert_eq!(poll(&mut [PollFd::new(&events, interest)], Some(&timeout)).unwrap(), 1);
    assert!(!events.take().unwrap());
}

#[test]
fn devices_are_limited_in_both_versions() {
    let versions = [v1(), v2()];
    for (number, mounts) in versions.iter().flatten().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("kmsg");
        let status = Command::new("mknod").arg(&node).args(["c", "1", "11"]).status().unwrap();
        assert!(status.success());
        let script = format!(
            "head -c1 /dev/zero | wc -c; (: < {0}) && echo read; (: > {0}) && echo written; mknod {0}2 c 1 11 && echo made",
            node.display()
        );
        let none = Fixture::new(mounts, &format!("dev{number}"), &LinuxResources::default());
        assert_eq!(none.run(&script), "1\nmade\n", "{mounts:?}");
        std::fs::remove_file(directory.path().join("kmsg2")).unwrap();
        let rule = LinuxDeviceCgroup {
            allow: true,
            kind: "c".into(),
            major: Some(1),
            minor: Some(11),
            access: "r".into(),
        };
        let resources = LinuxResources { devices: vec![rule], ..LinuxResources::default() };
        let some = Fixture::new(mounts, &format!("devr{number}"), &resources);
        assert_eq!(some.run(&script), "1\nread\nmade\n", "{mounts:?}");
    }
}

#[test]
fn version_2_gives_a_directory_and_has_no_v1_only_files() {
    let Some(mounts) = v2() else { return };
    let fixture = Fixture::new(&mounts, "two", &LinuxResources::default());
    assert!(matches!(fixture.cgroup.entrance(&[]).unwrap(), Entrance::Directory(_)));
    let unified = |name: &str| LinuxResources {
        unified: [(name.to_string(), "1".to_string())].into(),
        ..LinuxResources::default()
    };
    for (name, word) in
        [("a/b", "no slashes"), ("plain", "CONTROLLER.PARAMETER"), ("nope.max", "not available")]
    {
        let error = fixture.cgroup.update(&unified(name)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(fixture.cgroup.stats().is_ok());
}

#[test]
fn removal_waits_for_the_dying_and_names_the_busy() {
    let Some(mounts) = v1() else { return };
    let fixture = Fixture::new(&mounts, "remove", &LinuxResources::default());
    let (mut child, _stdin) = fixture.shell("true");
    let error = fixture.cgroup.remove().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("-remove/a/b"), "{error}");
    child.kill().unwrap();
    fixture.cgroup.remove().unwrap();
    child.wait().unwrap();
    fixture.cgroup.remove().unwrap();
}
