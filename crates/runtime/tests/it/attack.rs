//! The escapes of this field, tried with racers where the original was a race.

mod directory;
mod label;
mod process;
mod procfs;
mod terminal;

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
    /// Two names of one file system.
    fn exchange(one: PathBuf, other: PathBuf) -> Self {
        Self::repeat(move || {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags).is_ok()
        })
    }

    /// Anything that can be done again and again; says whether it worked.
    fn repeat(attack: impl Fn() -> bool + Send + 'static) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), swaps.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(u64::from(attack()), Ordering::Relaxed);
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
