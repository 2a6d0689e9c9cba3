//! What a container may do: its filter, limits, devices and capabilities, seen from inside.

use crate::bundle::{Bundle, able};
use tare_runtime::Exit;
use tare_testkit::skip;
use tare_types::spec::{LinuxCapabilities, LinuxPids, LinuxSeccomp, LinuxSyscall, Spec};
use tare_types::specgen::{DEFAULT_CAPABILITIES, NativeArch, default_seccomp};

fn grant(spec: &mut Spec, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
    let process = spec.process.as_mut().unwrap();
    process.no_new_privileges = false;
    process.capabilities = Some(LinuxCapabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names.clone(),
        ..LinuxCapabilities::default()
    });
    let linux = spec.linux.as_mut().unwrap();
    linux.seccomp = Some(default_seccomp(&names, NativeArch::CURRENT).into());
}

#[test]
fn docker_s_default_profile_runs_programs_and_refuses_the_rest() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("seccomp");
    let script = "cat /proc/self/status | busybox grep Seccomp:; busybox unshare -m true 2>&1; \
        busybox date -s 2001-01-01 2>&1; busybox chroot / busybox echo chrooted";
    let spec = bundle.spec(script, |spec| grant(spec, &DEFAULT_CAPABILITIES));
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert!(text.contains("Seccomp:\t2"), "{text}");
    assert!(text.contains("unshare") && text.contains("Operation not permitted"), "{text}");
    assert!(text.contains("chrooted"), "{text}");
    // With the privilege the profile opens the call.
    let mut more = DEFAULT_CAPABILITIES.to_vec();
    more.push("CAP_SYS_ADMIN");
    let spec = bundle.spec("busybox unshare -m busybox echo unshared", |spec| grant(spec, &more));
    assert_eq!(bundle.run(&spec).unwrap().1, "unshared\n");
}

#[test]
fn a_filter_may_kill() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("seccompkill");
    let spec = bundle.spec("echo before; busybox mkdir /tmp/x; echo after $?", |spec| {
        let kill = LinuxSyscall {
            names: vec!["mkdir".to_string(), "mkdirat".to_string()],
            action: "SCMP_ACT_KILL_PROCESS".to_string(),
            ..LinuxSyscall::default()
        };
        spec.linux.as_mut().unwrap().seccomp = Some(Box::new(LinuxSeccomp {
            default_action: "SCMP_ACT_ALLOW".to_string(),
            syscalls: vec![kill],
            ..LinuxSeccomp::default()
        }));
    });
    let (_, text) = bundle.run(&spec).unwrap();
    // 128 and SIGSYS.
    assert!(text.starts_with("before\n") && text.ends_with("after 159\n"), "{text}");
}

#[test]
fn a_fork_bomb_meets_its_limit() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("forks");
    let script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; busybox kill -9 -1; echo done";
    let spec = bundle.spec(script, |spec| {
        spec.linux.as_mut().unwrap().resources.as_mut().unwrap().pids = Some(LinuxPids { limit: Some(10) });
    });
    let (exit, text) = bundle.run(&spec).unwrap();
    assert!(exit != Exit::Code(0) || text.contains("fork"), "{exit:?} {text}");
    assert!(text.contains("fork"), "{text}");
}

#[test]
fn devices_of_the_host_stay_closed() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("devices");
    let script = "busybox mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg; busybox mknod /tmp/null c 1 3 && echo x > /tmp/null && echo fine";
    let spec = bundle.spec(script, |spec| grant(spec, &DEFAULT_CAPABILITIES));
    let (_, text) = bundle.run(&spec).unwrap();
    assert!(text.contains("Operation not permitted") && text.contains("fine"), "{text}");
}

#[test]
fn capabilities_are_exactly_those_granted() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("caps");
    let spec =
        bundle.spec("busybox grep Cap /proc/self/status", |spec| grant(spec, &["CAP_CHOWN", "CAP_KILL"]));
    let (_, text) = bundle.run(&spec).unwrap();
    let set = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    assert_eq!(
        (set("CapBnd"), set("CapEff"), set("CapPrm"), set("CapInh"), set("CapAmb")),
        (0x21, 0x21, 0x21, 0, 0)
    );
}

/// Shares that nobody would grant are refused, and nothing stays behind.
#[test]
fn shares_of_caches_need_resctrl() {
    if !able() {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !skip::needs(&[(!mounts.contains(" - resctrl "), "a host without resctrl, to see the refusal")]) {
        return;
    }
    let bundle = Bundle::new("rdt");
    let spec = bundle.spec("echo ran", |spec| {
        spec.linux.as_mut().unwrap().intel_rdt = Some(Default::default());
    });
    let error = bundle.run(&spec).unwrap_err().to_string();
    assert!(error.contains("linux.intelRdt") && error.contains("not enabled"), "{error}");
}
