//! Attaching and releasing: what a container gets, what is left.

use crate::host::{Host, OUTSIDE, Server, ask_tcp, ask_udp, ip, key, port, request, run, until, within};
use std::time::Duration;
use tare_net::{Driver, leftovers, repair};
use tare_types::{ErrorKind, port::Protocol};

const INSTANCE: &str = "0a1b2c3d";

#[test]
fn a_container_on_the_bridge_gets_an_interface() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let sandbox = networks.attach(&request("web", "bridge")).unwrap();
    let endpoint = sandbox.endpoint.clone().unwrap();
    assert_eq!(endpoint.ip.to_string(), "172.17.0.2");
    assert_eq!(endpoint.gateway.unwrap().to_string(), "172.17.0.1");
    assert_eq!(endpoint.mac.to_string(), "02:42:ac:11:00:02");

    let at = format!("--net={}", sandbox.path.as_ref().unwrap().display());
    let address = run("nsenter", &[&at, "ip", "-4", "-o", "addr", "show", "dev", "eth0"]);
    assert!(address.contains("172.17.0.2/16 brd 172.17.255.255 scope global eth0"), "{address}");
    let link = run("nsenter", &[&at, "ip", "link", "show", "eth0"]);
    assert!(link.contains("02:42:ac:11:00:02") && link.contains("UP,LOWER_UP"), "{link}");
    let route = run("nsenter", &[&at, "ip", "route"]);
    assert!(route.contains("default via 172.17.0.1 dev eth0"), "{route}");
    let loopback = run("nsenter", &[&at, "ip", "-o", "addr", "show", "dev", "lo"]);
    assert!(loopback.contains("127.0.0.1/8") && loopback.contains("::1/128"), "{loopback}");
    let six = run("nsenter", &[&at, "ip", "-6", "-o", "addr", "show", "dev", "eth0"]);
    assert_eq!(six, "", "an interface on an IPv4 network has no IPv6");

    let port = run("ip", &["-o", "link", "show", "master", "tare-0a1b2c3d"]);
    assert!(port.contains(&endpoint.interface) && port.contains("UP,LOWER_UP"), "{port}");
    let bridge = run("ip", &["-o", "addr", "show", "dev", "tare-0a1b2c3d"]);
    assert!(bridge.contains("172.17.0.1/16") && !bridge.contains("inet6"), "{bridge}");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");

    assert_eq!(networks.sandbox(&key("web")), Some(sandbox.clone()));
    let network = networks.inspect("bridge").unwrap();
    assert_eq!(network.subnet.unwrap().to_string(), "172.17.0.0/16");
    assert_eq!(networks.containers(&network.id), [sandbox]);
}

#[test]
fn containers_reach_each_other_and_the_world() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    let a = networks.attach(&request("a", "bridge")).unwrap();
    let b = networks.attach(&request("b", "bridge")).unwrap();
    let _server = Server::start(&b, "b", 80);
    let (from, to) = (a.path.clone().unwrap(), b.endpoint.as_ref().unwrap().ip);
    let seen = within(&from, || ask_tcp(to, 80).unwrap());
    assert_eq!(seen, format!("b {}", a.endpoint.as_ref().unwrap().ip), "no translation between neighbours");

    // The world has no route to the containers: an answer shows the masquerade.
    let world = tare_net::Sandbox { path: Some(outside), ..a.clone() };
    let _world = Server::start(&world, "world", 7);
    assert_eq!(within(&from, || ask_tcp(ip(OUTSIDE), 7).unwrap()), "world 198.51.100.1");
    assert_eq!(within(&from, || ask_udp(ip(OUTSIDE), 7).unwrap()), "world 198.51.100.1");
}

#[test]
fn an_unpublished_port_is_closed_to_the_outside() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    let a = networks.attach(&request("a", "bridge")).unwrap();
    let _server = Server::start(&a, "a", 80);
    let at = a.endpoint.as_ref().unwrap().ip;
    let via = format!("--net={}", outside.display());
    run("nsenter", &[&via, "ip", "route", "add", "172.16.0.0/12", "via", crate::host::HOST]);
    assert!(within(&outside, || ask_tcp(at, 80)).is_err());
    assert_eq!(ask_tcp(at, 80).unwrap(), "a 172.17.0.1", "the host itself reaches its containers");
}

