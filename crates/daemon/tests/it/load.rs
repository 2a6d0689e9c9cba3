//! kill -9 of a daemon that has work everywhere: containers with logs and published ports, execs, a pull.

use crate::{
    host::{Host, wait_for},
    network::fetch,
};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tare_testkit::{
    fake_registry::Act,
    image::{Tar, build},
    soak,
};

/// Bytes of the pull that arrive before the registry falls silent.
const ARRIVED: usize = 800_000;

/// Asks one published port all the while.
struct Probe {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Probe {
    fn start(address: String) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, count) = (stop.clone(), answers.clone());
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                match fetch(&address) {
                    Some(body) if body == "served\n" => _ = count.fetch_add(1, Ordering::Relaxed),
                    other => failures.push(format!("{address}: {other:?}")),
                }
                // Many ports at once, and two cores.
                tare_testkit::bench::pause(Duration::from_millis(20));
            }
            failures
        });
        Self { stop, answers, thread }
    }

    /// Waits until it has answers of the time that begins now.
    fn goes_on(&self) {
        let begin = self.answers.load(Ordering::Relaxed);
        wait_for("an answer", || (self.answers.load(Ordering::Relaxed) > begin + 1).then_some(()));
    }

    fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        (self.answers.load(Ordering::Relaxed), self.thread.join().unwrap())
    }
}

/// A container that serves its port and writes its log; it is there when this returns.
fn busy(host: &Host, name: &str) -> (String, Probe) {
    let script = "echo served > /data/name; httpd -p 80 -h /data; \
                  i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.02; done";
    host.docker(&["run", "-d", "--name", name, "-p", "127.0.0.1:0:80", &host.image, "sh", "-c", script])
        .good();
    let address = host.docker(&["port", name, "80/tcp"]).good().out;
    wait_for("the server", || fetch(&address));
    (host.field(name, "{{.State.Pid}}"), Probe::start(address))
}

fn exec(host: &Host, container: &str, script: &str) -> String {
    host.docker(&["exec", "-d", container, "sh", "-c", script]).good();
    host.field(container, "{{index .ExecIDs 0}}")
}

