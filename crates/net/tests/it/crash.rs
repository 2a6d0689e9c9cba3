//! Death at any line: what the next start makes of it.
//!
//! A child process does the work and is killed by SIGKILL at a moment nobody chose; the test opens the same
//! directories afterwards. The child is this test program itself, told by a variable what to do.

use crate::host::{HOST, Host, Server, ask_tcp, ip, key, port, request, run, until, within};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};
use tare_net::{ContainerKey, Leftover, Networks, Sandbox, leftovers};
use tare_types::port::Protocol;

const INSTANCE: &str = "0a1b2c3d";
const WORK: &str = "TARE_NET_TEST_WORK";

/// Not a test by itself: the child of those below, which attaches, publishes and releases until it is killed.
#[test]
fn child_that_works_until_it_is_killed() {
    let Some(directory) = std::env::var_os(WORK) else { return };
    let at = std::path::PathBuf::from(directory);
    std::fs::create_dir_all(&at).unwrap();
    // Removed with the directory of the test that kills this.
    let host = Host { directory: tempfile::TempDir::new_in(&at).unwrap() };
    let mut config = host.config(INSTANCE);
    config.root = at.join("root/network");
    config.state = at.join("state/network");
    config.host_lock = at.join("subnets.lock");
    let networks = Networks::open(config).unwrap();
    let mut out = std::io::stdout();
    for round in 0u16.. {
        let id = format!("c{}", round % 5);
        networks.attach(&request(&id, "bridge")).unwrap();
        networks.publish(&key(&id), &[port(Protocol::Tcp, None, 9000 + round % 5, 80)]).unwrap();
        writeln!(out, "\nround {round}").unwrap();
        if round >= 3 {
            networks.release(&key(&format!("c{}", (round + 2) % 5))).unwrap();
        }
    }
}

/// Runs the child for some rounds and kills it.
fn work_and_die(host: &Host, rounds: usize) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args(["--exact", "crash::child_that_works_until_it_is_killed", "--nocapture"])
        .env(WORK, host.directory.path().join(INSTANCE))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let worked = lines.map(Result::unwrap).filter(|line| line.starts_with("round ")).take(rounds).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(worked, rounds);
}

/// The child's directories, opened again.
fn reopen(host: &Host) -> Networks {
    let mut config = host.config(INSTANCE);
    config.host_lock = host.directory.path().join(INSTANCE).join("subnets.lock");
    Networks::open(config).unwrap()
}

/// Bridge, table, and of each live container an interface and a namespace.
fn assert_exactly(host: &Host, networks: &Networks, live: &[ContainerKey]) {
    let found = leftovers(&host.config(INSTANCE)).unwrap();
    let count = |what: fn(&Leftover) -> bool| found.iter().filter(|l| what(l)).count();
    assert_eq!(count(|l| matches!(l, Leftover::Interface(_))), live.len(), "{found:?}");
    for container in live {
        let sandbox = networks.sandbox(container).unwrap();
        assert!(found.contains(&Leftover::Namespace(sandbox.path.unwrap())));
        assert!(found.contains(&Leftover::Interface(sandbox.endpoint.unwrap().interface)));
    }
    assert_eq!(count(|l| matches!(l, Leftover::Namespace(_))), live.len(), "{found:?}");
    let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    assert_eq!(map.matches("tcp . ").count(), live.len(), "{map}");
}

#[test]
fn killed_at_work_and_every_container_dead() {
    let Some(host) = Host::enter() else { return };
    for rounds in [1, 2, 5, 9, 14] {
        work_and_die(&host, rounds);
        let networks = reopen(&host);
        networks.reconcile(&[]).unwrap();
        networks.settle(Duration::from_secs(5)).unwrap();
        until("interfaces are gone", || !run("ip", &["-o", "link"]).contains("v0a1b2c3d"));
        networks.prepare().unwrap();
        assert_exactly(&host, &networks, &[]);
        let again = networks.attach(&request("new", "bridge")).unwrap();
        assert_eq!(again.endpoint.unwrap().ip.to_string(), "172.17.0.2", "every address came back");
        networks.release(&key("new")).unwrap();
        networks.settle(Duration::from_secs(5)).unwrap();
        networks.shutdown().unwrap();
        assert_eq!(leftovers(&host.config(INSTANCE)).unwrap(), [], "after {rounds} rounds");
    }
}

