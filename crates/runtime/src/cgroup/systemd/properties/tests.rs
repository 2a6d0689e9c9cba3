//! The mapping, against the values that systemd and runc's checks of it know.

use super::*;
use alloc::{string::ToString, vec};
use tare_types::spec::{LinuxBlockIo, LinuxDeviceCgroup, LinuxPids};

fn numbers(properties: &[Property]) -> Vec<(&str, u64)> {
    let number = |property: &Property| match property.value {
        Value::U64(number) => Some(number),
        _ => None,
    };
    properties.iter().filter_map(|one| Some((one.name.as_ref(), number(one)?))).collect()
}

fn v2(resources: &LinuxResources, version: u32) -> Vec<Property> {
    of_v2(resources, &mut || Ok(version)).unwrap()
}

fn all() -> LinuxResources {
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(64 << 20),
            reservation: Some(32 << 20),
            swap: Some(96 << 20),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: Some(512),
            quota: Some(20_000),
            period: Some(100_000),
            cpus: "0-2,9".into(),
            mems: "0".into(),
            ..LinuxCpu::default()
        }),
        pids: Some(LinuxPids { limit: Some(17) }),
        block_io: Some(LinuxBlockIo { weight: Some(500), ..LinuxBlockIo::default() }),
        ..LinuxResources::default()
    }
}

#[test]
fn limits_of_version_2() {
    let properties = v2(&all(), 252);
    let expected = [
        ("MemoryMax", 64 << 20),
        ("MemoryLow", 32 << 20),
        ("MemorySwapMax", 32 << 20),
        ("CPUWeight", 59),
        ("CPUQuotaPeriodUSec", 100_000),
        ("CPUQuotaPerSecUSec", 200_000),
        ("IOWeight", 4950),
        ("TasksMax", 17),
    ];
    assert_eq!(numbers(&properties), expected);
    assert!(properties.contains(&Property::new("AllowedCPUs", Value::bytes(&[0b111, 0b10]))));
    assert!(properties.contains(&Property::new("AllowedMemoryNodes", Value::bytes(&[1]))));
}

#[test]
fn limits_of_version_1() {
    let properties = of_v1(&all(), &mut || Ok(241)).unwrap();
    let expected = [
        ("MemoryLimit", 64 << 20),
        ("CPUShares", 512),
        ("CPUQuotaPerSecUSec", 200_000),
        ("BlockIOWeight", 500),
        ("TasksMax", 17),
    ];
    assert_eq!(numbers(&properties), expected);
    assert_eq!(properties.len(), expected.len(), "this systemd has no cpusets");
}

/// What needs no answer is not asked.
#[test]
fn the_version_is_asked_only_where_it_matters() {
    let mut resources = all();
    resources.cpu = None;
    let asked = of_v2(&resources, &mut || panic!("asked")).unwrap();
    assert_eq!(asked.len(), 5);
    assert_eq!(of_v2(&LinuxResources::default(), &mut || panic!("asked")).unwrap(), []);
    assert!(oom_policy(&resources, &mut || panic!("asked")).unwrap().is_none());
}

#[test]
fn no_limit_is_infinity() {
    let resources = LinuxResources {
        memory: Some(LinuxMemory { limit: Some(-1), ..LinuxMemory::default() }),
        cpu: Some(LinuxCpu { quota: Some(-1), ..LinuxCpu::default() }),
        pids: Some(LinuxPids { limit: Some(-1) }),
        ..LinuxResources::default()
    };
    let expected =
        ["MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"].map(|name| (name, u64::MAX));
    assert_eq!(numbers(&v2(&resources, 252)), expected);
}

#[test]
fn quotas_are_rounded_up_as_systemd_does() {
    for (quota, period, per_sec, written) in [
        (50_000, 100_000, 500_000, 50_000),
        (4000, 10_000, 400_000, 4000),
        (12_345, 100_000, 130_000, 13_000),
        (1, 1_000_000, 10_000, 10_000),
        (200_000, 0, 2_000_000, 200_000),
        (33_333, 0, 340_000, 34_000),
    ] {
        assert_eq!(per_second(quota, period), per_sec);
        let mut cpu = LinuxCpu { quota: Some(quota), period: Some(period), ..LinuxCpu::default() };
        round(&mut cpu);
        assert_eq!(cpu.quota, Some(written));
    }
    assert_eq!(per_second(i64::MAX, 1), u64::MAX);
}

#[test]
fn an_update_of_one_half_keeps_the_other() {
    let of = |quota, period, file| {
        let mut cpu = LinuxCpu { quota, period, ..LinuxCpu::default() };
        complete(&mut cpu, file);
        (cpu.quota, cpu.period)
    };
    assert_eq!(of(Some(5000), None, "20000 50000\n"), (Some(5000), Some(50_000)));
    assert_eq!(of(None, Some(10_000), "20000 50000\n"), (Some(20_000), Some(10_000)));
    assert_eq!(of(None, Some(10_000), "max 100000\n"), (Some(-1), Some(10_000)));
    assert_eq!(of(None, None, "max 100000\n"), (None, None));
}

