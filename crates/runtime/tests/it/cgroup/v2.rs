//! Version 2 alone, with all controllers: `make test-vm` runs these; the machine of `make test` has version 1.

use super::{Fixture, SIGKILL, eventually, is_root, limits};
use rustix::event::{PollFd, Timespec, poll};
use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path, time::Instant};
use tare_runtime::cgroup::{Cgroup, CgroupOptions};
use tare_sys::cgroup::{Mounts, value_of};
use tare_testkit::skip;
use tare_types::ErrorKind;
use tare_types::spec::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
};

/// Version 2 alone, or a reason to skip.
fn alone() -> Option<Mounts> {
    let mounts = is_root().then(Mounts::detect)?.unwrap();
    if !mounts.is_v2() {
        skip::skipped("version 2 of cgroups is not alone here (make test-vm)");
        return None;
    }
    Some(mounts)
}

fn of_memory(memory: LinuxMemory) -> LinuxResources {
    LinuxResources { memory: Some(memory), ..LinuxResources::default() }
}

fn of_cpu(cpu: LinuxCpu) -> LinuxResources {
    LinuxResources { cpu: Some(cpu), ..LinuxResources::default() }
}

fn unified(name: &str, value: &str) -> LinuxResources {
    LinuxResources { unified: [(name.to_string(), value.to_string())].into(), ..LinuxResources::default() }
}

#[test]
fn limits_are_set_before_anything_runs() {
    let Some(mounts) = alone() else { return };
    let mut resources = limits();
    resources.memory.as_mut().unwrap().swap = Some(96 << 20);
    let fixture = Fixture::new(&mounts, "v2limits", &resources);
    for (name, value) in [
        ("memory.max", (64 << 20).to_string()),
        ("memory.low", (32 << 20).to_string()),
        ("memory.swap.max", (32 << 20).to_string()),
        ("cpu.max", "20000 100000".into()),
        ("cpu.weight", "59".into()),
        ("cpuset.cpus", "0".into()),
        ("pids.max", "17".into()),
    ] {
        assert_eq!(fixture.file("", name), value, "{name}");
    }
    assert_eq!(fixture.run("cat /proc/self/cgroup | grep -c /a/b"), "1\n");
    assert_eq!(fixture.run("grep Cpus_allowed_list /proc/self/status"), "Cpus_allowed_list:\t0\n");
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do sleep 5 & done; echo end";
    assert_eq!(fixture.run(forks), "", "a shell that cannot fork gives up");
    assert!(value_of(&fixture.file("", "pids.events"), "max").unwrap() > 0);
}

/// The parents are there without the controllers, or not at all.
#[test]
fn controllers_are_passed_on_from_the_top() {
    let Some(mounts) = alone() else { return };
    let top = format!("/tare-test-{}-v2deep", std::process::id());
    fs::create_dir(mounts.directory("", &top).unwrap()).unwrap();
    let fixture = Fixture::new(&mounts, "v2deep", &limits());
    let controllers = fixture.file("", "cgroup.controllers");
    for name in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|have| have == name), "{name}: {controllers}");
    }
    drop(fixture);
    let fixture = Fixture::new(&mounts, "v2fresh", &limits());
    assert_eq!(fixture.file("", "pids.max"), "17");
}

#[test]
fn update_changes_what_is_given_and_explains_what_is_refused() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2update", &limits());
    let memory = |limit, check| {
        of_memory(LinuxMemory { limit: Some(limit), check_before_update: check, ..LinuxMemory::default() })
    };
    fixture.cgroup.update(&memory(128 << 20, None)).unwrap();
    assert_eq!(fixture.file("", "memory.max"), (128 << 20).to_string());
    assert_eq!(fixture.file("", "pids.max"), "17", "absent values stay");
    let quota = LinuxCpu { quota: Some(-1), ..LinuxCpu::default() };
    fixture.cgroup.update(&of_cpu(quota)).unwrap();
    assert_eq!(fixture.file("", "cpu.max"), "max 100000");
    let idle = LinuxCpu { idle: Some(1), shares: Some(1024), ..LinuxCpu::default() };
    fixture.cgroup.update(&of_cpu(idle)).unwrap();
    assert_eq!(fixture.file("", "cpu.idle"), "1");
    let pids =
        |limit| LinuxResources { pids: Some(LinuxPids { limit: Some(limit) }), ..LinuxResources::default() };
    fixture.cgroup.update(&pids(-1)).unwrap();
    assert_eq!(fixture.file("", "pids.max"), "max");
    let (_child, mut stdin) = fixture.shell("x=$(head -c 3000000 /dev/zero | tr '\\0' a); read more");
    stdin.write_all(b"go\n").unwrap();
    eventually("memory in use", || fixture.file("", "memory.current").parse::<u64>().unwrap() > 1 << 20);
    let refused = fixture.cgroup.update(&memory(4096, Some(true))).unwrap_err();
    assert!(refused.to_string().contains("rejecting memory limit 4096"), "{refused}");
    let cpus = LinuxCpu { cpus: "9999".into(), ..LinuxCpu::default() };
    let refused = fixture.cgroup.update(&of_cpu(cpus)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.to_string().contains("cpuset.cpus") && refused.to_string().contains("9999"), "{refused}");
    let both = LinuxMemory { limit: Some(64 << 20), swap: Some(32 << 20), ..LinuxMemory::default() };
    let refused = fixture.cgroup.update(&of_memory(both)).unwrap_err().to_string();
    assert!(refused.contains("memory+swap limit should be >= memory limit"), "{refused}");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(mounts) = alone() else { return };
    let path = format!("/tare-test-{}-v2undo/a/b", std::process::id());
    let resources = unified("memory.max", "much");
    let options = CgroupOptions { path: &path, id: "undo", resources: Some(&resources), rootless: false };
    let error = Cgroup::create(&mounts, &options).unwrap_err();
    assert!(error.to_string().contains("memory.max") && error.to_string().contains("much"), "{error}");
    let top = mounts.directory("", path.strip_suffix("/a/b").unwrap()).unwrap();
    assert!(!Path::new(&top).exists(), "{top}");
}

