//! Documents against what the tools they come from write.

use super::*;
use crate::spec::{Mount, Spec};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{Value, json};

#[test]
fn runc_spec_writes_the_same() {
    // The installed runc decides; without it there is nothing to compare with.
    let directory = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("runc").arg("spec").current_dir(directory.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        std::println!("skipped: no runc");
        return;
    }
    let text = std::fs::read_to_string(directory.path().join("config.json")).unwrap();
    let mut theirs: Value = serde_json::from_str(&text).unwrap();
    let namespaces = theirs["linux"]["namespaces"].as_array().unwrap();
    let cgroup_v2 = namespaces.iter().any(|namespace| namespace["type"] == "cgroup");
    let mut ours = serde_json::to_value(default_spec(cgroup_v2)).unwrap();
    for value in [&mut theirs, &mut ours] {
        value.as_object_mut().unwrap().remove("ociVersion");
        // runc before 1.2 lists ambient capabilities that cannot take effect.
        value["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
    }
    assert_eq!(ours, theirs);
}

#[test]
fn rootless() {
    let mut spec = default_spec(false);
    make_rootless(&mut spec, 1000, 1001);
    let linux = spec.linux.unwrap();
    let kinds: Vec<&str> = linux.namespaces.iter().map(|namespace| namespace.kind.as_str()).collect();
    assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "user"]);
    assert_eq!((linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id), (1000, 1001));
    assert!(linux.resources.is_none());
    let sys = spec.mounts.iter().find(|mount| mount.destination == "/sys").unwrap();
    assert_eq!((sys.kind.as_str(), sys.options[0].as_str()), ("none", "rbind"));
    assert!(spec.mounts.iter().flat_map(|mount| &mount.options).all(|option| !option.starts_with("gid=")));
}

fn adjusted(add: &[&str], drop: &[&str]) -> Vec<String> {
    adjust_capabilities(add, drop, false).unwrap()
}

