//! Commands, one after the other.

use crate::bundle::{Bundle, able};
use std::fs;
use tare_testkit::skip;

#[test]
fn run_passes_streams_and_the_exit_code() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("run");
    bundle.script("echo out; echo err >&2; exit 9");
    let output = bundle.tare(&["run", &bundle.id]);
    assert_eq!(output.status.code(), Some(9));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(bundle.ok(&["list", "-q"]), "");
    // A signal counts as 128 and its number.
    bundle.change(|spec| {
        spec["linux"]["resources"]["memory"] = serde_json::json!({"limit": 16 << 20, "swap": 16 << 20})
    });
    bundle.script("a=x; while :; do a=$a$a; done");
    assert_eq!(bundle.tare(&["run", &bundle.id]).status.code(), Some(137));
}

#[test]
fn the_life_of_a_container() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("life");
    bundle.script("exec sleep 1000");
    let id = bundle.id.as_str();
    let pid_file = bundle.path.join("pid");
    let mut create = bundle.command(&["create", "--pid-file", pid_file.to_str().unwrap(), id]);
    assert!(
        create
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", id])).unwrap();
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"], pid);
    assert_eq!(state["bundle"], bundle.path.to_str().unwrap());
    assert_eq!(
        bundle.fails(1, &["create", id]).trim(),
        "tare-oci: error: tare-oci create failed: container with given ID already exists"
    );
    bundle.ok(&["start", id]);
    assert_eq!(bundle.status(), "running");
    assert!(bundle.fails(1, &["start", id]).contains("cannot start an already running container"));
    assert!(bundle.fails(1, &["delete", id]).contains("that is not stopped: running"));
    assert_eq!(bundle.ok(&["ps", "--format", "json", id]).trim(), format!("[{pid}]"));
    assert!(bundle.ok(&["ps", id]).contains("sleep 1000"));
    let list: serde_json::Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(list[0]["id"], id);
    assert!(bundle.ok(&["list"]).starts_with("ID "));
    bundle.ok(&["pause", id]);
    assert_eq!(bundle.status(), "paused");
    assert!(bundle.fails(255, &["exec", id, "true"]).contains("paused"));
    bundle.ok(&["resume", id]);
    bundle.ok(&["update", "--pids-limit", "77", id]);
    let stats: serde_json::Value = serde_json::from_str(&bundle.ok(&["events", "--stats", id])).unwrap();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["data"]["pids"]["limit"], 77);
    bundle.ok(&["kill", id, "KILL"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while bundle.status() != "stopped" {
        assert!(std::time::Instant::now() < deadline, "it does not stop");
    }
    assert!(bundle.fails(1, &["kill", id]).contains("container not running"));
    bundle.ok(&["delete", id]);
    assert!(bundle.fails(1, &["state", id]).contains("container does not exist"));
    assert!(bundle.fails(1, &["delete", id]).contains("container does not exist"));
    bundle.ok(&["delete", "--force", id]);
}

#[test]
fn exec_joins() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("exec");
    let id = bundle.id.as_str();
    bundle.script("exec sleep 1000").create();
    bundle.ok(&["start", id]);
    assert_eq!(bundle.ok(&["exec", id, "echo", "-n", "--user"]), "--user");
    assert!(
        bundle
            .ok(&[
                "exec",
                "--user",
                "5:6",
                "-e",
                "A=b",
                "--cwd",
                "/bin",
                id,
                "sh",
                "-c",
                "id -u; id -g; echo $A; pwd"
            ])
            .starts_with("5\n6\nb\n/bin\n")
    );
    assert_eq!(bundle.tare(&["exec", id, "sh", "-c", "exit 3"]).status.code(), Some(3));
    let missing = bundle.fails(255, &["exec", id, "nope"]);
    assert!(missing.contains("exec: \"nope\": executable file not found in $PATH"), "{missing}");
    assert!(bundle.fails(255, &["exec", "-u", "root", id, "id"]).contains("not a number"));
    assert!(bundle.ok(&["exec", "-t", id, "tty"]).contains("/dev/pts/"));
    let process = bundle.path.join("process.json");
    let document = r#"{"user": {"uid": 7, "gid": 7}, "args": ["/bin/id", "-u"], "cwd": "/"}"#;
    fs::write(&process, document).unwrap();
    assert_eq!(bundle.ok(&["exec", "--process", process.to_str().unwrap(), id]), "7\n");
}

#[test]
fn complaints_are_logged() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("log");
    let log = bundle.path.join("log.json");
    let log = log.to_str().unwrap();
    bundle.change(|spec| spec["process"]["args"] = vec!["nope"].into());
    let error = bundle.fails(1, &["--log", log, "--log-format", "json", "run", &bundle.id]);
    assert_eq!(
        error,
        "tare-oci: error: tare-oci run failed: unable to start container process: exec: \"nope\": executable file not found in $PATH\n"
    );
    let entry: serde_json::Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().ends_with("not found in $PATH"));
    assert!(entry["time"].is_string());
}

#[test]
fn bad_input_is_named() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("bad");
    assert!(bundle.fails(1, &["create", "a/b"]).contains("invalid container ID format"));
    assert!(bundle.fails(1, &["create"]).contains("requires a minimum of 1"));
    assert!(bundle.fails(1, &["create", "--nope", "x"]).contains("-nope"));
    assert!(bundle.fails(1, &["spec"]).contains("exists"));
    assert!(bundle.fails(1, &["create", "--bundle", "/nope", "x"]).contains("config.json not found"));
    assert_eq!(bundle.tare(&["nope"]).status.code(), Some(3));
    fs::write(bundle.path.join("config.json"), "{\"ociVersion\": 1}").unwrap();
    assert!(bundle.fails(1, &["create", "x"]).contains("config.json: invalid type"));
    fs::write(bundle.path.join("config.json"), "{").unwrap();
    assert!(bundle.fails(1, &["create", "x"]).contains("config.json: EOF"));
    assert!(bundle.ok(&["features"]).contains("ociVersionMax"));
    assert!(bundle.ok(&["--version"]).starts_with("tare-oci version "));
    assert!(bundle.fails(1, &["list", "-q"]).contains("no such file"));
}