#[test]
fn a_cgroup_in_use_is_refused_by_name() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2busy", &LinuxResources::default());
    let (_child, _stdin) = fixture.shell("true");
    let path = format!("/tare-test-{}-v2busy/a/b", std::process::id());
    let options = CgroupOptions { path: &path, id: "other", resources: None, rootless: false };
    let error = Cgroup::create(&mounts, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("is not empty: 1 process(es)"), "{error}");
    let error = fixture.cgroup.remove().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn kill_reaches_what_forks_and_what_is_below() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2kill", &LinuxResources::default());
    let below = format!("{}/below", fixture.cgroup.directory("").unwrap());
    fs::create_dir(&below).unwrap();
    let (mut first, mut go) = fixture.shell("while :; do sh -c 'sleep 100' & sleep 0.01; done");
    let (mut second, _stdin) = fixture.shell("true");
    fs::write(format!("{below}/cgroup.procs"), second.id().to_string()).unwrap();
    go.write_all(b"go\n").unwrap();
    eventually("a few forks", || fixture.cgroup.processes().unwrap().len() > 5);
    fixture.cgroup.kill(SIGKILL).unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    eventually("an empty cgroup", || fixture.cgroup.processes().unwrap().is_empty());
}

/// Another signal than SIGKILL reaches everybody once, whoever forks, and a frozen cgroup stays frozen.
#[test]
fn other_signals_reach_all() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2term", &LinuxResources::default());
    let (mut child, mut go) = fixture.shell("sleep 1000 & exec sleep 1000");
    go.write_all(b"go\n").unwrap();
    eventually("two processes", || fixture.cgroup.processes().unwrap().len() == 2);
    fixture.cgroup.freeze().unwrap();
    fixture.cgroup.kill(15).unwrap();
    // Some may be gone already: the kernel ends the frozen, too, whom a signal ends.
    assert!(fixture.cgroup.is_frozen().unwrap());
    fixture.cgroup.thaw().unwrap();
    child.wait().unwrap();
    eventually("an empty cgroup", || fixture.cgroup.processes().unwrap().is_empty());
}

#[test]
fn usage_is_counted() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2usage", &limits());
    let before = fixture.cgroup.stats().unwrap();
    assert_eq!(before.pids.limit, 17);
    fixture.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    let after = fixture.cgroup.stats().unwrap();
    assert!(after.cpu.usage.total > 1_000_000, "{:?}", after.cpu);
    assert!(after.cpu.usage.total >= after.cpu.usage.user, "{:?}", after.cpu);
    assert_eq!(after.memory.usage.limit, 64 << 20);
    assert!(after.memory.raw.contains_key("anon"), "{:?}", after.memory.raw);
    let (_child, mut go) = fixture.shell("x=$(head -c 3000000 /dev/zero | tr '\\0' a); read more");
    go.write_all(b"go\n").unwrap();
    eventually("memory in use", || fixture.cgroup.stats().unwrap().memory.usage.usage > 1 << 20);
    assert!(fixture.cgroup.stats().unwrap().pids.current >= 1);
    serde_json::to_string(&after).unwrap();
}

#[test]
fn memory_shortage_is_told_and_counted() {
    let Some(mounts) = alone() else { return };
    let memory = LinuxMemory { limit: Some(8 << 20), swap: Some(8 << 20), ..LinuxMemory::default() };
    let fixture = Fixture::new(&mounts, "v2oom", &of_memory(memory));
    let mut events = fixture.cgroup.oom_events().unwrap();
    assert_eq!(fixture.cgroup.oom_kills().unwrap(), 0);
    fixture.run("head -c 100000000 /dev/zero | tail");
    let timeout = Timespec { tv_sec: 30, tv_nsec: 0 };
    let interest = events.interest();
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    // `max` and `oom` are counted, and told, before a process dies.
    loop {
        assert_eq!(poll(&mut [PollFd::new(&events, interest)], Some(&timeout)).unwrap(), 1);
        if events.take().unwrap() {
            break;
        }
        assert!(Instant::now() < deadline, "no shortage is told");
    }
    assert!(fixture.cgroup.oom_kills().unwrap() >= 1);
    assert!(fixture.cgroup.stats().unwrap().memory.usage.failcnt > 0);
}