#[test]
fn idle_has_no_weight() {
    let cpu = LinuxCpu { idle: Some(1), shares: Some(1024), ..LinuxCpu::default() };
    let resources = LinuxResources { cpu: Some(cpu), ..LinuxResources::default() };
    assert_eq!(numbers(&v2(&resources, 252)), [("CPUWeight", 0)]);
    assert_eq!(numbers(&v2(&resources, 251)), [("CPUWeight", 100)]);
}

#[test]
fn files_by_name() {
    let files = |files: &[(&str, &str)]| LinuxResources {
        unified: files.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect(),
        ..LinuxResources::default()
    };
    let resources = files(&[
        ("cpu.max", "10000 50000"),
        ("cpu.weight", "42"),
        ("hugetlb.2MB.max", "0"),
        ("memory.high", "1048576"),
        ("memory.max", "max"),
        ("memory.min", "4096"),
        ("memory.swap.max", "0"),
        ("pids.max", "0"),
    ]);
    let expected = [
        ("CPUQuotaPeriodUSec", 50_000),
        ("CPUQuotaPerSecUSec", 200_000),
        ("CPUWeight", 42),
        ("MemoryHigh", 1 << 20),
        ("MemoryMax", u64::MAX),
        ("MemoryMin", 4096),
        ("MemorySwapMax", 0),
        ("TasksMax", 1),
    ];
    assert_eq!(numbers(&v2(&resources, 252)), expected);
    let idle = files(&[("cpu.idle", "1\n"), ("cpu.weight", "42")]);
    assert_eq!(numbers(&v2(&idle, 252)), [("CPUWeight", 0)]);
    for (name, value) in [("cpu.max", "much"), ("memory.max", "1k"), ("cpuset.cpus", "a")] {
        let error = of_v2(&files(&[(name, value)]), &mut || Ok(252)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
    let group = files(&[("memory.oom.group", "1")]);
    let policy = oom_policy(&group, &mut || Ok(253)).unwrap();
    assert_eq!(policy, Some(Property::new("OOMPolicy", Value::text("kill"))));
    assert_eq!(oom_policy(&group, &mut || Ok(252)).unwrap(), None);
}

#[test]
fn sets_of_processors() {
    assert_eq!(bits("0"), Some(vec![1]));
    assert_eq!(bits(" 1, 3-5 ,,"), Some(vec![0b11_1010]));
    assert_eq!(bits("8"), Some(vec![0, 1]));
    for bad in ["", ",", "a", "3-1", "1-", "-1", "99999999"] {
        assert_eq!(bits(bad), None, "{bad}");
    }
}

fn rule(allow: bool, kind: &str, major: i64, minor: i64) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup {
        allow,
        kind: kind.into(),
        major: Some(major),
        minor: Some(minor),
        access: "rw".into(),
    }
}

fn devices(rules: &[LinuxDeviceCgroup], v2: bool) -> (String, Vec<(String, String)>) {
    let mut properties = Vec::new();
    of_devices(&mut properties, &Policy::from_rules(rules).unwrap(), v2);
    let mut found = (String::new(), Vec::new());
    for property in properties {
        match property.value {
            Value::Text(policy) => found.0 = policy.into_owned(),
            Value::Pairs(list) => found.1 = list,
            other => panic!("{other:?}"),
        }
    }
    found
}

#[test]
fn device_rules() {
    let (policy, list) =
        devices(&[rule(false, "a", -1, -1), rule(true, "c", 1, 11), rule(true, "b", 8, -1)], true);
    assert_eq!(policy, "strict");
    for (device, access) in [
        ("/dev/char/1:11", "rw"),
        ("block-8", "rw"),
        ("char-*", "m"),
        ("block-*", "m"),
        ("/dev/char/1:3", "rwm"),
        ("char-136", "rwm"),
    ] {
        assert!(list.contains(&(device.into(), access.into())), "{device} in {list:?}");
    }
    let everything = [rule(true, "a", -1, -1)];
    assert_eq!(devices(&everything, true), ("auto".into(), vec![]));
    assert_eq!(devices(&everything, false), ("auto".into(), vec![]));
    // What systemd cannot say.
    for rules in [vec![rule(true, "a", -1, -1), rule(false, "c", 1, 11)], vec![rule(true, "c", -1, 77)]] {
        assert_eq!(devices(&rules, true), ("auto".into(), vec![]));
        let (policy, list) = devices(&rules, false);
        assert_eq!(policy, "strict");
        assert!(list.iter().all(|(device, _)| !device.contains(":77") && !device.contains("1:11")));
    }
}