#[test]
fn capabilities_as_docker_combines_them() {
    assert_eq!(adjusted(&[], &[]), DEFAULT_CAPABILITIES);
    assert_eq!(adjusted(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
    assert_eq!(adjusted(&[], &["all"]).len(), 0);
    let all_but_one = adjusted(&["ALL"], &["CAP_SYS_ADMIN"]);
    assert_eq!(all_but_one.len(), ALL_CAPABILITIES.len() - 1);
    assert!(!all_but_one.contains(&"CAP_SYS_ADMIN".to_string()));
    assert_eq!(adjusted(&["ALL"], &["ALL"]).len(), ALL_CAPABILITIES.len());
    let both = adjusted(&["CHOWN"], &["CHOWN"]);
    assert_eq!(both.iter().filter(|name| *name == "CAP_CHOWN").count(), 1);
    assert_eq!(adjust_capabilities::<&str, &str>(&[], &[], true).unwrap().len(), 41);
    assert!(normalize_capability("CAP_NONSENSE").unwrap_err().to_string().contains("CAP_NONSENSE"));
}

#[test]
fn the_environment_is_merged() {
    let given = ["PATH=/bin", "A=1", "HOSTNAME", "A=2"].map(String::from);
    assert_eq!(environment("h", true, &given), ["PATH=/bin", "TERM=xterm", "A=2"]);
    assert_eq!(environment("h", false, &[]), [DEFAULT_PATH, "HOSTNAME=h"]);
}

fn destinations(mounts: &[Mount]) -> Vec<&str> {
    mounts.iter().map(|mount| mount.destination.as_str()).collect()
}

#[test]
fn mounts_of_the_user_replace_and_follow() {
    let user = ["/a/b/c", "/dev/shm/", "/a"].map(|path| bind_mount("/h", path, false, true, None));
    let merged = merge_mounts(default_mounts(1), user.to_vec());
    let expected =
        ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/a", "/dev/shm/", "/a/b/c"];
    assert_eq!(destinations(&merged), expected);
    let own_dev = merge_mounts(default_mounts(1), Vec::from([tmpfs_mount("/dev", None, None, &[])]));
    assert_eq!(destinations(&own_dev), ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]);
}

#[test]
fn mount_options() {
    assert_eq!(bind_mount("/h", "/c", true, true, None).options, ["rbind", "ro", "rprivate"]);
    assert_eq!(bind_mount("/h", "/c", false, false, Some("rshared")).options, ["bind", "rshared"]);
    let tmpfs = tmpfs_mount("/t", Some(1024), Some(0o1777), &["exec".to_string()]);
    assert_eq!(tmpfs.options, ["nosuid", "nodev", "rprivate", "exec", "size=1024", "mode=1777"]);
}

#[test]
fn a_usual_container() {
    let options = SpecOptions { hostname: "h".to_string(), ..SpecOptions::default() };
    let spec = container_spec(options).unwrap();
    let value = serde_json::to_value(&spec).unwrap();
    assert_eq!(value["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert!(value["process"]["capabilities"].get("inheritable").is_none());
    let kinds: Vec<_> =
        value["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].clone()).collect();
    assert_eq!(kinds, ["mount", "network", "uts", "pid", "ipc"]);
    assert_eq!(value["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(value["linux"]["resources"]["devices"][0], json!({"allow": false, "access": "rwm"}));
    assert_eq!(value["linux"]["seccomp"]["defaultErrnoRet"], 1);
    assert!(
        value["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/sys/devices/virtual/powercap"))
    );
    let again: Spec = serde_json::from_value(value).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn a_privileged_container_is_not_held_back() {
    let options = SpecOptions { privileged: true, ..SpecOptions::default() };
    let spec = container_spec(options).unwrap();
    let linux = spec.linux.unwrap();
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert!(linux.resources.unwrap().devices[0].allow);
    let read_only = |mount: &&Mount| mount.options.iter().any(|option| option == "ro");
    assert_eq!(spec.mounts.iter().filter(read_only).count(), 0);
}

#[test]
fn host_namespaces_and_their_mounts() {
    let namespaces = Namespaces {
        ipc: NamespaceChoice::Host,
        uts: NamespaceChoice::Host,
        network: NamespaceChoice::Host,
        pid: NamespaceChoice::Path("/proc/1/ns/pid".to_string()),
        ..Namespaces::default()
    };
    let options =
        SpecOptions { namespaces, hostname: "h".to_string(), readonly: true, ..SpecOptions::default() };
    let spec = container_spec(options).unwrap();
    assert_eq!(spec.hostname, "");
    let shm = spec.mounts.iter().find(|mount| mount.destination == "/dev/shm").unwrap();
    assert_eq!((shm.kind.as_str(), shm.source.as_str()), ("bind", "/dev/shm"));
    let linux = spec.linux.unwrap();
    assert!(linux.sysctl.is_empty());
    let kinds: Vec<_> = linux.namespaces.iter().map(|n| (n.kind.as_str(), n.path.as_str())).collect();
    assert_eq!(kinds, [("mount", ""), ("pid", "/proc/1/ns/pid"), ("cgroup", "")]);
}

#[test]
fn init_comes_first() {
    let options = SpecOptions { init: Some("/usr/bin/tini".to_string()), ..SpecOptions::default() };
    let spec = container_spec(options).unwrap();
    assert_eq!(spec.process.unwrap().args, ["/sbin/docker-init", "--", "sh"]);
    assert_eq!(spec.mounts.last().unwrap().source, "/usr/bin/tini");
}

fn names(profile: &crate::spec::LinuxSeccomp, name: &str) -> usize {
    profile.syscalls.iter().filter(|rule| rule.names.iter().any(|known| known == name)).count()
}

#[test]
fn the_default_profile_follows_capabilities() {
    let default = DEFAULT_CAPABILITIES.map(String::from);
    let usual = default_seccomp(&default, NativeArch::X86_64);
    assert_eq!(usual.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!((names(&usual, "mount"), names(&usual, "clone"), names(&usual, "chroot")), (0, 1, 1));
    for never in
        ["io_uring_setup", "keyctl", "add_key", "userfaultfd", "kexec_load", "init_module", "unshare"]
    {
        assert_eq!(names(&usual, never), 0, "{never}");
    }
    let admin = default_seccomp(&["CAP_SYS_ADMIN".to_string()], NativeArch::Aarch64);
    assert_eq!((names(&admin, "mount"), names(&admin, "clone3"), names(&admin, "set_tls")), (1, 1, 1));
    assert!(admin.syscalls.iter().all(|rule| rule.errno_ret.is_none()));
}

#[test]
fn profiles_are_resolved_for_the_container() {
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
      "syscalls": [
        {"name": "read", "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]},
         "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "comment": "x", "includes": {"minKernel": "4.8"}}]}"#;
    let plain = resolve_profile(text, &[], NativeArch::X86_64).unwrap().unwrap();
    assert_eq!(plain.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    let present = |profile, name| names(profile, name) == 1;
    assert!(["read", "clone", "arch_prctl", "ptrace"].iter().all(|name| present(&plain, name)));
    assert!(!present(&plain, "mount"));
    let admin = resolve_profile(text, &["CAP_SYS_ADMIN".to_string()], NativeArch::Aarch64).unwrap().unwrap();
    assert!(present(&admin, "mount") && !present(&admin, "clone") && !present(&admin, "arch_prctl"));
    assert_eq!(resolve_profile("{}", &[], NativeArch::X86_64).unwrap(), None);
    for bad in [
        "",
        "[",
        r#"{"defaultAction": 1}"#,
        r#"{"architectures": ["x"], "archMap": [{}], "defaultAction": "a"}"#,
    ] {
        assert!(resolve_profile(bad, &[], NativeArch::X86_64).is_err(), "{bad}");
    }
}
