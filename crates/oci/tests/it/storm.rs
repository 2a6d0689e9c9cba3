//! Starts while the image's directories are exchanged under the runtime's hands, on all cores.
//!
//! The originals: CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52881. An attacker who shares a volume with
//! the container renames directories and links, and mounts over them, as fast as the machine can. Two things are
//! asked: nothing of the host is ever reached, and a start that fails, which must be rare, says why.

use crate::bundle::{Bundle, able};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tare_testkit::soak;

/// Does something as fast as it can until it is dropped.
struct Racer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn new(attack: impl Fn() -> bool + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(u64::from(attack()), Ordering::Relaxed);
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }

    fn exchange(one: PathBuf, other: PathBuf) -> Self {
        Self::new(move || {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags).is_ok()
        })
    }

    /// Mounts a directory over another and takes it away, whichever of its two names that has; never over what a link
    /// leads to.
    fn mount(source: PathBuf, target: PathBuf, other: PathBuf) -> Self {
        use rustix::{fs::OFlags, mount::UnmountFlags};
        Self::new(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(place) = rustix::fs::open(&target, flags, rustix::fs::Mode::empty()) else { return false };
            let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
            let mounted = rustix::mount::mount_bind(&source, place.as_str()).is_ok();
            for name in [&target, &other] {
                while rustix::mount::unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
            }
            mounted
        })
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A container with mounts at places that the attacker exchanges for links to the host.
struct Stage {
    bundle: Bundle,
    host: PathBuf,
}

/// Where the container's mounts are to be: a directory, a file, and one that has to be made, below what is exchanged.
const PLACES: [(&str, &str); 3] =
    [("/volume/dir/target", "tmpfs"), ("/volume/dir/new/deeper", "tmpfs"), ("/volume/dir/file", "bind")];

impl Stage {
    fn new() -> Self {
        let bundle = Bundle::new("storm");
        let host = bundle.path.join("host");
        for directory in ["target", "new"] {
            fs::create_dir_all(host.join(directory)).unwrap();
        }
        fs::write(host.join("file"), "of the host").unwrap();
        let source = bundle.path.join("source");
        fs::write(&source, "given").unwrap();
        let volume = bundle.path.join("rootfs/volume");
        fs::create_dir_all(volume.join("dir/target")).unwrap();
        let up = "../".repeat(20);
        let outside = format!("{up}{}", host.to_str().unwrap().trim_start_matches('/'));
        symlink(&outside, volume.join("link")).unwrap();
        // What is mounted over the directory: links to the host under the names of the places.
        let trap = bundle.path.join("trap");
        fs::create_dir(&trap).unwrap();
        for name in ["target", "new", "file"] {
            symlink(format!("{outside}/{name}"), trap.join(name)).unwrap();
        }
        bundle.change(|spec| {
            // Several run at a time, each in the cgroup of its id.
            spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
            spec["root"]["readonly"] = false.into();
            let mounts = spec["mounts"].as_array_mut().unwrap();
            for (place, kind) in PLACES {
                mounts.push(match kind {
                    "bind" => serde_json::json!({
                        "destination": place, "type": kind, "source": source, "options": ["bind", "rw"],
                    }),
                    _ => serde_json::json!({"destination": place, "type": kind, "source": kind}),
                });
            }
            spec["linux"]["sysctl"] = serde_json::json!({"net.ipv4.ip_default_ttl": "43"});
        });
        bundle.script("echo ran $(cat /proc/sys/net/ipv4/ip_default_ttl)");
        Self { bundle, host }
    }

    /// Racers on every core: mounts on one, renames on the others.
    fn racers(&self) -> Vec<Racer> {
        let volume = self.bundle.path.join("rootfs/volume");
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut racers = vec![
            Racer::exchange(volume.join("dir"), volume.join("link")),
            Racer::mount(self.bundle.path.join("trap"), volume.join("dir"), volume.join("link")),
        ];
        while racers.len() < cores {
            racers.push(Racer::exchange(volume.join("dir"), volume.join("link")));
        }
        racers
    }

    /// The host's directory is as it was: no entry more, none changed, nothing mounted.
    fn check(&self) {
        let names = |path: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.host), ["file", "new", "target"], "something was made on the host");
        for directory in ["new", "target"] {
            assert!(names(&self.host.join(directory)).is_empty(), "something was made on the host");
        }
        assert_eq!(fs::read(self.host.join("file")).unwrap(), b"of the host");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut over = mounts.lines().filter(|line| line.contains(self.host.to_str().unwrap()));
        assert_eq!(over.next(), None, "something was mounted on the host");
    }
}

/// The words of a message without what differs from run to run.
fn kind_of(message: &str) -> String {
    let digits = |c: char| if c.is_ascii_digit() { '#' } else { c };
    message.trim().chars().map(digits).collect()
}

/// What became of the starts.
#[derive(Default)]
struct Tally {
    ran: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    fn start(&self, stage: &Stage, id: &str) {
        let output = stage.bundle.tare(&["run", id]);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "ran 43\n", "{said}");
            self.ran.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let clear = said.starts_with("tare-oci: ") && said.contains('/');
        assert!(clear, "{}: failed without a reason: {said:?}", output.status);
        *self.failures.lock().unwrap().entry(kind_of(&said)).or_default() += 1;
    }
}

#[test]
fn starts_under_a_storm_stay_inside_and_succeed() {
    if !able() {
        return;
    }
    // Mounts of this thread and of those it starts; nothing reaches the host.
    tare_sys::mountns::unshare_private().unwrap();
    let starts = soak::size("TARE_SOAK_STARTS", 200);
    let stage = Stage::new();
    let racers = stage.racers();
    let tally = Tally::default();
    let left = AtomicU64::new(starts);
    let starters = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for starter in 0..starters {
            let (stage, tally, left) = (&stage, &tally, &left);
            scope.spawn(move || {
                let id = format!("{}-{starter}", stage.bundle.id);
                let take = |left| u64::checked_sub(left, 1);
                while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                    tally.start(stage, &id);
                    if number % 100 == 0 {
                        stage.check();
                    }
                }
            });
        }
    });
    let (ran, failures) = (tally.ran.into_inner(), tally.failures.into_inner().unwrap());
    let rounds: Vec<u64> = racers.iter().map(|racer| racer.rounds.load(Ordering::Relaxed)).collect();
    drop(racers);
    stage.check();
    let failed: u64 = failures.values().sum();
    println!("{starts} starts, {ran} ran, {failed} failed, racers' rounds {rounds:?}: {failures:#?}");
    assert!(rounds.iter().all(|rounds| *rounds > 0), "a racer never ran: {rounds:?}");
    // Below a thousandth; of a short run one may.
    assert!(failed * 1000 < starts || failed <= 1, "{failed} of {starts} starts failed: {failures:#?}");
}
