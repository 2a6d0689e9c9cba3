//! What a process sees and may do.

use crate::bundle::{Bundle, able};
use std::{fs, os::unix::fs::MetadataExt};
use tare_runtime::Exit;
use tare_types::spec::{
    LinuxCapabilities, LinuxDevice, LinuxIdMapping, LinuxMemory, LinuxNamespace, LinuxPids, LinuxResources,
    LinuxSeccomp, LinuxSyscall, Mount, PosixRlimit,
};

fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        source: source.into(),
        destination: destination.into(),
        kind: "bind".into(),
        options: options.iter().map(|option| (*option).into()).collect(),
        ..Mount::default()
    }
}

#[test]
fn the_root_is_another_one() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("root");
    let text = bundle.output("ls /; cat /proc/1/comm; ls /dev; cat /proc/mounts; ls /proc/1/fd");
    assert!(text.contains("sh") && text.contains("urandom") && text.contains("ptmx"), "{text}");
    // Nothing of the host's tree is mounted: the old root is detached.
    assert!(!text.contains(" /home") && !text.contains(" /srv"), "{text}");
    let masked = bundle.output("cat /proc/timer_list /proc/keys; ls /sys/firmware /proc/acpi; echo end");
    assert_eq!(masked, "/proc/acpi:\n\n/sys/firmware:\nend\n");
    for script in ["echo 1 > /proc/sys/kernel/sysrq", "echo b > /proc/sysrq-trigger", "touch /sys/x"] {
        let (exit, text) = bundle.run(&bundle.spec(script, |_| {})).unwrap();
        assert_ne!(exit, Exit::Code(0), "{script}: {text}");
    }
}

#[test]
fn identity_limits_and_capabilities() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("identity");
    let script = "id; umask; grep -E 'Cap(Bnd|Eff|Inh|Amb)|NoNewPrivs|Groups' /proc/self/status; ulimit -n; \
                  cat /proc/self/oom_score_adj; pwd; cat /proc/self/limits | grep 'open files'";
    let spec = bundle.spec(script, |spec| {
        let process = spec.process.as_mut().unwrap();
        process.user.uid = 1000;
        process.user.gid = 1001;
        process.user.additional_gids = vec![44, 1001];
        process.user.umask = Some(0o027);
        process.cwd = "/made/here".into();
        process.oom_score_adj = Some(77);
        process.no_new_privileges = true;
        process.rlimits = vec![PosixRlimit { kind: "RLIMIT_NOFILE".into(), hard: 99, soft: 88 }];
        let set = || vec!["CAP_CHOWN".to_string(), "CAP_KILL".to_string()];
        process.capabilities = Some(LinuxCapabilities {
            bounding: set(),
            effective: set(),
            permitted: set(),
            inheritable: vec!["CAP_KILL".into()],
            ambient: vec!["CAP_KILL".into()],
        });
    });
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    for wanted in [
        "uid=1000(user) gid=1001",
        "0027",
        "CapBnd:\t0000000000000021",
        "CapAmb:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "NoNewPrivs:\t1",
        "Groups:\t44 1001",
        "\n88\n",
        "\n77\n",
        "/made/here",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn binds_are_as_their_options_say() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("bind");
    let volume = bundle.path.join("volume");
    fs::create_dir_all(volume.join("sub")).unwrap();
    fs::write(volume.join("file"), "content").unwrap();
    let volume = volume.to_str().unwrap();
    let spec = bundle.spec(
        "cat /v/file /f; echo x > /w/new && ls /w; touch /v/no || touch /f || echo refused",
        |spec| {
            spec.mounts.push(bind(volume, "/v", &["rbind", "ro"]));
            spec.mounts.push(bind(volume, "/w/deep/er/../..", &["rbind", "rw"]));
            spec.mounts.push(bind(&format!("{volume}/file"), "/f", &["bind", "ro"]));
        },
    );
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert!(
        text.starts_with("contentcontent") && text.contains("new\n") && text.ends_with("refused\n"),
        "{text}"
    );
    let error = bundle
        .run(&bundle.spec("true", |spec| spec.mounts.push(bind("/nope", "/v", &["bind"]))))
        .unwrap_err();
    assert!(error.to_string().contains("/nope") && error.to_string().contains("no such file"), "{error}");
}

