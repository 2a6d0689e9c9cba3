//! CVE-2019-5736: a process of the container reaches for the runtime's own binary.
//!
//! The attacker keeps `/proc/<pid>/exe` open from a moment when a process in its sight still is the runtime, and
//! writes to it when none runs any more (before that the kernel refuses anyway: "text file busy").

use crate::bundle::{Bundle, able, binary};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Catches a process whose binary is not busybox, keeps that binary open, and writes to it from then on. What happens
/// is told in `/data`: `caught`, and what each attempt to write was answered.
const ATTACK: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    [ $p/exe -ef /bin/busybox ] && continue
    ( exec 7<$p/exe || exit; [ /proc/self/fd/7 -ef /bin/busybox ] && exit
      echo caught >> /data; kill -CONT ${p#/proc/}
      while :; do ( echo x > /proc/self/fd/7 && echo written ) >> /data 2>&1; sleep 0.05; done ) 2>/dev/null &
    sleep 0.05
  done
done"#;

/// As much as a container may have without being the host.
fn mighty(bundle: &Bundle) {
    bundle.change(|spec| {
        spec["root"]["readonly"] = false.into();
        let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_KILL"];
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = all.to_vec().into();
        }
        spec["process"]["noNewPrivileges"] = false.into();
    });
}

fn said(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.path.join("rootfs/data")).unwrap()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

/// The attacker has the binary, its attempts to write failed because of where the binary is, and it is as it was.
fn check(bundle: &Bundle, before: &[u8]) {
    until("an attempt to write after the last process of the runtime", || said(bundle).contains("Read-only"));
    let said = said(bundle);
    assert!(said.contains("caught") && !said.contains("written"), "{said}");
    assert!(fs::read(binary()).unwrap() == before, "the runtime's binary was changed");
}

/// The first process of a container that shares the attacker's processes waits before its program: it is the runtime
/// for as long as the attacker likes.
#[test]
fn a_waiting_process_gives_no_way_to_the_binary() {
    if !able() {
        return;
    }
    let (attacker, victim) = (Bundle::new("attacker"), Bundle::new("victim"));
    mighty(&attacker);
    let before = fs::read(binary()).unwrap();
    attacker.script(ATTACK).create();
    attacker.ok(&["start", &attacker.id]);
    let state: serde_json::Value = serde_json::from_str(&attacker.ok(&["state", &attacker.id])).unwrap();
    victim.change(|spec| {
        for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = format!("/proc/{}/ns/pid", state["pid"]).into();
            }
        }
    });
    victim.create();
    until("the attacker has the binary", || said(&attacker).contains("caught"));
    victim.ok(&["delete", "--force", &victim.id]);
    check(&attacker, &before);
    attacker.ok(&["delete", "--force", &attacker.id]);
}

/// The original: a program of the image whose interpreter is the runtime itself, and processes that join.
#[test]
fn joining_processes_give_no_way_to_the_binary() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("self-exe");
    mighty(&bundle);
    let before = fs::read(binary()).unwrap();
    bundle.script(ATTACK).create();
    bundle.ok(&["start", &bundle.id]);
    let script = bundle.path.join("rootfs/bin/evil");
    fs::write(&script, "#!/proc/self/exe events\n").unwrap();
    let mut mode = fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(&script, mode).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !said(&bundle).contains("caught") {
        assert!(Instant::now() < deadline, "the attacker never reached the binary");
        let _ = bundle.tare(&["exec", &bundle.id, "/bin/evil"]);
        let _ = bundle.tare(&["exec", &bundle.id, "/bin/true"]);
    }
    check(&bundle, &before);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn the_command_runs_from_a_sealed_place() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("seal");
    bundle.script("exec sleep 1000").create();
    let pid: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    let exe = format!("/proc/{}/exe", pid["pid"]);
    // The first process waits before its program: it still is the runtime.
    let error = fs::OpenOptions::new().write(true).open(&exe).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(26 | 30)), "{error}");
    let mounted = rustix::fs::statvfs(exe.as_str()).unwrap();
    assert!(mounted.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}
