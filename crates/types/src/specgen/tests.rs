//! Documents against what the tools they come from write.

use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::Value;

#[test]
fn runc_spec_writes_the_same() {
    // The installed runc decides; without it there is nothing to compare with.
    let directory = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("runc").arg("spec").current_dir(directory.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        tare_testkit::skip::skipped("needs runc");
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