#[test]
fn the_end_of_a_cgroup_is_no_shortage() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2oomend", &LinuxResources::default());
    let mut events = fixture.cgroup.oom_events().unwrap();
    fixture.cgroup.remove().unwrap();
    let timeout = Timespec { tv_sec: 5, tv_nsec: 0 };
    let interest = events.interest();
    assert_eq!(poll(&mut [PollFd::new(&events, interest)], Some(&timeout)).unwrap(), 1);
    assert!(!events.take().unwrap());
}

/// The disk below /tmp, as major and minor number, if the machine has one of its own.
fn disk() -> Option<(u64, u64)> {
    let device = fs::metadata(std::env::temp_dir()).unwrap().dev();
    let numbers = (u64::from(rustix::fs::major(device)), u64::from(rustix::fs::minor(device)));
    let there = Path::new(&format!("/sys/dev/block/{}:{}", numbers.0, numbers.1)).exists();
    if !there {
        skip::skipped("/tmp is not on a block device");
    }
    there.then_some(numbers)
}

#[test]
fn transfer_is_limited_and_counted() {
    let Some(mounts) = alone() else { return };
    let Some((major, minor)) = disk() else { return };
    let throttle = |rate| vec![LinuxThrottleDevice { major: major as i64, minor: minor as i64, rate }];
    let block_io = LinuxBlockIo {
        weight: Some(500),
        throttle_read_bps_device: throttle(1 << 30),
        throttle_write_bps_device: throttle(4 << 20),
        throttle_write_iops_device: throttle(1000),
        ..LinuxBlockIo::default()
    };
    let resources = LinuxResources { block_io: Some(block_io), ..LinuxResources::default() };
    let fixture = Fixture::new(&mounts, "v2io", &resources);
    let line = format!("{major}:{minor} rbps={} wbps={} riops=max wiops=1000", 1 << 30, 4 << 20);
    assert_eq!(fixture.file("", "io.max"), line);
    assert!(
        fixture.file("", "io.weight").ends_with("4950") || fixture.file("", "io.bfq.weight").ends_with("500")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let begin = Instant::now();
    let path = file.path().display();
    assert_eq!(
        fixture.run(&format!("dd if=/dev/zero of={path} bs=1M count=8 oflag=direct 2>/dev/null; echo $?")),
        "0\n"
    );
    assert!(begin.elapsed().as_millis() > 1000, "8 MiB at 4 MiB a second took {:?}", begin.elapsed());
    let stats = serde_json::to_value(fixture.cgroup.stats().unwrap()).unwrap();
    let recursive = stats["blkio"]["ioServiceBytesRecursive"].as_array().unwrap();
    let written: u64 = recursive
        .iter()
        .filter(|entry| entry["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case("write")))
        .map(|entry| entry["value"].as_u64().unwrap())
        .sum();
    assert!(written >= 8 << 20, "{stats}");
}

#[test]
fn files_by_name() {
    let Some(mounts) = alone() else { return };
    let fixture = Fixture::new(&mounts, "v2unified", &unified("memory.high", "33554432"));
    assert_eq!(fixture.file("", "memory.high"), "33554432");
    fixture.cgroup.update(&unified("cpu.weight", "77")).unwrap();
    assert_eq!(fixture.file("", "cpu.weight"), "77");
    for (name, value, word) in [
        ("a/b", "1", "no slashes"),
        ("plain", "1", "CONTROLLER.PARAMETER"),
        ("nope.max", "1", "controller \"nope\" not available"),
        ("memory.high", "much", "much"),
        ("../cgroup.procs", "1", "no slashes"),
    ] {
        let error = fixture.cgroup.update(&unified(name, value)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// The program is replaced in place: there is one, before and after, and it is the new one that answers.
#[test]
fn device_rules_are_one_program() {
    let Some(mounts) = alone() else { return };
    let rule = |access: &str| LinuxDeviceCgroup {
        allow: true,
        kind: "c".into(),
        major: Some(1),
        minor: Some(11),
        access: access.into(),
    };
    let fixture = Fixture::new(&mounts, "v2dev", &LinuxResources::default());
    let attached = || {
        let directory = fs::File::open(fixture.cgroup.directory("").unwrap()).unwrap();
        tare_sys::cgroup::device::attached(&directory).unwrap().len()
    };
    assert_eq!(attached(), 1);
    let script = "true < /dev/kmsg && echo read; true > /dev/null && echo null";
    assert_eq!(fixture.run(script), "null\n");
    // A container whose cgroup was left behind finds the old program there.
    let path = format!("/tare-test-{}-v2dev/a/b", std::process::id());
    let resources = LinuxResources { devices: vec![rule("r")], ..LinuxResources::default() };
    let options = CgroupOptions { path: &path, id: "again", resources: Some(&resources), rootless: false };
    Cgroup::create(&mounts, &options).unwrap();
    assert_eq!(attached(), 1);
    assert_eq!(fixture.run(script), "read\nnull\n");
}
