//! Documents as generators write them, read and written again.

use super::*;

const DOCUMENT: &str = r#"{
  "ociVersion": "1.0.2-dev", "unknownField": {"a": [1, 2]},
  "process": {"terminal": true, "user": {"uid": 1, "gid": 2, "additionalGids": [3]}, "args": ["sh"], "env": null,
    "cwd": "/", "capabilities": {"bounding": ["CAP_KILL"], "ambient": null},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615, "soft": 1024}], "noNewPrivileges": true,
    "consoleSize": {"height": 24, "width": 80}, "oomScoreAdj": -5},
  "root": {"path": "rootfs", "readonly": true},
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
  "hooks": {"createRuntime": [{"path": "/bin/true", "timeout": 3}]},
  "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}], "blockIO": {"throttleReadIOPSDevice":
      [{"major": 8, "minor": 0, "rate": 10}]}, "memory": {"limit": -1, "disableOOMKiller": true}},
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}], "namespaces": [{"type": "pid"}],
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls":
      [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}}
}"#;

#[test]
fn a_document_round_trips() {
    let spec: Spec = serde_json::from_str(DOCUMENT).unwrap();
    let process = spec.process.as_ref().unwrap();
    assert_eq!(process.user.additional_gids, [3]);
    assert_eq!(process.rlimits[0].hard, u64::MAX);
    assert!(process.env.is_empty());
    let linux = spec.linux.as_ref().unwrap();
    assert_eq!(linux.uid_mappings[0].host_id, 1000);
    let resources = linux.resources.as_ref().unwrap();
    assert_eq!(resources.block_io.as_ref().unwrap().throttle_read_iops_device[0].rate, 10);
    assert_eq!(resources.memory.as_ref().unwrap().disable_oom_killer, Some(true));
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn an_id_beyond_32_bits_is_refused() {
    // CVE-2024-40635: a larger id must not wrap to 0.
    for uid in ["4294967296", "-1", "\"0\""] {
        let text = alloc::format!(r#"{{"uid": {uid}, "gid": 0}}"#);
        assert!(serde_json::from_str::<User>(&text).is_err(), "{uid}");
    }
}