#[test]
fn none_and_host() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let none = networks.attach(&request("lonely", "none")).unwrap();
    assert_eq!(none.endpoint, None);
    let at = format!("--net={}", none.path.as_ref().unwrap().display());
    let links = run("nsenter", &[&at, "ip", "-o", "link"]);
    let real: Vec<_> = links.lines().filter(|line| line.contains("UP")).collect();
    assert!(real.len() == 1 && real[0].contains("lo: <LOOPBACK,UP,LOWER_UP>"), "{links}");
    let shared = networks.attach(&request("open", "host")).unwrap();
    assert_eq!((shared.path, shared.endpoint), (None, None));
    assert_eq!(networks.inspect("host").unwrap().driver, Driver::Host);
    for id in ["lonely", "open"] {
        networks.release(&key(id)).unwrap();
    }
    networks.settle(Duration::from_secs(5)).unwrap();
    assert!(!none.path.unwrap().exists());
}

#[test]
fn release_leaves_nothing_and_gives_the_address_again() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    for round in 0..3 {
        let sandboxes: Vec<_> =
            ["a", "b", "c"].map(|id| networks.attach(&request(id, "bridge")).unwrap()).into();
        let ips: Vec<_> = sandboxes.iter().map(|s| s.endpoint.as_ref().unwrap().ip.to_string()).collect();
        assert_eq!(ips, ["172.17.0.2", "172.17.0.3", "172.17.0.4"], "round {round}");
        for id in ["a", "b", "c"] {
            networks.release(&key(id)).unwrap();
            networks.release(&key(id)).unwrap();
            assert_eq!(networks.sandbox(&key(id)), None);
        }
        networks.settle(Duration::from_secs(5)).unwrap();
        let links = run("ip", &["-o", "link"]);
        assert!(!links.contains("v0a1b2c3d"), "{links}");
        assert!(sandboxes.iter().all(|s| !s.path.as_ref().unwrap().exists()));
    }
    networks.shutdown().unwrap();
    assert_eq!(leftovers(&host.config(INSTANCE)).unwrap(), []);
    assert_eq!(run("nft", &["list", "ruleset"]), "");
}

#[test]
fn a_namespace_somebody_holds_does_not_keep_the_address() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let sandbox = networks.attach(&request("a", "bridge")).unwrap();
    let _held = std::fs::File::open(sandbox.path.unwrap()).unwrap();
    networks.release(&key("a")).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    let links = run("ip", &["-o", "link"]);
    assert!(!links.contains("v0a1b2c3d"), "{links}");
}