#[test]
fn killed_at_work_and_the_live_keep_their_network() {
    let Some(host) = Host::enter() else { return };
    work_and_die(&host, 8);
    let networks = reopen(&host);
    let bridge = networks.inspect("bridge").unwrap();
    // The container the child was at when it died is half made, as one whose task never came to be.
    let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    let whole = |s: &Sandbox| map.contains(&format!(": {} . 80", s.endpoint.as_ref().unwrap().ip));
    let mut live: Vec<_> = networks.containers(&bridge.id).into_iter().filter(whole).collect();
    live.truncate(2);
    assert_eq!(live.len(), 2);
    let _server = Server::start(&live[0], "kept", 80);
    let published = live[0].ports[0].host_port;
    let ask = || ask_tcp(ip(HOST), published);
    run("ip", &["addr", "add", &format!("{HOST}/32"), "dev", "lo"]);
    assert_eq!(ask().unwrap(), format!("kept {HOST}"), "the port answers before anything is reconciled");

    let keys: Vec<_> = live.iter().map(|s| s.container.clone()).collect();
    let report = networks.reconcile(&keys).unwrap();
    assert_eq!(report.damaged, []);
    networks.settle(Duration::from_secs(5)).unwrap();
    assert_exactly(&host, &networks, &keys);
    assert_eq!(ask().unwrap(), format!("kept {HOST}"));
    // And a second time there is nothing to do.
    let report = networks.reconcile(&keys).unwrap();
    assert_eq!((report.released, report.removed), (vec![], vec![]));
    assert_exactly(&host, &networks, &keys);
}

#[test]
fn whatever_is_missing_is_made_again() {
    let Some(host) = Host::enter() else { return };
    run("ip", &["addr", "add", &format!("{HOST}/32"), "dev", "lo"]);
    let networks = host.networks(INSTANCE);
    for (id, published) in [("a", 8080), ("b", 8081)] {
        networks.attach(&request(id, "bridge")).unwrap();
        networks.publish(&key(id), &[port(Protocol::Tcp, None, published, 80)]).unwrap();
    }
    let (a, b) = (networks.sandbox(&key("a")).unwrap(), networks.sandbox(&key("b")).unwrap());
    let _servers = [Server::start(&a, "a", 80), Server::start(&b, "b", 80)];
    drop(networks);
    // A firewall that is reloaded takes our table with it; somebody removes the bridge.
    run("nft", &["flush", "ruleset"]);
    run("ip", &["link", "del", "tare-0a1b2c3d"]);
    run("ip", &["link", "del", &b.endpoint.unwrap().interface]);
    let networks = host.networks(INSTANCE);
    let report = networks.reconcile(&[key("a"), key("b")]).unwrap();
    assert_eq!(report.damaged, [key("b")]);
    assert_eq!(ask_tcp(ip(HOST), 8080).unwrap(), format!("a {HOST}"));
    let from = a.path.unwrap();
    assert_eq!(within(&from, || ask_tcp(ip("172.17.0.1"), 8080).unwrap()), "a 172.17.0.1");
}

#[test]
fn an_interface_without_a_record_is_removed() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    run("ip", &["link", "add", "v0a1b2c3d00ffff", "type", "veth", "peer", "name", "far"]);
    run("ip", &["link", "add", "vffffffff000001", "type", "veth", "peer", "name", "other"]);
    let report = networks.reconcile(&[]).unwrap();
    assert_eq!(report.removed, [Leftover::Interface("v0a1b2c3d00ffff".to_owned())]);
    assert!(run("ip", &["-o", "link"]).contains("vffffffff000001"), "that of another instance stays");
}

#[test]
fn a_full_disk_fails_the_start_and_not_the_release() {
    let Some(host) = Host::enter() else { return };
    let config = host.config(INSTANCE);
    std::fs::create_dir_all(&config.state).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", config.state.to_str().unwrap()]);
    let networks = Networks::open(config.clone()).unwrap();
    networks.attach(&request("a", "bridge")).unwrap();
    until("the disk is full", || {
        use std::fs::OpenOptions;
        let filler = OpenOptions::new().append(true).create(true).open(config.state.join("filler"));
        filler.unwrap().write_all(&[0; 4096]).is_err()
    });
    let mut error = None;
    for n in 0..20 {
        if let Err(e) = networks.attach(&request(&format!("b{n}"), "bridge")) {
            error = Some(e);
            break;
        }
    }
    let error = error.expect("the journal had room for ever");
    assert!(
        error.to_string().contains("No space left") || error.to_string().contains("write journal"),
        "{error}"
    );
    // The release is refused by the journal and happens all the same.
    let _refused = networks.release(&key("a"));
    assert_eq!(networks.sandbox(&key("a")), None);
    std::fs::remove_file(config.state.join("filler")).unwrap();
    networks.settle(Duration::from_secs(10)).unwrap();
    assert_eq!(
        networks.attach(&request("c", "bridge")).unwrap().endpoint.unwrap().ip.to_string(),
        "172.17.0.2"
    );
}
