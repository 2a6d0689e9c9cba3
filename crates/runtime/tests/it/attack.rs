//! The escapes of this field, tried with racers where the original was a race.

use crate::bundle::{Bundle, able};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tare_runtime::Exit;
use tare_types::spec::{Mount, Spec};

/// Starts per race. Each attempt of the originals won within a few hundred.
const STARTS: usize = 100;

/// Exchanges two names as fast as it can until it is dropped.
struct Racer {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn exchange(one: PathBuf, other: PathBuf) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), swaps.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                if rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, swaps, thread: Some(thread) }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        assert!(self.swaps.load(Ordering::Relaxed) > 0, "the racer never ran");
    }
}

fn bind(source: &Path, destination: &str) -> Mount {
    Mount {
        source: source.to_str().unwrap().into(),
        destination: destination.into(),
        kind: "bind".into(),
        options: vec!["rbind".into()],
        ..Mount::default()
    }
}

/// Runs often; what succeeded must have printed what `check` accepts.
fn storm(bundle: &Bundle, spec: &Spec, check: impl Fn(&str)) -> (usize, usize) {
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..STARTS {
        match bundle.run(spec) {
            Ok((Exit::Code(_), text)) => {
                check(&text);
                ran += 1;
            }
            Ok((exit, text)) => panic!("{exit:?}: {text}"),
            Err(_) => refused += 1,
        }
    }
    (ran, refused)
}

/// CVE-2021-30465 and CVE-2024-45310: the destination of a mount, in a volume that another container
/// shares, changes between a directory and a link to the host.
#[test]
fn a_mount_destination_that_becomes_a_link_stays_inside() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-mount");
    let host = bundle.path.join("host");
    fs::create_dir_all(&host).unwrap();
    fs::create_dir_all(bundle.path.join("rootfs/volume/dir/target")).unwrap();
    let up = "../".repeat(20);
    let outside = format!("{up}{}", host.to_str().unwrap().trim_start_matches('/'));
    symlink(outside, bundle.path.join("rootfs/volume/link")).unwrap();
    let spec = bundle.spec("true", |spec| {
        spec.root.as_mut().unwrap().readonly = false;
        spec.mounts.push(Mount {
            destination: "/volume/dir/target/new".into(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            ..Mount::default()
        });
    });
    let volume = bundle.path.join("rootfs/volume");
    let racer = Racer::exchange(volume.join("dir"), volume.join("link"));
    let (ran, _) = storm(&bundle, &spec, |_| {
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0, "something was made on the host");
    });
    drop(racer);
    assert!(ran > 0);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(host.to_str().unwrap()), "something was mounted on the host");
    assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
}

/// CVE-2024-21626: the working directory is a descriptor of the runtime's that leads to the host.
#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("cwd-fd");
    symlink("/proc/self/fd/6", bundle.path.join("rootfs/link")).unwrap();
    let directories = (0..40).map(|fd| format!("/proc/self/fd/{fd}"));
    let more =
        ["/proc/self/cwd", "/proc/self/root/..", "/link", "/link/../../..", "/proc/1/root", "/dev/fd/8"];
    for cwd in directories.chain(more.map(String::from)) {
        let spec = bundle.spec("ls -d /work /proc/self/cwd/../../../../work; pwd -P", |spec| {
            spec.process.as_mut().unwrap().cwd.clone_from(&cwd);
        });
        match bundle.run(&spec) {
            Err(_) => {}
            Ok((_, text)) => {
                assert!(!text.contains("/work\n") && !text.contains("unreachable"), "{cwd}: {text}");
                assert!(!cwd.contains("/fd/"), "{cwd} was accepted: {text}");
            }
        }
    }
}

/// CVE-2025-31133 and CVE-2026-88265: `/dev/null` becomes a link to a file of procfs while paths are masked
/// with it.
#[test]
fn a_false_null_device_is_not_mounted() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("race-null");
    let dev = bundle.path.join("dev");
    fs::create_dir(&dev).unwrap();
    let node = |name: &str| {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(1, 3);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, dev.join(name), kind, mode, device).unwrap();
    };
    node("null");
    symlink("/proc/sys/kernel/core_pattern", dev.join("evil")).unwrap();
    let spec = bundle.spec("cat /proc/timer_list; cat /proc/mounts", |spec| {
        spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
        spec.mounts.push(bind(&dev, "/dev"));
    });
    let racer = Racer::exchange(dev.join("null"), dev.join("evil"));
    let (ran, refused) = storm(&bundle, &spec, |text| {
        let over =
            text.lines().filter(|line| line.contains(" /proc/timer_list ") || line.contains(" /proc/keys "));
        for line in over {
            assert!(!line.starts_with("proc "), "a file of procfs was mounted as the mask: {line}");
        }
        assert!(text.lines().any(|line| line.contains(" /proc/timer_list ")), "not masked: {text}");
    });
    drop(racer);
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} refused: the race did not happen");
}

/// CVE-2025-52565 and CVE-2026-88264: the terminal's device or `/dev/console` is a link to a file of procfs.
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
        let error = bundle.create(&spec, tare_runtime::Io::Console, tare_runtime::Gate::Pipe).unwrap_err();
        assert!(error.to_string().contains("console"), "{error}");
    }
    // `/dev/console` of the image is on the root, below the container's own /dev: it is never reached.
    let rootfs = bundle.path.join("rootfs");
    symlink("/etc/passwd", rootfs.join("dev/console")).unwrap();
    let before = fs::read(rootfs.join("etc/passwd")).unwrap();
    let spec =
        bundle.spec("echo out; cat /proc/mounts", |spec| spec.process.as_mut().unwrap().terminal = true);
    let (mut container, process) =
        bundle.create(&spec, tare_runtime::Io::Console, tare_runtime::Gate::Pipe).unwrap();
    container.start().unwrap();
    process.wait().unwrap();
    container.delete(true).unwrap();
    assert_eq!(fs::read(rootfs.join("etc/passwd")).unwrap(), before);
}

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

/// CVE-2026-41579: links of the image's `/dev` must not be followed to the host while devices are made.
#[test]
fn links_in_the_images_dev_are_not_followed() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("dev-links");
    let host = bundle.path.join("host");
    fs::create_dir(&host).unwrap();
    let rootfs = bundle.path.join("rootfs");
    fs::remove_dir(rootfs.join("dev")).unwrap();
    symlink(&host, rootfs.join("dev")).unwrap();
    for (keeps_mount, script) in [(true, "true"), (false, "true")] {
        let spec = bundle.spec(script, |spec| {
            spec.root.as_mut().unwrap().readonly = false;
            if !keeps_mount {
                spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
            }
        });
        // Whether it runs or is refused, the host has no new file.
        let _ = bundle.run(&spec);
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
    }
}

/// CVE-2022-29162 and its kin: inheritable capabilities stay empty, for joined processes too.
#[test]
fn inheritable_capabilities_are_empty() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("inheritable");
    let text = bundle.output("grep CapInh /proc/self/status");
    assert_eq!(text, "CapInh:\t0000000000000000\n");
}
