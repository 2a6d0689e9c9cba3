//! D15: a security label that cannot be set is no container; one that is set holds, for joined processes too.
//!
//! CVE-2019-16884, CVE-2023-28642: the label's write was led elsewhere and the container ran without one.

use super::bind;
use crate::bundle::{Bundle, able};
use crate::lifecycle::{exec, shell};
use std::{fs, path::Path, process::Command};
use tare_runtime::{Exit, Gate, Io};
use tare_testkit::skip;
use tare_types::spec::Hook;

fn is_enabled() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y")
}

/// A profile in the kernel that forbids one file, until it is dropped.
struct Profile {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Profile {
    fn load(name: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = format!("tare-test-{}-{name}", std::process::id());
        let rules = "capability, file, signal, ptrace, mount, umount, network, unix, deny /secret r,";
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}\n");
        fs::write(file.path(), text).unwrap();
        let profile = Self { name, file };
        profile.parser("--replace");
        profile
    }

    fn parser(&self, action: &str) {
        let mut parser = Command::new("apparmor_parser");
        let status = parser.args(["--skip-cache", action]).arg(self.file.path()).status().unwrap();
        assert!(status.success(), "apparmor_parser {action}: {status}");
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

#[test]
fn a_label_that_cannot_be_set_is_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("no-label");
    let apparmor = bundle.spec("echo ran", |spec| {
        spec.process.as_mut().unwrap().apparmor_profile = "tare-there-is-no-such-profile".into();
    });
    let error = bundle.run(&apparmor).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("apparmor"), "{error}");
    let selinux = bundle.spec("echo ran", |spec| {
        spec.process.as_mut().unwrap().selinux_label = "system_u:system_r:container_t:s0".into();
    });
    let mounts = bundle.spec("echo ran", |spec| {
        spec.linux.as_mut().unwrap().mount_label = "system_u:object_r:container_file_t:s0:c1,c2".into();
    });
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        for (spec, object) in [(&selinux, "process.selinuxLabel"), (&mounts, "linux.mountLabel")] {
            let error = bundle.run(spec).unwrap_err().to_string();
            assert!(error.contains(object) && error.contains("selinux is disabled"), "{error}");
        }
    }
}

/// A hook before the change of root is a program of the host: what confines the container is not for it.
#[test]
fn a_profile_is_not_for_hooks_of_the_host() {
    if !able()
        || !skip::needs(&[
            (is_enabled(), "AppArmor in the kernel (make test-vm)"),
            (Path::new("/usr/sbin/apparmor_parser").exists(), "apparmor_parser (package apparmor)"),
        ])
    {
        return;
    }
    let profile = Profile::load("hooks");
    let bundle = Bundle::new("label-hooks");
    let seen = bundle.path.join("seen");
    let spec = bundle.spec("cat /proc/self/attr/current", |spec| {
        spec.process.as_mut().unwrap().apparmor_profile = profile.name.clone();
        let script = format!("cat /proc/self/attr/current > {}", seen.display());
        let args = ["sh", "-c", &script].map(String::from).into();
        let hook = Hook { path: "/bin/sh".into(), args, ..Hook::default() };
        spec.hooks.get_or_insert_default().create_container.push(hook);
    });
    let (_, text) = bundle.run(&spec).unwrap();
    assert!(text.starts_with(&profile.name), "{text}");
    let label = fs::read_to_string(&seen).unwrap();
    assert!(!label.contains(&profile.name), "{label}");
}

#[test]
fn a_profile_holds_for_first_and_joined_processes() {
    if !able()
        || !skip::needs(&[
            (is_enabled(), "AppArmor in the kernel (make test-vm)"),
            (Path::new("/usr/sbin/apparmor_parser").exists(), "apparmor_parser (package apparmor)"),
        ])
    {
        return;
    }
    let profile = Profile::load("holds");
    let bundle = Bundle::new("label");
    fs::write(bundle.path.join("rootfs/secret"), "told").unwrap();
    let script = "cat /proc/self/attr/current; cat /secret || echo denied";
    for no_new_privileges in [true, false] {
        let spec = bundle.spec(script, |spec| {
            let process = spec.process.as_mut().unwrap();
            process.apparmor_profile = profile.name.clone();
            process.no_new_privileges = no_new_privileges;
        });
        let (exit, text) = bundle.run(&spec).unwrap();
        assert_eq!(exit, Exit::Code(0), "{text}");
        assert!(text.starts_with(&format!("{} (enforce)\n", profile.name)), "{text}");
        assert!(text.contains("denied") && !text.contains("told"), "{text}");
    }
    let spec = bundle.spec("sleep 1000", |_| {});
    let null = fs::File::open("/dev/null").unwrap();
    let null = std::os::fd::AsFd::as_fd(&null);
    let io = Io::Streams { stdin: null, stdout: null, stderr: null };
    let (mut container, first) = bundle.create(&spec, io, Gate::Pipe).unwrap();
    container.start().unwrap();
    let mut process = shell(&bundle, script);
    process.apparmor_profile = profile.name.clone();
    let (_, text) = exec(&container, &process).unwrap();
    assert!(text.starts_with(&profile.name) && text.contains("denied"), "{text}");
    container.kill(9).unwrap();
    first.wait().unwrap();
    container.delete(true).unwrap();
}

/// The original: something that is no procfs is at `/proc` when the label is written.
#[test]
fn a_false_procfs_does_not_swallow_the_label() {
    if !able() || !skip::needs(&[(is_enabled(), "AppArmor in the kernel (make test-vm)")]) {
        return;
    }
    let profile = Profile::load("swallow");
    let bundle = Bundle::new("label-false");
    let fake = bundle.path.join("fake");
    for directory in ["self/attr", "thread-self/attr"] {
        fs::create_dir_all(fake.join(directory)).unwrap();
        fs::write(fake.join(directory).join("exec"), "").unwrap();
    }
    fs::write(bundle.path.join("rootfs/secret"), "told").unwrap();
    let spec = bundle.spec("cat /secret || echo denied", |spec| {
        spec.process.as_mut().unwrap().apparmor_profile = profile.name.clone();
        spec.mounts.retain(|mount| mount.destination != "/proc");
        spec.mounts.push(bind(&fake, "/proc"));
        let linux = spec.linux.as_mut().unwrap();
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
    });
    let (_, text) = bundle.run(&spec).unwrap();
    assert!(text.contains("denied") && !text.contains("told"), "{text}");
    for directory in ["self/attr", "thread-self/attr"] {
        assert_eq!(fs::read_to_string(fake.join(directory).join("exec")).unwrap(), "");
    }
}