#[test]
fn descriptors_are_kept_only_when_asked() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("fds");
    bundle.script("ls /proc/self/fd; cat <&4 2>/dev/null");
    let shell = |flags: &str| {
        let script = format!(
            "exec 3</dev/null 4<{}; exec {} --root {} run {flags} {}",
            bundle.path.join("config.json").display(),
            crate::bundle::binary().display(),
            bundle.path.join("state").display(),
            bundle.id
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(&bundle.path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(shell("").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert!(shell("--preserve-fds 2").contains("ociVersion"));
}

#[test]
fn a_container_among_the_pids_of_the_host_is_killed_whole() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("host-pids");
    bundle.change(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    bundle.script("sleep 1000 & sleep 1000 & wait").create();
    bundle.ok(&["start", &bundle.id]);
    let cgroup = bundle.cgroup();
    let members = || fs::read_to_string(cgroup.join("cgroup.procs")).unwrap().lines().count();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while members() < 3 {
        assert!(std::time::Instant::now() < deadline, "the script does not start");
    }
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    while members() > 0 {
        assert!(std::time::Instant::now() < deadline, "some are left");
    }
    assert!(bundle.fails(1, &["kill", &bundle.id, "KILL"]).contains("container not running"));
    bundle.ok(&["delete", &bundle.id]);
}

#[test]
fn a_waiting_process_holds_nothing_of_the_host() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("held");
    bundle.create();
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    for entry in fs::read_dir(format!("/proc/{}/fd", state["pid"])).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let target = target.to_str().unwrap();
        let own = target == "/dev/null" || target.starts_with("pipe:") || target.ends_with(".fifo");
        assert!(own, "it holds {target}");
    }
}

#[test]
fn subordinate_cgroups_by_controller() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("subgroup");
    if !bundle.cgroup().parent().unwrap().ends_with("pids") {
        return skip::skipped("there is one tree of cgroups for all controllers");
    }
    bundle.script("exec sleep 1000").create();
    bundle.ok(&["start", &bundle.id]);
    let below = bundle.cgroup().join("below");
    fs::create_dir(&below).unwrap();
    let joined = bundle.ok(&["exec", "--cgroup", "pids:below", &bundle.id, "cat", "/proc/self/cgroup"]);
    for line in joined.lines().filter(|line| line.ends_with("/below")) {
        assert!(line.contains(":pids:"), "{joined}");
    }
    assert!(joined.contains("/below"), "{joined}");
    assert!(
        bundle.fails(255, &["exec", "--cgroup", "nope:/", &bundle.id, "true"]).contains("unknown controller")
    );
    assert!(
        bundle.fails(255, &["exec", "--cgroup", "..", &bundle.id, "true"]).contains("bad sub cgroup path")
    );
    fs::remove_dir(&below).unwrap();
}

#[test]
fn a_subordinate_cgroup_of_version_2() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("subgroup2");
    if bundle.cgroup().parent().unwrap().ends_with("pids") {
        return skip::skipped("version 2 of cgroups is not alone here (make test-vm)");
    }
    bundle.script("exec sleep 1000").create();
    bundle.ok(&["start", &bundle.id]);
    let below = bundle.cgroup().join("below");
    fs::create_dir(&below).unwrap();
    let joined = bundle.ok(&["exec", "--cgroup", "below", &bundle.id, "cat", "/proc/self/cgroup"]);
    assert_eq!(joined, "0::/below\n");
    assert!(
        bundle.fails(255, &["exec", "--cgroup", "../x", &bundle.id, "true"]).contains("bad sub cgroup path")
    );
    fs::remove_dir(&below).unwrap();
}

#[test]
fn a_user_namespace_is_joined() {
    if !able() {
        return;
    }
    let (first, second) = (Bundle::new("user-a"), Bundle::new("user-b"));
    // Its root may make nothing in a tree of the host's root.
    for bundle in [&first, &second] {
        for dir in ["proc", "sys", "dev"] {
            fs::create_dir(bundle.path.join("rootfs").join(dir)).unwrap();
        }
    }
    let mapped = |spec: &mut serde_json::Value| {
        let map = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(serde_json::json!({"type": "user"}));
    };
    first.change(mapped);
    first.script("exec sleep 1000").create();
    first.ok(&["start", &first.id]);
    let state: serde_json::Value = serde_json::from_str(&first.ok(&["state", &first.id])).unwrap();
    second.change(|spec| {
        let path = format!("/proc/{}/ns/user", state["pid"]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(serde_json::json!({"type": "user", "path": path}));
    });
    second.script("cat /proc/self/uid_map; readlink /proc/self/ns/user; id -u");
    let output = second.tare(&["run", &second.id]);
    let text = String::from_utf8(output.stdout).unwrap();
    let own = fs::read_link(format!("/proc/{}/ns/user", state["pid"])).unwrap();
    assert!(text.contains("100000") && text.contains(own.to_str().unwrap()), "{text} {:?}", output.stderr);
    assert!(text.ends_with("\n0\n"), "{text}");
}