#[test]
fn wished_addresses() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let wish = |id: &str, ip: &str| {
        let request = tare_net::AttachRequest { ip: Some(ip.parse().unwrap()), ..request(id, "bridge") };
        networks.attach(&request)
    };
    let mac = "02:00:00:00:00:07".parse().unwrap();
    let with_mac = tare_net::AttachRequest { mac: Some(mac), ..request("m", "bridge") };
    assert_eq!(networks.attach(&with_mac).unwrap().endpoint.unwrap().mac, mac);
    assert_eq!(wish("a", "172.17.5.5").unwrap().endpoint.unwrap().ip.to_string(), "172.17.5.5");
    assert_eq!(wish("b", "172.17.5.5").unwrap_err().kind(), ErrorKind::AlreadyExists);
    for outside in ["172.18.0.5", "172.17.0.0", "172.17.255.255"] {
        assert_eq!(wish("b", outside).unwrap_err().kind(), ErrorKind::InvalidArgument, "{outside}");
    }
    assert_eq!(wish("b", "172.17.0.1").unwrap_err().kind(), ErrorKind::AlreadyExists, "the gateway");
    // An address on its way back is waited for.
    networks.release(&key("a")).unwrap();
    assert_eq!(wish("c", "172.17.5.5").unwrap().endpoint.unwrap().ip.to_string(), "172.17.5.5");
    // A container is attached once.
    assert_eq!(networks.attach(&request("c", "bridge")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(networks.attach(&request("d", "nothing")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_full_network_says_so_and_leaves_nothing() {
    let Some(host) = Host::enter() else { return };
    let mut config = host.config(INSTANCE);
    config.bridge_subnet = Some("10.9.8.0/30".parse().unwrap());
    let networks = tare_net::Networks::open(config).unwrap();
    networks.attach(&request("a", "bridge")).unwrap();
    let error = networks.attach(&request("b", "bridge")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("no available IPv4 addresses"), "{error}");
    assert_eq!(networks.sandbox(&key("b")), None);
    networks.release(&key("a")).unwrap();
    networks.attach(&request("b", "bridge")).unwrap();
}

#[test]
fn two_instances_do_not_touch_each_other() {
    let Some(host) = Host::enter() else { return };
    let first = host.networks(INSTANCE);
    let second = host.networks("ffffffff");
    let a = first.attach(&request("x", "bridge")).unwrap().endpoint.unwrap();
    let b = second.attach(&request("x", "bridge")).unwrap();
    assert_eq!(a.ip.to_string(), "172.17.0.2");
    assert_eq!(b.endpoint.as_ref().unwrap().ip.to_string(), "172.18.0.2");
    let _server = Server::start(&b, "b", 80);
    first.release(&key("x")).unwrap();
    first.settle(Duration::from_secs(5)).unwrap();
    first.shutdown().unwrap();
    assert_eq!(leftovers(&host.config(INSTANCE)).unwrap(), []);
    assert_eq!(ask_tcp(b.endpoint.unwrap().ip, 80).unwrap(), "b 172.18.0.1");
    let tables = run("nft", &["list", "tables"]);
    assert_eq!(tables.trim(), "table inet tare-ffffffff");
}

#[test]
fn a_second_process_is_refused_and_the_doctor_repairs() {
    let Some(host) = Host::enter() else { return };
    let config = host.config(INSTANCE);
    let networks = tare_net::Networks::open(config.clone()).unwrap();
    let error = tare_net::Networks::open(config.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    networks.attach(&request("a", "bridge")).unwrap();
    drop(networks);
    let found = leftovers(&config).unwrap();
    assert_eq!(found.len(), 4, "bridge, interface, table, namespace: {found:?}");
    repair(&found).unwrap();
    until("the pair is gone", || leftovers(&config).unwrap().is_empty());
    repair(&found).unwrap();
}

#[test]
fn a_bridge_that_was_removed_comes_back() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    networks.attach(&request("a", "bridge")).unwrap();
    run("ip", &["link", "del", "tare-0a1b2c3d"]);
    let b = networks.attach(&request("b", "bridge")).unwrap();
    let _server = Server::start(&b, "b", 80);
    assert_eq!(ask_tcp(b.endpoint.unwrap().ip, 80).unwrap(), "b 172.17.0.1");
}

#[test]
fn a_policy_of_another_firewall_is_found() {
    let Some(_host) = Host::enter() else { return };
    assert_eq!(tare_net::other_firewalls().unwrap(), [""; 0]);
    run(
        "nft",
        &[
            "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        ],
    );
    assert_eq!(tare_net::other_firewalls().unwrap(), ["ip filter FORWARD"]);
}

#[test]
fn many_at_once() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let rounds = 6;
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let networks = &networks;
            scope.spawn(move || {
                for round in 0..rounds {
                    let id = format!("c{thread}-{round}");
                    networks.attach(&request(&id, "bridge")).unwrap();
                    let ports = [
                        port(Protocol::Tcp, None, 9000 + thread, 80),
                        port(Protocol::Udp, None, 9000 + thread, 80),
                    ];
                    networks.publish(&key(&id), &ports).unwrap();
                    if round + 1 < rounds {
                        networks.release(&key(&id)).unwrap();
                    }
                }
            });
        }
    });
    networks.settle(Duration::from_secs(20)).unwrap();
    let bridge = networks.inspect("bridge").unwrap();
    let live = networks.containers(&bridge.id);
    let addresses: std::collections::BTreeSet<_> =
        live.iter().map(|s| s.endpoint.as_ref().unwrap().ip).collect();
    assert_eq!((live.len(), addresses.len()), (8, 8));
    let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    for sandbox in &live {
        let element = format!(
            "{} . {} : {} . 80",
            "tcp",
            sandbox.ports[0].host_port,
            sandbox.endpoint.as_ref().unwrap().ip
        );
        assert!(map.contains(&element), "{element}\nis not in\n{map}");
    }
    assert_eq!(map.matches(" : 172.17.").count(), 16, "{map}");
    let ports = run("ip", &["-o", "link", "show", "master", "tare-0a1b2c3d"]);
    assert_eq!(ports.lines().count(), 8, "{ports}");
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    networks.attach(&request("a", "bridge")).unwrap();
    // An interface of the next name is in the way.
    run("ip", &["link", "add", "v0a1b2c3d000002", "type", "bridge"]);
    let error = networks.attach(&request("b", "bridge")).unwrap_err();
    assert!(error.to_string().contains("default/b"), "{error}");
    networks.settle(Duration::from_secs(5)).unwrap();
    assert_eq!(networks.sandbox(&key("b")), None);
    assert_eq!(std::fs::read_dir(host.config(INSTANCE).state.join("netns")).unwrap().count(), 1);
    assert_eq!(
        networks.attach(&request("b", "bridge")).unwrap().endpoint.unwrap().ip.to_string(),
        "172.17.0.3"
    );
}
