//! What a container engine asks of its runtime.

use super::engine::{Engine, v2};
use std::{fs, os::unix::fs::PermissionsExt};

/// A name and what is checked.
pub(super) type Check = (&'static str, fn(&Engine));

/// Part of `make test`.
pub(super) static SHORT: &[Check] = &[
    ("streams and exit codes", exit_codes),
    ("terminal", terminal),
    ("memory limit", memory),
    ("identity: user, capabilities, seccomp", identity),
    ("volumes, read-only root, tmpfs", storage),
    ("exec, pause, logs, kill", life),
];

/// What an ordinary user's engine can do without cgroups and with one mapped id.
pub(super) static USER: &[Check] = &[
    ("streams and exit codes", exit_codes),
    ("terminal", terminal),
    ("volumes, read-only root, tmpfs", storage),
    ("exec, logs, kill", joined),
    ("standard input", input),
    ("start again", again),
];

/// Part of `make soak`.
pub(super) static LONG: &[Check] = &[
    ("limits", limits),
    ("users by name, groups", users),
    ("capabilities", capabilities),
    ("seccomp profiles", seccomp),
    ("named volumes", named_volumes),
    ("signals and stop", signals),
    ("exec in detail", exec_more),
    ("start again", again),
    ("update while running", update),
    ("names, parameters, devices", surroundings),
    ("standard input", input),
];

/// A file inside, by the host's version of cgroups.
fn file(one: &str, two: &str) -> String {
    format!("/sys/fs/cgroup/{}", if v2() { two } else { one })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

fn exit_codes(engine: &Engine) {
    let output = engine.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out".into(), "err".into()));
    for (code, program) in [(127, "nope"), (127, "/nope"), (126, "/etc/passwd")] {
        let output = engine.run(&[], &[program]);
        assert_eq!(output.status.code(), Some(code), "{program}: {output:?}");
    }
}

fn terminal(engine: &Engine) {
    assert_eq!(engine.script(&["-t"], "tty; test -t 0 && test -t 1 && test -c /dev/console"), "/dev/pts/0");
}

fn memory(engine: &Engine) {
    let limits = ["--memory=16m", "--memory-swap=16m"];
    let limit = format!("cat {}", file("memory/memory.limit_in_bytes", "memory.max"));
    assert_eq!(engine.script(&limits, &limit), (16 << 20).to_string());
    engine.start("greedy", &limits, "a=x; while :; do a=$a$a; done");
    assert_eq!(engine.ok(&["wait", "greedy"]), "137");
    // Debian's conmon sees the end of the container before the shortage, with every runtime: podman says false here.
    // On version 2 docker 20.10 was seen to say false, too.
    if engine.name() == "docker" && !v2() {
        assert_eq!(engine.inspect("greedy", ".State.OOMKilled"), "true");
    }
    assert_eq!(engine.inspect("greedy", ".State.ExitCode"), "137");
}

fn identity(engine: &Engine) {
    let flags = ["--user=1000:42", "--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE", "--pids-limit=21"];
    let pids = file("pids/pids.max", "pids.max");
    let script = format!("id -u; id -g; grep -E '^(CapBnd|Seccomp):' /proc/self/status; cat {pids}");
    let said = engine.script(&flags, &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["1000", "42", "CapBnd:\t0000000000000400", "Seccomp:\t2", "21"]);
}

fn storage(engine: &Engine) {
    let volume = engine.dir.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let (writable, readonly) = (format!("{}:/a", volume.display()), format!("{}:/b:ro", volume.display()));
    let flags = ["--read-only", "--tmpfs=/scratch:size=64k", "-v", &writable, "-v", &readonly];
    let script = "echo kept > /a/file; cat /b/file; touch /b/x 2>/dev/null || echo volume-ro; \
                  touch /x 2>/dev/null || echo root-ro; \
                  dd if=/dev/zero of=/scratch/x bs=1k count=100 2>/dev/null; stat -c %s /scratch/x";
    assert_eq!(engine.script(&flags, script), "kept\nvolume-ro\nroot-ro\n65536");
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "kept\n");
}

fn life(engine: &Engine) {
    begin(engine);
    engine.ok(&["pause", "box"]);
    assert_eq!(engine.inspect("box", ".State.Status"), "paused");
    engine.ok(&["unpause", "box"]);
    assert_eq!(engine.inspect("box", ".State.Status"), "running");
    finish(engine);
}

fn joined(engine: &Engine) {
    begin(engine);
    finish(engine);
}

fn begin(engine: &Engine) {
    engine.start("box", &[], "echo on stderr >&2; while :; do sleep 1; done");
    assert_eq!(engine.ok(&["exec", "-e", "A=b", "-w", "/tmp", "box", "sh", "-c", "echo $A; pwd"]), "b\n/tmp");
    assert_eq!(engine.client(&["exec", "box", "sh", "-c", "exit 5"]).status.code(), Some(5));
}

fn finish(engine: &Engine) {
    let logs = engine.client(&["logs", "box"]);
    assert_eq!((text(&logs.stdout), text(&logs.stderr)), ("ready".into(), "on stderr".into()));
    engine.ok(&["kill", "box"]);
    assert_eq!(engine.ok(&["wait", "box"]), "137");
    assert_eq!(engine.inspect("box", ".State.OOMKilled"), "false");
}

fn limits(engine: &Engine) {
    let flags =
        ["--cpus=0.5", "--cpu-shares=512", "--cpuset-cpus=0", "--memory=32m", "--memory-reservation=16m"];
    let (files, values) = if v2() {
        ("cpu.max cpu.weight cpuset.cpus memory.low", "50000 100000\n59\n0\n16777216")
    } else {
        (
            "cpu/cpu.cfs_quota_us cpu/cpu.shares cpuset/cpuset.cpus memory/memory.soft_limit_in_bytes",
            "50000\n512\n0\n16777216",
        )
    };
    assert_eq!(engine.script(&flags, &format!("cd /sys/fs/cgroup; cat {files}")), values);
    // A limit on processes is a limit on forks.
    let bomb = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done 2>/dev/null; echo survived";
    let output = engine.run(&["--pids-limit=6"], &["sh", "-c", bomb]);
    assert!(!text(&output.stdout).contains("survived"), "{output:?}");
    assert_eq!(engine.script(&["--ulimit=nofile=64:64"], "ulimit -n"), "64");
    assert_eq!(engine.script(&["--oom-score-adj=500"], "cat /proc/self/oom_score_adj"), "500");
    assert_eq!(engine.script(&["--shm-size=1m"], "stat -fc %b,%S /dev/shm"), "256,4096");
}

fn users(engine: &Engine) {
    assert_eq!(engine.script(&["--user=user"], "id -u; id -g; echo $HOME"), "1000\n1000\n/tmp");
    let groups = engine.script(&["--user=1000", "--group-add=42", "--group-add=77"], "id -G");
    assert!(
        groups.split(' ').any(|group| group == "42") && groups.split(' ').any(|group| group == "77"),
        "{groups}"
    );
    let output = engine.run(&["--user=nobody-here"], &["id"]);
    assert!(!output.status.success(), "{output:?}");
}

fn capabilities(engine: &Engine) {
    let effective = "grep CapEff /proc/self/status";
    assert_eq!(engine.script(&["--cap-drop=ALL"], effective), "CapEff:\t0000000000000000");
    assert_eq!(
        engine.script(&["--cap-drop=ALL", "--cap-add=SYS_ADMIN"], effective),
        "CapEff:\t0000000000200000"
    );
    let inheritable = engine.script(&[], "grep CapInh /proc/self/status");
    assert_eq!(inheritable, "CapInh:\t0000000000000000");
    let script = "grep NoNewPrivs /proc/self/status";
    assert_eq!(engine.script(&["--security-opt=no-new-privileges"], script), "NoNewPrivs:\t1");
    assert_eq!(engine.script(&[], script), "NoNewPrivs:\t0");
}

fn seccomp(engine: &Engine) {
    // Docker's profile refuses unshare(2) to whoever lacks CAP_SYS_ADMIN; podman's lets it pass.
    let unshare = ["unshare", "-U", "true"];
    assert_eq!(engine.run(&[], &unshare).status.success(), engine.name() == "podman");
    assert!(engine.run(&["--security-opt=seccomp=unconfined"], &unshare).status.success());
    let profile = engine.path("profile.json");
    let refuse = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    fs::write(&profile, refuse).unwrap();
    let option = format!("--security-opt=seccomp={profile}");
    let said =
        engine.script(&[&option], "mkdir /tmp/x 2>&1; touch /tmp/y && grep Seccomp: /proc/self/status");
    assert!(said.contains("No space left on device") && said.ends_with("Seccomp:\t2"), "{said}");
}

fn named_volumes(engine: &Engine) {
    engine.script(&["-v", "smoke:/data"], "echo one > /data/file");
    assert_eq!(engine.script(&["-v", "smoke:/data"], "cat /data/file"), "one");
    engine.ok(&["volume", "rm", "smoke"]);
    assert_eq!(
        engine.script(&["--mount=type=tmpfs,destination=/data"], "grep -c ' /data tmpfs ' /proc/mounts"),
        "1"
    );
}

fn signals(engine: &Engine) {
    engine.start("polite", &[], "trap 'echo told; exit 3' TERM; while :; do sleep 0.1; done");
    engine.ok(&["stop", "-t", "10", "polite"]);
    assert_eq!(engine.inspect("polite", ".State.ExitCode"), "3");
    engine.start("deaf", &[], "trap '' TERM; while :; do sleep 0.1; done");
    engine.ok(&["stop", "-t", "1", "deaf"]);
    assert_eq!(engine.inspect("deaf", ".State.ExitCode"), "137");
    engine.start("user", &[], "trap 'echo usr1; exit 4' USR1; while :; do sleep 0.1; done");
    engine.ok(&["kill", "-s", "USR1", "user"]);
    assert_eq!(engine.ok(&["wait", "user"]), "4");
    assert!(engine.ok(&["logs", "user"]).contains("usr1"));
}

fn exec_more(engine: &Engine) {
    engine.start("box", &["--user=user", "--hostname=inside"], "while :; do sleep 1; done");
    assert_eq!(engine.ok(&["exec", "box", "id", "-u"]), "1000");
    assert_eq!(engine.ok(&["exec", "-u", "0:0", "box", "id", "-u"]), "0");
    assert_eq!(engine.ok(&["exec", "box", "hostname"]), "inside");
    assert_eq!(engine.ok(&["exec", "box", "grep", "Seccomp:", "/proc/self/status"]), "Seccomp:\t2");
    assert!(engine.ok(&["exec", "-t", "box", "tty"]).starts_with("/dev/pts/"));
    engine.ok(&["exec", "-d", "box", "touch", "/tmp/made"]);
    engine.until("the detached exec has run", || {
        engine.client(&["exec", "box", "stat", "/tmp/made"]).status.success()
    });
    let missing = engine.client(&["exec", "box", "nope"]);
    assert!(matches!(missing.status.code(), Some(126 | 127)), "{missing:?}");
    let complaint = text(&missing.stdout) + &text(&missing.stderr);
    assert!(complaint.contains("executable file not found"), "{complaint}");
    assert!(engine.ok(&["top", "box"]).contains("sleep 1"));
}

fn again(engine: &Engine) {
    engine.start("box", &[], "exit 6");
    assert_eq!(engine.ok(&["wait", "box"]), "6");
    let output = engine.client(&["start", "-a", "box"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(6), "ready".into()), "{output:?}");
    engine.start("long", &[], "while :; do sleep 1; done");
    engine.ok(&["restart", "-t", "0", "long"]);
    assert_eq!(engine.inspect("long", ".State.Running"), "true");
}

fn update(engine: &Engine) {
    engine.start("box", &["--memory=32m", "--memory-swap=32m"], "while :; do sleep 1; done");
    engine.ok(&["update", "--memory=48m", "--memory-swap=48m", "--cpu-shares=300", "box"]);
    let (memory, cpu) =
        (file("memory/memory.limit_in_bytes", "memory.max"), file("cpu/cpu.shares", "cpu.weight"));
    let shares = if v2() { "39" } else { "300" };
    let script = format!("cat {memory} {cpu}");
    assert_eq!(engine.ok(&["exec", "box", "sh", "-c", &script]), format!("50331648\n{shares}"));
    assert!(engine.ok(&["stats", "--no-stream", "box"]).contains("box"));
}

fn surroundings(engine: &Engine) {
    let flags = ["--hostname=inside", "-e", "A=b c", "-w", "/tmp", "--sysctl=net.ipv4.ip_default_ttl=42"];
    let script = "hostname; echo $A; pwd; cat /proc/sys/net/ipv4/ip_default_ttl";
    assert_eq!(engine.script(&flags, script), "inside\nb c\n/tmp\n42");
    let device = ["--device=/dev/zero:/dev/nil:r"];
    assert_eq!(engine.script(&device, "dd if=/dev/nil bs=1 count=3 2>/dev/null | wc -c"), "3");
    let masked = "cat /proc/kcore /proc/timer_list | wc -c; touch /proc/sys/x 2>/dev/null || echo ro";
    assert_eq!(engine.script(&[], masked), "0\nro");
    assert!(engine.script(&["--pid=host"], "ls /proc | grep -c '^[0-9]'").parse::<u32>().unwrap() > 3);
}

fn input(engine: &Engine) {
    let file = engine.dir.join("input");
    fs::write(&file, "a line\n").unwrap();
    let arguments = engine.arguments(&["run", "--rm", "-i"], &[], &["cat"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = engine.client_with_input(&arguments, &file);
    assert_eq!(text(&output.stdout), "a line", "{output:?}");
}
