//! The escapes of the past, tried. Each test is named after its CVE; what must not happen is looked for on the host.

use crate::bundle::{Bundle, able};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs,
    os::fd::AsFd,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use tare_runtime::{ExecOptions, Exit, Gate, Io};
use tare_types::spec::{Mount, Process, Spec};

fn bind(source: &Path, destination: &str) -> Mount {
    Mount {
        destination: destination.to_string(),
        kind: "bind".to_string(),
        source: source.to_str().unwrap().to_string(),
        options: vec!["rbind".to_string(), "rw".to_string()],
        ..Mount::default()
    }
}

/// A file of the host that an escape would change, outside of the container's root.
fn victim(bundle: &Bundle) -> std::path::PathBuf {
    let directory = bundle.path.join("victim");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("secret"), "untouched").unwrap();
    directory
}

fn check(victim: &Path) {
    assert_eq!(fs::read_to_string(victim.join("secret")).unwrap(), "untouched");
    let names: Vec<_> = fs::read_dir(victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"], "something was made on the host");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(victim.to_str().unwrap()), "something was mounted on the host");
}

/// The host's program is never reachable from inside, neither as the container's own program nor while execs enter.
#[test]
fn cve_2019_5736_the_runtime_s_program_is_out_of_reach() {
    if !able() {
        return;
    }
    // As the shim and the command do with their first line: a child is a copy of this process until its execve.
    tare_sys::process::set_not_dumpable().unwrap();
    let bundle = Bundle::new("a5736");
    // The sizes and numbers of what runs: everything must be the container's busybox.
    let script = "own=$(stat -L -c %d:%i /bin/busybox); echo ready; i=0; while [ ! -e /tmp/stop ]; do \
        for p in /proc/[0-9]*; do e=$(stat -L -c %d:%i $p/exe 2>/dev/null) || continue; \
        [ \"$e\" = \"$own\" ] || echo LEAK $p $e; done; done; echo end";
    let spec = bundle.spec(script, |_| {});
    let (read, write) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let io = Io::Streams { stdin: null.as_fd(), stdout: write.as_fd(), stderr: write.as_fd() };
    let (mut container, process) = bundle.create(&spec, io, Gate::Pipe).unwrap();
    drop(write);
    container.start().unwrap();
    let exec = Process { args: vec!["true".to_string()], ..spec.process.clone().unwrap() };
    for _ in 0..40 {
        let io = Io::Streams { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() };
        let options = ExecOptions { process: &exec, io, keep_fds: 0, cgroup: None, ignore_paused: false };
        assert_eq!(container.exec(&options).unwrap().wait().unwrap(), Exit::Code(0));
    }
    fs::write(bundle.path.join("rootfs/tmp/stop"), "").unwrap();
    let text = std::io::read_to_string(read).unwrap();
    process.wait().unwrap();
    container.delete(true).unwrap();
    assert!(text.ends_with("end\n") && !text.contains("LEAK"), "{text}");
}

/// A link on the way to a mount target leads to the host when it is followed by path.
#[test]
fn cve_2019_18837_links_in_the_image_do_not_lead_out() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a18837");
    let victim = victim(&bundle);
    let source = bundle.path.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("evil"), "evil").unwrap();
    let rootfs = bundle.path.join("rootfs");
    symlink(&victim, rootfs.join("absolute")).unwrap();
    symlink("../victim", rootfs.join("relative")).unwrap();
    symlink("../../../../../../../../../../..", rootfs.join("far")).unwrap();
    let far = format!("/far{}", victim.display());
    for target in ["/absolute", "/relative/new", "/absolute/deep/er", far.as_str()] {
        let spec = bundle.spec("true", |spec| spec.mounts.push(bind(&source, target)));
        // Inside the root the links mean other places; whether these can be made does not matter here.
        let outcome = bundle.run(&spec);
        check(&victim);
        drop(outcome);
    }
}

/// The device directory of the image is a link to the host's.
#[test]
fn cve_2026_41579_dev_of_the_image_is_a_link() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a41579");
    let victim = victim(&bundle);
    let rootfs = bundle.path.join("rootfs");
    for name in ["dev", "proc", "sys"] {
        fs::remove_dir(rootfs.join(name)).unwrap();
        symlink(&victim, rootfs.join(name)).unwrap();
        let outcome = bundle.run(&bundle.spec("true", |_| {}));
        check(&victim);
        drop(outcome);
        fs::remove_file(rootfs.join(name)).unwrap();
        fs::create_dir(rootfs.join(name)).unwrap();
    }
}