/// Begins a pull that stays in the middle of its layer; gives the layer's path at the registry.
fn half_a_pull(host: &Host, image: &str) -> (std::process::Child, String) {
    let noise: Vec<u8> = (0_u32..400_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let made = build(&[Tar::new().file("big", 0o644, &noise).finish()], &["true"]);
    host.registry.put_image("big", "latest", &made);
    let path = format!("/blobs/{}", made.layers[0].descriptor.digest);
    host.registry.script(http::Method::GET, &path, 1, Act::StallAfter(ARRIVED));
    let quiet = std::process::Stdio::null;
    let child = host.command(&["pull", "-q", image]).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    let ingests = host.path("root/io.containerd.content.v1.content/ingest");
    wait_for("half of the layer", || {
        let stored = fs::read_dir(&ingests).ok()?.flatten();
        let sizes = stored.filter_map(|one| fs::metadata(one.path().join("data")).ok());
        sizes.map(|data| data.len()).max().filter(|size| *size > 0)
    });
    (child, path)
}

#[test]
fn the_death_of_the_daemon_under_load_loses_nothing() {
    let Some(mut host) = Host::start() else { return };
    let count = soak::size("TARE_SOAK_CONTAINERS", 5);
    let names: Vec<String> = (0..count).map(|number| format!("busy{number}")).collect();
    let (pids, probes): (Vec<_>, Vec<_>) = names.iter().map(|name| busy(&host, name)).unzip();
    let policy = |name: &str, policy: &str, script: &str| {
        host.run(&["-d", "--name", name, "--restart", policy], &["sh", "-c", script]).good();
    };
    policy("unless", "unless-stopped", "sleep 1000");
    host.docker(&["stop", "-t", "0", "unless"]).good();
    policy("always", "always", "sleep 1.5; exit 6");
    policy("twice", "on-failure:1", "sleep 1.5; exit 7");
    policy("ends", "no", "sleep 1.5; exit 5");
    host.run(&["-d", "--rm", "--name", "goes"], &["sleep", "1.5"]).good();
    let first_runs: Vec<String> =
        ["always", "twice", "ends", "goes"].iter().map(|name| host.field(name, "{{.State.Pid}}")).collect();
    let image = host.image.replace("busybox", "big");
    let (mut pull, layer) = half_a_pull(&host, &image);
    let meanwhile = exec(&host, "busy0", "sleep 1; exit 8");
    let longer = exec(&host, "busy1", "while [ ! -e /data/end ]; do sleep 0.05; done; exit 9");

    for round in 0..soak::size("TARE_SOAK_KILLS", 2) {
        host.kill();
        for probe in &probes {
            probe.goes_on();
        }
        if round == 0 {
            pull.wait().unwrap();
            for pid in &first_runs {
                let gone = || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(());
                wait_for("the runs that end while nobody listens", gone);
            }
        }
        host.up();
        for (name, pid) in names.iter().zip(&pids) {
            assert_eq!(host.field(name, "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
        }
        for probe in &probes {
            probe.goes_on();
        }
    }

    assert_eq!(host.field("ends", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    assert_eq!(host.field("unless", "{{.State.Status}}"), "exited", "its user stopped it");
    wait_for("the restart", || (host.field("always", "{{.RestartCount}}") != "0").then_some(()));
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
    wait_for("one restart and no other", || (host.field("twice", state) == "exited 7 1").then_some(()));
    wait_for("the removal", || (host.docker(&["inspect", "goes"]).code != 0).then_some(()));
    let exit_of = |exec: &str, code: u32| {
        let told = host.get(&format!("/exec/{exec}/json"));
        (told.contains("\"Running\":false") && told.contains(&format!("\"ExitCode\":{code}"))).then_some(())
    };
    exit_of(&meanwhile, 8).expect("the code of an exec that ended while no daemon ran");
    assert!(host.get(&format!("/exec/{longer}/json")).contains("\"Running\":true"), "it runs on");
    host.docker(&["exec", "busy1", "touch", "/data/end"]).good();
    wait_for("the code of an exec that ran on", || exit_of(&longer, 9));

    host.docker(&["pull", "-q", &image]).good();
    let asked = host.registry.seen_at(&layer);
    let range = asked.last().unwrap().header("range").to_owned();
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(asked.len() == 2 && from > 0 && from <= ARRIVED, "{} requests, {range}", asked.len());

    let mut answers = 0;
    for probe in probes {
        let (good, failures) = probe.end();
        assert!(failures.is_empty(), "{} of {}: {:?}", failures.len(), good, failures.first());
        answers += good;
    }
    println!(
        "{count} containers, {answers} answers of their ports, none failed; the pull went on from byte {from}"
    );
    for name in &names {
        let log = host.docker(&["logs", name]).good().out;
        let expected: Vec<String> = (0..log.lines().count()).map(|n| format!("tick {n}")).collect();
        assert_eq!(log.lines().collect::<Vec<_>>(), expected, "the log has no gap");
    }
    let all = host.docker(&["ps", "-aq"]).good().out;
    host.docker(&[&["rm", "-f"][..], &all.split_whitespace().collect::<Vec<_>>()].concat()).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}

#[test]
fn a_storm_of_whole_lives_leaves_nothing() {
    let Some(host) = Host::start() else { return };
    let lives = soak::size("TARE_SOAK_LIVES", 3);
    host.run(&["--rm"], &["true"]).good();
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    let before = host.descriptors();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let host = &host;
            scope.spawn(move || {
                for life in 0..lives {
                    let name = format!("s{client}-{life}");
                    let network = if life % 2 == 0 { "bridge" } else { "none" };
                    let run =
                        ["run", "-d", "--name", &name, "--network", network, &host.image, "sleep", "1000"];
                    host.docker(&run).good();
                    assert_eq!(host.docker(&["exec", &name, "echo", "here"]).good().out, "here");
                    match life % 3 {
                        0 => host.docker(&["rm", "-f", &name]).good(),
                        1 => {
                            host.docker(&["stop", "-t", "0", &name]).good();
                            host.docker(&["rm", &name]).good()
                        }
                        _ => {
                            host.docker(&["restart", "-t", "0", &name]).good();
                            host.docker(&["rm", "-f", &name]).good()
                        }
                    };
                }
            });
        }
    });
    assert_eq!(host.docker(&["ps", "-aq"]).good().out, "");
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
    // Idle connections of clients take a moment to be closed.
    wait_for("descriptors to be closed", || (host.descriptors() <= before + 4).then_some(()));
}
