//! CVE-2025-52565 and CVE-2026-88264: the terminal's device, and `/dev/console` that it is bound to.

use super::{Racer, STARTS, bind};
use crate::bundle::{Bundle, able};
use std::{fs, os::unix::fs::symlink};
use tare_runtime::{Gate, Io};
use tare_types::spec::Spec;

#[test]
fn a_false_terminal_is_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("console");
    let pts = bundle.path.join("pts");
    fs::create_dir(&pts).unwrap();
    for link in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/dev/null"] {
        let _ = fs::remove_file(pts.join("ptmx"));
        symlink(link, pts.join("ptmx")).unwrap();
        let spec = bundle.spec("cat /proc/mounts", |spec| {
            spec.process.as_mut().unwrap().terminal = true;
            spec.mounts.retain(|mount| mount.destination != "/dev/pts");
            spec.mounts.push(bind(&pts, "/dev/pts"));
        });
        let error = bundle.create(&spec, Io::Console, Gate::Pipe).unwrap_err();
        assert!(error.to_string().contains("console"), "{error}");
    }
    // `/dev/console` of the image is on the root, below the container's own /dev: it is never reached.
    let rootfs = bundle.path.join("rootfs");
    symlink("/etc/passwd", rootfs.join("dev/console")).unwrap();
    let before = fs::read(rootfs.join("etc/passwd")).unwrap();
    let spec =
        bundle.spec("echo out; cat /proc/mounts", |spec| spec.process.as_mut().unwrap().terminal = true);
    let (mut container, process) = bundle.create(&spec, Io::Console, Gate::Pipe).unwrap();
    container.start().unwrap();
    process.wait().unwrap();
    container.delete(true).unwrap();
    assert_eq!(fs::read(rootfs.join("etc/passwd")).unwrap(), before);
}

/// A container with a terminal whose `/dev` is a directory that the attacker shares.
fn shared_dev(bundle: &Bundle) -> Spec {
    let dev = bundle.path.join("dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    fs::create_dir_all(dev.join("shm")).unwrap();
    bundle.spec("cat /proc/mounts", |spec| {
        spec.process.as_mut().unwrap().terminal = true;
        let linux = spec.linux.as_mut().unwrap();
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        for mount in &mut spec.mounts {
            if mount.destination == "/dev" {
                *mount = bind(&dev, "/dev");
            }
        }
        spec.mounts.retain(|mount| mount.destination != "/dev/mqueue");
    })
}

/// Starts often; what starts must have its terminal at `/dev/console` and nowhere else.
fn storm(bundle: &Bundle, spec: &Spec) -> (usize, usize) {
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..STARTS {
        let Ok((mut container, process)) = bundle.create(spec, Io::Console, Gate::Pipe) else {
            refused += 1;
            continue;
        };
        // Before its program: what the set-up has mounted, as the kernel tells it.
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", process.pid)).unwrap();
        for line in mounts.lines().filter(|line| line.starts_with("devpts ")) {
            let place = line.split(' ').nth(1).unwrap();
            // A mount point that is renamed takes the mount along.
            let own = ["/dev/pts", "/dev/false", "/dev/console", "/dev/swap"].contains(&place);
            assert!(own, "the terminal was bound over {place}");
        }
        for line in mounts.lines().filter(|line| line.split(' ').nth(1) == Some("/dev/console")) {
            assert!(line.starts_with("devpts "), "/dev/console is {line}");
        }
        container.delete(true).unwrap();
        process.wait().unwrap();
        ran += 1;
    }
    (ran, refused)
}

#[test]
fn a_console_that_becomes_a_link_is_not_bound_over_other_files() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-console");
    let spec = shared_dev(&bundle);
    let dev = bundle.path.join("dev");
    fs::write(dev.join("console"), "").unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("swap")).unwrap();
    let racer = Racer::exchange(dev.join("console"), dev.join("swap"));
    let (ran, refused) = storm(&bundle, &spec);
    drop(racer);
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} refused: the race did not happen");
}

#[test]
fn terminals_that_become_links_are_not_used() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-pts");
    let spec = shared_dev(&bundle);
    let dev = bundle.path.join("dev");
    fs::write(dev.join("console"), "").unwrap();
    // What the attacker would have bound to /dev/console instead of a terminal.
    fs::create_dir(dev.join("false")).unwrap();
    for name in ["ptmx", "0", "1"] {
        symlink("/proc/sys/kernel/core_pattern", dev.join("false").join(name)).unwrap();
    }
    let racer = Racer::exchange(dev.join("pts"), dev.join("false"));
    let (ran, refused) = storm(&bundle, &spec);
    drop(racer);
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} refused: the race did not happen");
}