#[test]
fn tmpfs_copies_up_and_can_be_read_only() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("tmpfs");
    fs::create_dir_all(bundle.path.join("rootfs/data/sub")).unwrap();
    fs::write(bundle.path.join("rootfs/data/sub/file"), "below").unwrap();
    std::os::unix::fs::symlink("sub/file", bundle.path.join("rootfs/data/link")).unwrap();
    let spec = bundle.spec("cat /data/link; echo y > /data/new; touch /ro/x || echo refused", |spec| {
        let mount = |destination: &str, options: &[&str]| Mount {
            destination: destination.into(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options: options.iter().map(|option| (*option).into()).collect(),
            ..Mount::default()
        };
        spec.mounts.push(mount("/data", &["tmpcopyup", "size=1m"]));
        spec.mounts.push(mount("/ro", &["ro"]));
    });
    let (_, text) = bundle.run(&spec).unwrap();
    assert!(text.starts_with("below") && text.ends_with("refused\n"), "{text}");
    assert!(!bundle.path.join("rootfs/data/new").exists());
}

#[test]
fn devices_and_sysctls() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("device");
    let spec = bundle.spec(
        "stat -c '%t %T %a %u' /dev/x/fuse; cat /proc/sys/net/ipv4/ip_default_ttl; echo > /dev/null",
        |spec| {
            let linux = spec.linux.as_mut().unwrap();
            linux.devices.push(LinuxDevice {
                path: "/dev/x/fuse".into(),
                kind: "c".into(),
                major: 10,
                minor: 229,
                file_mode: Some(0o640),
                uid: Some(5),
                ..LinuxDevice::default()
            });
            linux.sysctl.insert("net.ipv4.ip_default_ttl".into(), "42".into());
        },
    );
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "a e5 640 5\n42\n"));
    let error = bundle
        .run(&bundle.spec("true", |spec| {
            spec.linux.as_mut().unwrap().sysctl.insert("kernel.core_pattern".into(), "|/x".into());
        }))
        .unwrap_err();
    assert!(error.to_string().contains("not in a separate kernel namespace"), "{error}");
}

#[test]
fn limits_hold() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("limits");
    let limited = |resources: LinuxResources, script: &str| {
        let spec =
            bundle.spec(script, |spec| spec.linux.as_mut().unwrap().resources = Some(resources.into()));
        bundle.run(&spec).unwrap()
    };
    let memory = LinuxMemory { limit: Some(16 << 20), swap: Some(16 << 20), ..LinuxMemory::default() };
    let resources = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    let (exit, _) = limited(resources, "a=x; while :; do a=$a$a; done");
    assert_eq!(exit, Exit::Signal(9), "the kernel kills at the limit");
    let resources = LinuxResources { pids: Some(LinuxPids { limit: Some(3) }), ..LinuxResources::default() };
    let (_, text) = limited(resources, "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & kill %1");
    assert!(text.contains("fork"), "{text}");
}

#[test]
fn seccomp_filters_first_and_joined_processes() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("seccomp");
    for no_new_privileges in [true, false] {
        let spec = bundle.spec("mount 2>&1; hostname other || echo refused; cat /proc/self/status", |spec| {
            let process = spec.process.as_mut().unwrap();
            process.no_new_privileges = no_new_privileges;
            let mut all = process.capabilities.clone().unwrap();
            for set in [&mut all.bounding, &mut all.effective, &mut all.permitted] {
                set.push("CAP_SYS_ADMIN".into());
            }
            process.capabilities = Some(all);
            spec.linux.as_mut().unwrap().seccomp = Some(Box::new(LinuxSeccomp {
                default_action: "SCMP_ACT_ALLOW".into(),
                syscalls: vec![LinuxSyscall {
                    names: vec!["sethostname".into()],
                    action: "SCMP_ACT_ERRNO".into(),
                    errno_ret: Some(1),
                    ..LinuxSyscall::default()
                }],
                ..LinuxSeccomp::default()
            }));
        });
        let (_, text) = bundle.run(&spec).unwrap();
        assert!(text.contains("refused") && text.contains("Seccomp:\t2"), "{text}");
    }
}

