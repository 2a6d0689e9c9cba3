//! CVE-2024-21626: the working directory as a way to a descriptor of the host.

use super::Racer;
use crate::{
    bundle::{Bundle, able},
    lifecycle::{exec, shell, sleeping},
};
use std::{fs, os::unix::fs::symlink};
use tare_runtime::Gate;

/// Descriptors of the runtime, and other ways out by procfs's magic links.
fn attempts() -> impl Iterator<Item = String> {
    let more =
        ["/proc/self/cwd", "/proc/self/root/..", "/link", "/link/../../..", "/proc/1/root", "/dev/fd/8"];
    (0..40).map(|fd| format!("/proc/self/fd/{fd}")).chain(more.map(String::from))
}

/// Prints the host's files if the directory is outside of the root.
const LOOK: &str = "ls -d /home /proc/self/cwd/../../../../home; ls ../../../../etc/debian_version; pwd -P";

fn check(cwd: &str, outcome: tare_runtime::Result<(tare_runtime::Exit, String)>) {
    let Ok((_, text)) = outcome else { return };
    let outside = text.lines().any(|line| line.ends_with("/home") || line.ends_with("/debian_version"));
    // A number that is a directory of the container's own is harmless.
    assert!(!outside && !text.contains("unreachable"), "{cwd}: {text}");
}

#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("cwd-fd");
    symlink("/proc/self/fd/6", bundle.path.join("rootfs/link")).unwrap();
    for cwd in attempts() {
        let spec = bundle.spec(LOOK, |spec| spec.process.as_mut().unwrap().cwd.clone_from(&cwd));
        check(&cwd, bundle.run(&spec));
    }
}

#[test]
fn a_joining_process_gets_no_directory_of_the_host() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("cwd-exec");
    symlink("/proc/self/fd/6", bundle.path.join("rootfs/link")).unwrap();
    let (mut container, first) = sleeping(&bundle, Gate::Pipe);
    for cwd in attempts() {
        let mut process = shell(&bundle, LOOK);
        process.cwd.clone_from(&cwd);
        check(&cwd, exec(&container, &process));
    }
    container.kill(9).unwrap();
    first.wait().unwrap();
    container.delete(true).unwrap();
}

/// The name changes between a directory of the image and a link to a descriptor while processes join.
#[test]
fn a_directory_that_becomes_a_descriptor_is_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("cwd-race");
    let rootfs = bundle.path.join("rootfs");
    fs::create_dir(rootfs.join("place")).unwrap();
    // No process has this one: whoever follows the link is refused.
    symlink("/proc/self/fd/300", rootfs.join("link")).unwrap();
    let (mut container, first) = sleeping(&bundle, Gate::Pipe);
    let racer = Racer::exchange(rootfs.join("place"), rootfs.join("link"));
    let (mut joined, mut refused) = (0, 0);
    for _ in 0..super::STARTS {
        let mut process = shell(&bundle, LOOK);
        process.cwd = "/place".into();
        let outcome = exec(&container, &process);
        *(if outcome.is_ok() { &mut joined } else { &mut refused }) += 1;
        check("/place", outcome);
    }
    drop(racer);
    assert!(joined > 0 && refused > 0, "{joined} joined, {refused} refused: the race did not happen");
    container.kill(9).unwrap();
    first.wait().unwrap();
    container.delete(true).unwrap();
}