/// Whoever shares a volume exchanges a directory and a link while mounts are made.
#[test]
fn cve_2021_30465_targets_exchanged_while_they_are_mounted() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a30465");
    let victim = victim(&bundle);
    let (source, volume) = (bundle.path.join("source"), bundle.path.join("volume"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("evil"), "evil").unwrap();
    fs::create_dir_all(volume.join("target")).unwrap();
    symlink(&victim, volume.join("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (target, link) = (volume.join("target"), volume.join("link"));
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &target, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..40 {
            let spec = bundle.spec("true", |spec| {
                spec.mounts.push(bind(&volume, "/volume"));
                spec.mounts.push(bind(&source, "/volume/target"));
            });
            drop(bundle.run(&spec));
        }
        stop.store(true, Ordering::Relaxed);
    });
    check(&victim);
}

/// A working directory that is a descriptor of the runtime would be a directory of the host.
#[test]
fn cve_2024_21626_no_descriptor_of_the_host_is_left() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a21626");
    let text = bundle.output("ls /proc/self/fd | busybox tr '\\n' ' '");
    assert_eq!(text, "0 1 2 3 ", "3 is the list's own");
    for number in 3..40 {
        let spec = bundle.spec("busybox readlink /proc/self/cwd; ls -a ../../../..", |spec| {
            spec.process.as_mut().unwrap().cwd = format!("/proc/self/fd/{number}");
        });
        if let Ok((exit, text)) = bundle.run(&spec) {
            let outside = exit == Exit::Code(0) && !(text.starts_with("/\n") || text.starts_with("/proc"));
            assert!(!outside, "descriptor {number}: {text}");
        }
    }
}

/// Masks are made of /dev/null; where the image controls /dev that name may be a link.
#[test]
fn cve_2025_31133_null_is_a_link() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a31133");
    let device = bundle.path.join("device");
    for directory in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(device.join(directory)).unwrap();
    }
    symlink("/proc/sys/kernel/core_pattern", device.join("null")).unwrap();
    let spec = bundle.spec("stat -c %F /proc/kcore /proc/keys; cat /proc/kcore", |spec| {
        spec.mounts.retain(|mount| mount.destination != "/dev");
        spec.mounts.insert(0, bind(&device, "/dev"));
    });
    if let Ok((_, text)) = bundle.run(&spec) {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        assert!(!text.contains(pattern.trim()), "{text}");
        assert!(text.starts_with("character special file\ncharacter special file\n"), "{text}");
    }
    assert!(fs::symlink_metadata(device.join("null")).is_ok());
}

/// The console is bound over /dev/console; a link there or in /dev/pts must not choose the file.
#[test]
fn cve_2025_52565_console_is_a_link() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a52565");
    let victim = victim(&bundle);
    let device = bundle.path.join("device");
    for directory in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(device.join(directory)).unwrap();
    }
    symlink(victim.join("secret"), device.join("console")).unwrap();
    symlink("/proc/sysrq-trigger", device.join("pts/0")).unwrap();
    let spec = bundle.spec("echo escaped > /dev/console", |spec: &mut Spec| {
        spec.process.as_mut().unwrap().terminal = true;
        spec.mounts.retain(|mount| mount.destination != "/dev");
        spec.mounts.insert(0, bind(&device, "/dev"));
    });
    if let Ok((mut container, process)) = bundle.create(&spec, Io::Console, Gate::Pipe) {
        let started = container.start();
        drop(process.console);
        let _ = container.kill(9);
        drop(started);
        container.delete(true).unwrap();
    }
    check(&victim);
}

/// Writes to /proc (kernel parameters) must reach the real file, whatever is mounted in the container's /proc.
#[test]
fn cve_2025_52881_kernel_parameters_are_not_redirected() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("a52881");
    let fake = bundle.path.join("fake");
    fs::create_dir_all(fake.join("net/ipv4")).unwrap();
    fs::write(fake.join("net/ipv4/ip_forward"), "untouched").unwrap();
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    for destination in ["/proc/sys", "/proc", "/proc/self/attr"] {
        let spec = bundle.spec("cat /proc/sys/net/ipv4/ip_forward", |spec| {
            spec.linux.as_mut().unwrap().sysctl.insert("net.ipv4.ip_forward".to_string(), "1".to_string());
            spec.mounts.push(bind(&fake, destination));
        });
        // Refusing such a mount is as good.
        drop(bundle.run(&spec));
        assert_eq!(
            fs::read_to_string(fake.join("net/ipv4/ip_forward")).unwrap(),
            "untouched",
            "{destination}"
        );
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), host, "{destination}");
    }
}