#[test]
fn user_namespaces_map() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("userns");
    let spec = bundle.spec(
        "id -u; cat /proc/self/uid_map; echo > /dev/null && ls /proc/self/exe; touch /tmp/made",
        |spec| {
            let linux = spec.linux.as_mut().unwrap();
            linux.namespaces.push(LinuxNamespace { kind: "user".into(), path: String::new() });
            let map = LinuxIdMapping { container_id: 0, host_id: 100_000, size: 65536 };
            linux.uid_mappings = vec![map];
            linux.gid_mappings = vec![map];
            spec.root.as_mut().unwrap().readonly = false;
        },
    );
    let rootfs = bundle.path.join("rootfs");
    for path in [&rootfs, &rootfs.join("tmp")] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert!(text.starts_with("0\n") && text.contains("100000"), "{text}");
    assert_eq!(fs::metadata(rootfs.join("tmp/made")).unwrap().uid(), 100_000);
}

#[test]
fn mounts_can_map_ids() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("idmap");
    let volume = bundle.path.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    let spec = bundle.spec("stat -c %u /v/file", |spec| {
        let map = LinuxIdMapping { container_id: 0, host_id: 4000, size: 1000 };
        let mut mount = bind(volume.to_str().unwrap(), "/v", &["bind", "idmap"]);
        mount.uid_mappings = vec![map];
        mount.gid_mappings = vec![map];
        spec.mounts.push(mount);
    });
    let (_, text) = bundle.run(&spec).unwrap();
    assert_eq!(text, "4000\n");
}

#[test]
fn namespaces_are_joined_by_path() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("join");
    let spec = bundle.spec("ls -l /proc/self/ns/net /proc/self/ns/ipc", |spec| {
        for namespace in &mut spec.linux.as_mut().unwrap().namespaces {
            if matches!(namespace.kind.as_str(), "network" | "ipc") {
                let file = if namespace.kind == "network" { "net" } else { "ipc" };
                namespace.path = format!("/proc/self/ns/{file}");
            }
        }
    });
    let (_, text) = bundle.run(&spec).unwrap();
    for name in ["net", "ipc"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(text.contains(own.to_str().unwrap()), "{name}: {text}");
    }
}

/// `/etc/resolv.conf` of many images is a link into a `/run` that is empty before the system starts.
#[test]
fn what_a_dangling_link_names_is_made_inside() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("dangling");
    let rootfs = bundle.path.join("rootfs");
    let outside = bundle.path.join("outside");
    let up = "../".repeat(20);
    let out = format!("{up}{}/file", outside.to_str().unwrap().trim_start_matches('/'));
    for (link, to) in [
        ("etc/resolv.conf", "/run/resolve/stub.conf"),
        ("jump", "/far/away"),
        ("etc/hosts", "../jump/below/hosts"),
        ("etc/out", out.as_str()),
        ("etc/loop", "loop2"),
        ("etc/loop2", "loop"),
    ] {
        std::os::unix::fs::symlink(to, rootfs.join(link)).unwrap();
    }
    let source = bundle.path.join("source");
    fs::write(&source, "found\n").unwrap();
    let script = "cat /run/resolve/stub.conf /far/away/below/hosts /etc/out";
    let spec = bundle.spec(script, |spec| {
        spec.root.as_mut().unwrap().readonly = false;
        for destination in ["/etc/resolv.conf", "/etc/hosts", "/etc/out"] {
            spec.mounts.push(bind(source.to_str().unwrap(), destination, &["bind"]));
        }
    });
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "found\nfound\nfound\n"));
    assert!(!outside.exists(), "something was made on the host");
    let spec = bundle.spec("true", |spec| {
        spec.root.as_mut().unwrap().readonly = false;
        spec.mounts.push(bind(source.to_str().unwrap(), "/etc/loop", &["bind"]));
    });
    assert!(bundle.run(&spec).is_err());
}
