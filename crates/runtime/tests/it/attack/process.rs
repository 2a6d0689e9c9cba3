//! What a configuration or a joining process tries to get by values: capabilities, sizes, parameters, timing.

use crate::bundle::{Bundle, able};
use crate::lifecycle::{exec, shell, sleeping};
use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};
use tare_runtime::{Exit, Gate};
use tare_types::spec::{LinuxIdMapping, LinuxNamespace};

/// CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: what joins a container has nothing inheritable either.
#[test]
fn joined_processes_inherit_no_capabilities() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("inherit-exec");
    let (mut container, first) = sleeping(&bundle, Gate::Pipe);
    let (_, text) = exec(&container, &shell(&bundle, "grep -E 'CapInh|CapAmb' /proc/self/status")).unwrap();
    assert_eq!(text, "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
    container.kill(9).unwrap();
    first.wait().unwrap();
    container.delete(true).unwrap();
}

/// CVE-2021-43784: a length that overflowed on the way to the child let the image's bytes be read as namespaces and
/// mappings. Large values arrive whole, or are refused by name.
#[test]
fn large_values_arrive_whole_or_are_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("large");
    let value = "x".repeat(100_000);
    let spec = bundle.spec("echo ${#A} $# ${#1}; cat /proc/self/uid_map | head -1", |spec| {
        let process = spec.process.as_mut().unwrap();
        process.env.push(format!("A={value}"));
        process.args.extend(["sh".into(), value.clone()]);
        process.user.additional_gids = (0..60_000).collect();
        for number in 0..2_000 {
            spec.annotations.insert(format!("org.example.{number}"), value[..100].into());
        }
    });
    let (exit, text) = bundle.run(&spec).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert!(text.starts_with("100000 1 100000\n"), "{}", &text[..text.len().min(200)]);
    // One more than the kernel takes (user_namespaces(7)).
    let maps: Vec<_> = (0..341)
        .map(|number| LinuxIdMapping { container_id: number, host_id: 100_000 + 2 * number, size: 1 })
        .collect();
    let spec = bundle.spec("true", |spec| {
        let linux = spec.linux.as_mut().unwrap();
        linux.namespaces.push(LinuxNamespace { kind: "user".into(), path: String::new() });
        linux.uid_mappings = maps.clone();
        linux.gid_mappings = maps.clone();
    });
    let error = bundle.run(&spec).unwrap_err().to_string();
    assert!(error.contains("map"), "{error}");
    assert!(bundle.runtime.list().unwrap().is_empty());
}

/// CVE-2022-0811 (cr8escape) and its kin: a parameter's value is one value, its name one of the container's own.
#[test]
fn a_parameter_does_not_carry_another() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("sysctl");
    let host = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for (name, value) in [
        ("net.ipv4.ip_default_ttl", "43+kernel.core_pattern=|/evil"),
        ("net.ipv4.ip_default_ttl", "43\nkernel.core_pattern=|/evil"),
        ("net.ipv4.../../kernel/core_pattern", "|/evil"),
        ("net/ipv4/../../kernel/core_pattern", "|/evil"),
        ("kernel.core_pattern", "|/evil"),
        ("kernel/core_pattern", "|/evil"),
        ("kernel.shm_rmid_forced/../core_pattern", "|/evil"),
        ("fs.mqueue.../../kernel/core_pattern", "|/evil"),
    ] {
        let spec = bundle.spec("true", |spec| {
            spec.linux.as_mut().unwrap().sysctl.insert(name.into(), value.into());
        });
        let outcome = bundle.run(&spec);
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), host, "{name}={value:?}");
        // The kernel reads a number and stops at the white space after it.
        assert!(outcome.is_err() || value.contains('\n'), "{name}={value:?} was accepted");
    }
}

/// CVE-2025-24965: what the runtime writes, it never writes into the image. The tree is as before, and a link in it
/// that leads to the host has led nobody.
#[test]
fn nothing_is_written_into_the_image() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("written");
    let rootfs = bundle.path.join("rootfs");
    let victim = bundle.path.join("victim");
    fs::write(&victim, "untouched").unwrap();
    for name in [".krun_config.json", "etc/mtab", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev/null"]
    {
        symlink(&victim, rootfs.join(name)).unwrap();
    }
    let names = || {
        let mut names = Vec::new();
        let mut rest = vec![rootfs.clone()];
        while let Some(directory) = rest.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let meta = entry.metadata().unwrap();
                names.push((entry.path(), meta.len(), meta.modified().unwrap()));
                if meta.is_dir() {
                    rest.push(entry.path());
                }
            }
        }
        names.sort();
        names
    };
    let before = names();
    bundle.output("true");
    assert_eq!(names(), before);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

/// runc 404181e4c: a process that ends before its end is waited for was waited for in vain.
#[test]
fn the_end_of_short_processes_is_not_missed() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("short");
    let (mut container, first) = sleeping(&bundle, Gate::Pipe);
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (container, mut process) = (&container, shell(&bundle, ""));
            scope.spawn(move || {
                for number in 0..25 {
                    let code = worker * 25 + number;
                    process.args = ["sh", "-c", &format!("exit {code}")].map(String::from).to_vec();
                    let (exit, _) = exec(container, &process).unwrap();
                    assert_eq!(exit, Exit::Code(code));
                    assert!(Instant::now() < deadline, "a process was waited for in vain");
                }
            });
        }
    });
    container.kill(9).unwrap();
    first.wait().unwrap();
    container.delete(true).unwrap();
}
