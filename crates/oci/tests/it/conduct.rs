//! Conduct that callers of runc rely on, taken from what the peers' suites ask.

use crate::bundle::{Bundle, able, binary};
use std::{os::unix::fs::symlink, process::Command};

#[test]
fn the_program_answers_by_the_name_it_was_called_as() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("name");
    let runc = bundle.path.join("runc");
    symlink(binary(), &runc).unwrap();
    let text = |arguments: &[&str]| {
        let output = Command::new(&runc).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let version = text(&["--version"]);
    let words: Vec<_> = version.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["runc", "commit:", "spec:"]);
    assert!(text(&["--help"]).contains("runc - Open Container Initiative runtime"));
    assert!(text(&["kill", "-h"]).contains("runc kill"));
    let failed = text(&["--root", bundle.path.to_str().unwrap(), "run", "--bundle", "/nowhere", "x"]);
    assert!(failed.starts_with("runc: error: JSON specification file"), "{failed}");
}

#[test]
fn what_a_script_interpreter_lacks_is_said_alone() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("interpreter");
    std::fs::write(bundle.path.join("rootfs/run.sh"), "#!/nowhere\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bundle.path.join("rootfs/run.sh"), mode).unwrap();
    bundle.change(|spec| spec["process"]["args"] = vec!["/run.sh"].into());
    assert_eq!(bundle.fails(1, &["run", &bundle.id]), "exec /run.sh: no such file or directory\n");
}

#[test]
fn a_created_container_ends_by_what_would_end_its_program() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("created");
    bundle.create();
    bundle.ok(&["kill", &bundle.id, "WINCH"]);
    assert_eq!(bundle.status(), "created");
    bundle.ok(&["kill", &bundle.id, "TERM"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while bundle.status() != "stopped" {
        assert!(std::time::Instant::now() < deadline, "SIGTERM was ignored");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_just_killed_can_be_deleted() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("killed");
    bundle.script("exec sleep 1000");
    for _ in 0..20 {
        bundle.create();
        bundle.ok(&["start", &bundle.id]);
        bundle.ok(&["kill", &bundle.id, "KILL"]);
        bundle.ok(&["delete", &bundle.id]);
    }
}

#[test]
fn debug_says_what_is_done() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("debug");
    bundle.script("true");
    let log = bundle.path.join("log");
    let log_path = log.to_str().unwrap();
    let output = bundle.tare(&["--debug", "--log", log_path, "--log-format", "json", "run", &bundle.id]);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = std::fs::read_to_string(log).unwrap();
    for words in ["nsexec container setup", "child process in init()", "to signal completion"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

/// Runs a shell script in a network namespace of its own, with `$1` the command and its root; what it printed.
fn alone(bundle: &Bundle, script: &str) -> String {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-euc", script, "sh"]).arg(binary());
    let output =
        unshare.arg(bundle.path.join("state")).arg(&bundle.id).current_dir(&bundle.path).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    out.into_owned()
}

#[test]
fn a_network_device_moves_in_with_its_lasting_addresses() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("netdev");
    let ip = bundle.path.join("rootfs/bin/ip");
    symlink("busybox", ip).unwrap();
    bundle.script("ip address show dev inside");
    bundle.change(|spec| spec["linux"]["netDevices"] = serde_json::json!({"outside": {"name": "inside"}}));
    let out = alone(
        &bundle,
        "ip link add outside mtu 1400 address 02:00:00:00:00:07 type veth peer name other
         ip address add 192.0.2.7/24 dev outside
         ip address add 2001:db8::7/64 dev outside nodad
         ip address add 192.0.2.8/32 scope link dev outside
         \"$1\" --root \"$2\" run \"$3\"",
    );
    for part in ["mtu 1400", "02:00:00:00:00:07", "192.0.2.7/24", "2001:db8::7/64", ",UP"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("192.0.2.8"), "{out}");
    let error = bundle.fails(1, &["run", &bundle.id]);
    assert!(error.contains("move network device: outside: netlink get link"), "{error}");
}

#[test]
fn a_bind_mount_replaces_attributes_only_when_some_are_named() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("attributes");
    bundle.script("cat /proc/self/mounts | while read a b c d; do test $b = /mnt && echo $d; done; true");
    std::fs::create_dir_all(bundle.path.join("source")).unwrap();
    let source = bundle.path.join("source");
    let options = |options: &[&str], user: bool| {
        bundle.change(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/mnt");
            mounts.push(serde_json::json!({"destination": "/mnt", "source": source, "options": options}));
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "user");
            if user {
                namespaces.push(serde_json::json!({"type": "user"}));
                let map = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
                spec["linux"]["uidMappings"] = map.clone();
                spec["linux"]["gidMappings"] = map;
            } else {
                spec["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Mappings"));
            }
        });
        let script =
            "mount -t tmpfs -o nosuid,nodev tmpfs source; mount --bind -o remount,ro,nosuid,nodev source
            \"$1\" --root \"$2\" run \"$3\" 2>&1 || true";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-euc", script, "sh"]).arg(binary());
        unshare.arg(bundle.path.join("state")).arg(&bundle.id).current_dir(&bundle.path);
        String::from_utf8(unshare.output().unwrap().stdout).unwrap()
    };
    assert!(options(&["bind"], false).starts_with("ro,nosuid,nodev,"));
    assert!(options(&["bind", "noexec"], false).starts_with("rw,noexec,"));
    // What runs in a user namespace gets no mount that allows more than the source.
    assert!(options(&["bind", "noexec"], true).starts_with("ro,nosuid,nodev,noexec,"));
    let refused = options(&["bind", "rw"], true);
    assert!(refused.contains("error during container init: error mounting"), "{refused}");
    assert!(refused.contains("operation not permitted"), "{refused}");
}
