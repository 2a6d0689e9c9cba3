//! Configurations that must be refused or planned in a particular way; no system call is made.

use super::*;

fn spec(patch: &str) -> Spec {
    let mut document: serde_json::Value = serde_json::from_str(
        r#"{"ociVersion": "1.2.0", "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "env": ["PATH=/bin:/usr/bin"],
            "cwd": "/"}, "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}}"#,
    )
    .unwrap();
    merge(&mut document, serde_json::from_str(patch).unwrap());
    serde_json::from_value(document).unwrap()
}

fn merge(into: &mut serde_json::Value, patch: serde_json::Value) {
    match (into, patch) {
        (serde_json::Value::Object(into), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

#[test]
fn what_cannot_work_is_refused() {
    for (patch, text) in [
        (r#"{"ociVersion": "one"}"#, "no version"),
        (r#"{"ociVersion": "1.2"}"#, "no version"),
        (r#"{"process": {"args": []}}"#, "args must not be empty"),
        (r#"{"process": {"cwd": "tmp"}}"#, "absolute"),
        (r#"{"process": {"env": ["A\u0000B"]}}"#, "NUL"),
        (r#"{"process": {"user": {"uid": 4294967295}}}"#, "no user"),
        (r#"{"process": {"oomScoreAdj": 1001}}"#, "1001"),
        (r#"{"process": {"rlimits": [{"type": "RLIMIT_NOPE", "hard": 1, "soft": 1}]}}"#, "RLIMIT_NOPE"),
        (r#"{"root": {"path": ""}}"#, "root.path"),
        (r#"{"hostname": "a"}"#, "UTS"),
        (r#"{"linux": {"namespaces": [], "maskedPaths": ["/proc/kcore"]}}"#, "mount namespace"),
        (r#"{"linux": {"memoryPolicy": {"mode": "MPOL_NOPE"}}}"#, "MPOL_NOPE"),
        (r#"{"process": {"execCPUAffinity": {"initial": "1-0"}}}"#, "1-0"),
        (r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "nope"}]}}"#, "nope"),
        (r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}"#, "duplicated"),
        (r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}"#, "uidMappings"),
        (r#"{"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "ns"}]}}"#, "absolute"),
        (r#"{"linux": {"rootfsPropagation": "sideways"}}"#, "sideways"),
        (r#"{"linux": {"devices": [{"path": "/dev/x", "type": "q"}]}}"#, "type"),
        (
            r#"{"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": -1, "minor": 0}]}}"#,
            "out of range",
        ),
        (r#"{"mounts": [{"destination": "/", "type": "tmpfs"}]}"#, "root"),
        (r#"{"mounts": [{"destination": "/a"}]}"#, "type"),
        (r#"{"mounts": [{"destination": "/a", "options": ["bind"]}]}"#, "source"),
        (r#"{"hooks": {"poststop": [{"path": "true"}]}}"#, "absolute"),
        (r#"{"hooks": {"poststop": [{"path": "/bin/true", "timeout": 0}]}}"#, "timeout"),
        (r#"{"linux": {"netDevices": {"eth0": {}}}}"#, "network namespace"),
        (r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOPE"}}}"#, "SCMP_ACT_NOPE"),
    ] {
        let error = Plan::new(&spec(patch), "/b").map(drop).unwrap_err();
        assert!(error.to_string().contains(text), "{patch}: {error}");
        assert_eq!(error.kind(), tare_types::ErrorKind::InvalidArgument, "{patch}");
    }
}

#[test]
fn labels_go_where_the_kernel_takes_them() {
    let mounts = r#""mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/run", "type": "tmpfs"},
        {"destination": "/a", "source": "/a", "options": ["bind"]}]"#;
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let patch = alloc::format!(r#"{{{mounts}, "linux": {{"mountLabel": "{label}"}}}}"#);
    let plan = Plan::new(&spec(&patch), "/b").unwrap();
    let has_context = |mount: &MountPlan| match &mount.kind {
        MountKind::Filesystem(new) => new.options.iter().any(|(key, _)| key.as_c_str() == c"context"),
        _ => false,
    };
    assert_eq!(plan.mounts.iter().map(has_context).collect::<Vec<_>>(), [false, true, false]);
    let both = r#"{"process": {"selinuxLabel": "a:b:c:s0", "apparmorProfile": "p"}}"#;
    assert!(Plan::new(&spec(both), "/b").is_err());
}

#[test]
fn shares_of_caches() {
    let plan = |rdt: &str| Plan::new(&spec(&alloc::format!(r#"{{"linux": {{"intelRdt": {rdt}}}}}"#)), "/b");
    let rdt =
        plan(r#"{"memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1"]}"#).unwrap().rdt;
    let rdt = rdt.unwrap();
    assert_eq!(rdt.lines, ["L3:0=f", "MB:0=20", "L2:0=1"]);
    assert_eq!((rdt.class, rdt.monitoring), (None, false));
    for bad in [
        r#"{"closID": ".."}"#,
        r#"{"closID": "a/b"}"#,
        r#"{"memBwSchema": "0=1"}"#,
        r#"{"schemata": ["a\nb"]}"#,
    ] {
        assert!(plan(bad).is_err(), "{bad}");
    }
}

#[test]
fn interfaces_have_names_that_the_kernel_takes() {
    let plan = |devices: &str| {
        let namespaces = r#""namespaces": [{"type": "mount"}, {"type": "network"}]"#;
        let patch = alloc::format!(r#"{{"linux": {{{namespaces}, "netDevices": {devices}}}}}"#);
        Plan::new(&spec(&patch), "/b")
    };
    let moves = plan(r#"{"eth0": {"name": "net1"}, "eth1": {}}"#).unwrap().interfaces;
    let moves: Vec<_> = moves.iter().map(|one| (one.name.as_str(), one.target.as_str())).collect();
    assert_eq!(moves, [("eth0", "net1"), ("eth1", "eth1")]);
    for bad in [
        r#"{"": {}}"#,
        r#"{".": {}}"#,
        r#"{"..": {}}"#,
        r#"{"a/b": {}}"#,
        r#"{"a:b": {}}"#,
        r#"{"a b": {}}"#,
        r#"{"eth0": {"name": "0123456789abcdef"}}"#,
        r#"{"eth0": {"name": "same"}, "eth1": {"name": "same"}}"#,
    ] {
        assert_eq!(plan(bad).unwrap_err().kind(), tare_types::ErrorKind::InvalidArgument, "{bad}");
    }
}

#[test]
fn paths_and_candidates() {
    let plan = Plan::new(&spec(r#"{"process": {"cwd": "/a/../../b/."}}"#), "/bundle/").unwrap();
    assert_eq!(plan.rootfs, "/bundle/rootfs");
    assert_eq!(plan.process.identity.cwd.as_c_str(), c"/b");
    let candidates: Vec<_> = plan.process.candidates.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(candidates, ["/bin/sh", "/usr/bin/sh"]);
    assert!(plan.process.wants_home);
    assert_eq!(plan.namespaces.clone_flags(), 0x2002_0000);
    assert_eq!(plan.devices.len(), 6);
}

#[test]
fn a_destination_may_be_a_path_of_the_host() {
    for (destination, inside) in [("/b/rootfs/mnt", "/mnt"), ("/b/rootfsx", "/b/rootfsx"), ("/mnt", "/mnt")] {
        let patch = alloc::format!(r#"{{"mounts": [{{"destination": "{destination}", "type": "tmpfs"}}]}}"#);
        let plan = Plan::new(&spec(&patch), "/b").unwrap();
        assert_eq!(plan.mounts[0].destination.to_str().unwrap(), inside);
    }
}

#[test]
fn a_bound_dev_is_left_alone() {
    let patch = r#"{"mounts": [{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]}"#;
    let plan = Plan::new(&spec(patch), "/b").unwrap();
    assert!(plan.devices.is_empty() && plan.links.is_empty());
}

#[test]
fn lexical_cleaning() {
    for (path, cleaned) in [("", "/"), ("a", "/a"), ("/../a//b/./c/..", "/a/b"), ("/..", "/")] {
        assert_eq!(clean(path), cleaned, "{path}");
    }
}

#[test]
fn unknown_capabilities_are_left_out() {
    let patch = r#"{"process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_FUTURE", "CAP_BPF"]}}}"#;
    let plan = Plan::new(&spec(patch), "/b").unwrap();
    assert_eq!(plan.process.identity.bounding, 1 | 1 << 39);
    assert_eq!(plan.process.identity.effective, 0);
}

#[test]
fn each_variable_comes_once_with_its_last_value() {
    let of = |entries: &[&str]| -> Vec<String> {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        super::process::environment(&entries).into_iter().map(String::from).collect()
    };
    assert_eq!(of(&["A=1", "B=2", "A=3", "AB=4"]), ["B=2", "A=3", "AB=4"]);
    assert_eq!(of(&["HOME=", "A=1"]), ["A=1"]);
    assert_eq!(of(&["A", "A=1", "A", "B", "B"]), ["A=1", "A", "B", "B"]);
}
