//! CVE-2019-5736: a process of the container reaches for the runtime's own binary.

use crate::bundle::{Bundle, able, binary};
use std::fs;

/// The container's program waits for a process whose binary is not busybox, keeps that binary open, and writes
/// to it when it has ended (before, the kernel refuses because it runs).
const ATTACK: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    case "$(readlink $p/exe 2>/dev/null)" in
      ""|/bin/busybox) ;;
      *) if exec 7<$p/exe; then echo caught >&2; echo x > /proc/self/fd/7 && echo written >&2; fi 2>&1 | cat >> /data ;;
    esac
  done
done"#;

#[test]
fn the_binary_cannot_be_written_through_proc() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("self-exe");
    bundle.change(|spec| {
        spec["root"]["readonly"] = false.into();
        // As much as a container may have without being the host.
        let all = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_KILL"];
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = all.to_vec().into();
        }
        spec["process"]["noNewPrivileges"] = false.into();
    });
    let before = fs::read(binary()).unwrap();
    bundle.script(ATTACK).create();
    bundle.ok(&["start", &bundle.id]);
    // A script whose interpreter is the runtime itself: it runs inside, long enough to be caught.
    let script = bundle.path.join("rootfs/bin/evil");
    fs::write(&script, "#!/proc/self/exe events\n").unwrap();
    let mut mode = fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    fs::set_permissions(&script, mode).unwrap();
    for _ in 0..60 {
        let _ = bundle.tare(&["exec", &bundle.id, "/bin/evil"]);
        let _ = bundle.tare(&["exec", &bundle.id, "/bin/true"]);
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(fs::read(binary()).unwrap() == before, "the runtime's binary was changed");
    let said = fs::read_to_string(bundle.path.join("rootfs/data")).unwrap();
    assert!(!said.contains("written"), "{said}");
}

#[test]
fn the_command_runs_from_a_sealed_place() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("seal");
    // Through the kernel's own answer: the program's interpreter line runs the runtime in the container, whose
    // binary is then not a path of the host that could be opened for writing.
    bundle.script("exec sleep 1000").create();
    let pid: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    let exe = format!("/proc/{}/exe", pid["pid"]);
    // The first process waits before its program: it still is the runtime.
    let error = fs::OpenOptions::new().write(true).open(&exe).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(26 | 30)), "{error}");
    let mounted = rustix::fs::statvfs(exe.as_str()).unwrap();
    assert!(mounted.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}
