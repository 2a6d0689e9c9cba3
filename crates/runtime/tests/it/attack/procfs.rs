//! CVE-2025-52881, CVE-2019-16884, CVE-2019-19921 and their kin: what the runtime takes for procfs.

use super::{Racer, STARTS, bind};
use crate::bundle::{Bundle, able};
use std::{fs, os::unix::fs::symlink, path::Path};
use tare_types::spec::{Mount, Spec};

/// CVE-2025-52881 and CVE-2019-16884: what is at `/proc` is not procfs when kernel parameters are written.
#[test]
fn kernel_parameters_go_to_the_kernel() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("false-proc");
    let fake = bundle.path.join("fake");
    fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
    fs::create_dir_all(fake.join("self")).unwrap();
    fs::write(fake.join("victim"), "untouched").unwrap();
    symlink("../../../victim", fake.join("sys/net/ipv4/ip_default_ttl")).unwrap();
    let spec = bundle.spec("cat /real/sys/net/ipv4/ip_default_ttl", |spec| {
        spec.mounts.retain(|mount| mount.destination != "/proc");
        spec.mounts.push(bind(&fake, "/proc"));
        spec.mounts.push(Mount {
            destination: "/real".into(),
            kind: "proc".into(),
            source: "proc".into(),
            ..Mount::default()
        });
        let linux = spec.linux.as_mut().unwrap();
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        linux.sysctl.insert("net.ipv4.ip_default_ttl".into(), "43".into());
    });
    let (_, text) = bundle.run(&spec).unwrap();
    assert_eq!(text, "43\n");
    assert_eq!(fs::read_to_string(fake.join("victim")).unwrap(), "untouched");
}

/// CVE-2019-19921, CVE-2023-27561 and CVE-2023-28642: `/proc` or `/sys` of the image is a link.
#[test]
fn procfs_is_not_mounted_over_a_link() {
    if !able() {
        return;
    }
    for name in ["proc", "sys"] {
        let bundle = Bundle::new("proc-link");
        let rootfs = bundle.path.join("rootfs");
        fs::create_dir(rootfs.join("elsewhere")).unwrap();
        fs::remove_dir(rootfs.join(name)).unwrap();
        symlink("/elsewhere", rootfs.join(name)).unwrap();
        let error = bundle.run(&bundle.spec("true", |_| {})).unwrap_err();
        assert!(error.to_string().contains(&format!("/{name}")), "{error}");
        drop(bundle);
    }
}

/// A tree that looks like procfs and whose files are links to what the attacker wants written.
fn false_procfs(at: &Path) {
    for dir in ["sys/net/ipv4", "sys/kernel", "self/attr", "thread-self/attr"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::write(at.join("victim"), "untouched").unwrap();
    for (link, to) in [
        ("sys/net/ipv4/ip_default_ttl", "../../../victim"),
        ("self/attr/exec", "../../victim"),
        ("thread-self/attr/exec", "../../victim"),
    ] {
        symlink(to, at.join(link)).unwrap();
    }
}

fn with_parameter(bundle: &Bundle) -> Spec {
    bundle.spec("cat /proc/sys/net/ipv4/ip_default_ttl", |spec| {
        let linux = spec.linux.as_mut().unwrap();
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        linux.sysctl.insert("net.ipv4.ip_default_ttl".into(), "43".into());
    })
}

/// The parameter either reached the kernel, or the container did not start.
fn storm(bundle: &Bundle, spec: &Spec, victim: &Path) -> (usize, usize) {
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..STARTS {
        match bundle.run(spec) {
            // What its program sees at /proc is the attacker's by now; the kernel was told before.
            Ok((_, text)) => {
                assert!(text == "43\n" || text == "untouched" || text.contains("No such file"), "{text}");
                ran += 1;
            }
            Err(_) => refused += 1,
        }
        assert_eq!(fs::read_to_string(victim).unwrap(), "untouched", "a write was redirected");
    }
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), host);
    (ran, refused)
}

/// The image's `/proc` changes between the mount point and a tree of links while parameters are written.
#[test]
fn parameters_are_not_redirected_by_renames() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-proc");
    let rootfs = bundle.path.join("rootfs");
    false_procfs(&rootfs.join("false"));
    let spec = with_parameter(&bundle);
    let racer = Racer::exchange(rootfs.join("proc"), rootfs.join("false"));
    // The victim has two names in turn; a hard link keeps one that stays.
    let victim = bundle.path.join("victim");
    for name in ["false", "proc"] {
        if fs::hard_link(rootfs.join(name).join("victim"), &victim).is_ok() {
            break;
        }
    }
    let (ran, _) = storm(&bundle, &spec, &victim);
    drop(racer);
    assert!(ran > 0);
}

/// Another container mounts over `/proc` and `/proc/sys` of a tree that both share, whose mounts spread.
#[test]
fn parameters_are_not_redirected_by_mounts() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-mounts");
    // Mounts of this thread and of those it starts; nothing reaches the host.
    tare_sys::mountns::unshare_private().unwrap();
    let rootfs = bundle.path.join("rootfs");
    let path = rootfs.to_str().unwrap().to_string();
    rustix::mount::mount_bind(path.as_str(), path.as_str()).unwrap();
    let shared = rustix::mount::MountPropagationFlags::SHARED;
    rustix::mount::mount_change(path.as_str(), shared).unwrap();
    let fake = bundle.path.join("fake");
    false_procfs(&fake);
    let spec = with_parameter(&bundle);
    let (source, target) = (fake.clone(), rootfs.join("proc"));
    let racer = Racer::repeat(move || {
        let mounted = rustix::mount::mount_bind(&source, &target).is_ok();
        let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
        mounted
    });
    let (ran, _) = storm(&bundle, &spec, &fake.join("victim"));
    drop(racer);
    while rustix::mount::unmount(rootfs.join("proc"), rustix::mount::UnmountFlags::DETACH).is_ok() {}
    rustix::mount::unmount(path.as_str(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(ran > 0);
}
