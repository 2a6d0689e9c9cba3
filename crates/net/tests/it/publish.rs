//! Published ports: real traffic from outside, from the host and between containers.
//!
//! The holder of the ports is the shim's; what it carries (127.0.0.1, `[::1]`) is tested there. Here is what the
//! table carries, with a stand-in where it matters that the port is bound on the host.

use crate::host::{
    HOST, Host, OUTSIDE, Server, ask_tcp, ask_udp, ip, key, port, request, run, until, within,
};
use std::{collections::BTreeSet, net::TcpListener, time::Duration};
use tare_net::{Networks, Sandbox};
use tare_types::{
    ErrorKind,
    port::{Protocol, PublishedPort},
};

const INSTANCE: &str = "0a1b2c3d";

fn published(networks: &Networks, id: &str, ports: &[PublishedPort]) -> Sandbox {
    networks.attach(&request(id, "bridge")).unwrap();
    networks.publish(&key(id), ports).unwrap();
    networks.sandbox(&key(id)).unwrap()
}

#[test]
fn reached_from_outside_from_the_host_and_between_containers() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    // The holder binds the ports on the host: what arrives by translation does not meet it.
    let _holder = TcpListener::bind("0.0.0.0:8080").unwrap();
    let ports = [port(Protocol::Tcp, None, 8080, 80), port(Protocol::Udp, None, 5353, 80)];
    let web = published(&networks, "web", &ports);
    let other = networks.attach(&request("other", "bridge")).unwrap();
    let _server = Server::start(&web, "web", 80);

    assert_eq!(within(&outside, || ask_tcp(ip(HOST), 8080).unwrap()), format!("web {OUTSIDE}"));
    assert_eq!(within(&outside, || ask_udp(ip(HOST), 5353).unwrap()), format!("web {OUTSIDE}"));
    assert_eq!(ask_tcp(ip(HOST), 8080).unwrap(), format!("web {HOST}"));
    assert_eq!(ask_udp(ip(HOST), 5353).unwrap(), format!("web {HOST}"));
    assert_eq!(ask_tcp(ip("172.17.0.1"), 8080).unwrap(), "web 172.17.0.1", "the bridge's own address");
    // Another container, and the container itself, through the host's address: seen from the gateway.
    for from in [&other, &web] {
        let from = from.path.clone().unwrap();
        assert_eq!(within(&from, || ask_tcp(ip(HOST), 8080).unwrap()), "web 172.17.0.1");
        assert_eq!(within(&from, || ask_udp(ip(HOST), 5353).unwrap()), "web 172.17.0.1");
        assert_eq!(within(&from, || ask_tcp(ip("172.17.0.1"), 8080).unwrap()), "web 172.17.0.1");
    }
    // Loopback is the holder's.
    let held = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
    assert_eq!(held.peer_addr().unwrap().port(), 8080);

    networks.release(&key("web")).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    let elements = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    assert!(!elements.contains("elements"), "{elements}");
}

#[test]
fn without_bridged_packets_shown_to_the_firewall_too() {
    let Some(host) = Host::enter() else { return };
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if std::fs::write(switch, "0").is_err() {
        println!("module br_netfilter is absent: the other tests are this one");
    }
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    let web = published(&networks, "web", &[port(Protocol::Tcp, None, 8080, 80)]);
    let other = networks.attach(&request("other", "bridge")).unwrap();
    let _server = Server::start(&web, "web", 80);
    assert_eq!(within(&outside, || ask_tcp(ip(HOST), 8080).unwrap()), format!("web {OUTSIDE}"));
    for from in [&other, &web] {
        let from = from.path.clone().unwrap();
        assert_eq!(within(&from, || ask_tcp(ip(HOST), 8080).unwrap()), "web 172.17.0.1");
    }
}

#[test]
fn a_port_of_one_address_is_not_one_of_the_others() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    run("ip", &["addr", "add", "198.51.100.9/24", "dev", "uplink"]);
    let networks = host.networks(INSTANCE);
    let a = published(&networks, "a", &[port(Protocol::Tcp, Some(HOST), 8080, 80)]);
    let b = published(&networks, "b", &[port(Protocol::Tcp, Some("198.51.100.9"), 8080, 80)]);
    let local = published(&networks, "c", &[port(Protocol::Tcp, Some("127.0.0.1"), 9090, 80)]);
    let _servers = [(&a, "a"), (&b, "b"), (&local, "c")].map(|(s, name)| Server::start(s, name, 80));
    assert_eq!(within(&outside, || ask_tcp(ip(HOST), 8080).unwrap()), format!("a {OUTSIDE}"));
    assert_eq!(within(&outside, || ask_tcp(ip("198.51.100.9"), 8080).unwrap()), format!("b {OUTSIDE}"));
    assert!(within(&outside, || ask_tcp(ip(HOST), 9090)).is_err(), "a port of 127.0.0.1 stays there");
}

#[test]
fn ports_collide_and_come_free() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let everywhere = port(Protocol::Tcp, None, 8080, 80);
    published(&networks, "a", &[everywhere]);
    networks.attach(&request("b", "bridge")).unwrap();
    for taken in [
        everywhere,
        port(Protocol::Tcp, Some("127.0.0.1"), 8080, 1),
        port(Protocol::Tcp, Some("::"), 8080, 1),
    ] {
        let error = networks.publish(&key("b"), &[taken]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{taken}");
        assert!(error.to_string().contains("port is already allocated"), "{error}");
    }
    networks.publish(&key("b"), &[port(Protocol::Udp, None, 8080, 80)]).unwrap();
    assert!(networks.publish(&key("b"), &[port(Protocol::Tcp, None, 0, 80)]).is_err());
    assert_eq!(networks.publish(&key("x"), &[everywhere]).unwrap_err().kind(), ErrorKind::NotFound);
    // The next owner need not wait for the release: both changes are one transaction.
    for _ in 0..20 {
        networks.release(&key("a")).unwrap();
        networks.attach(&request("a", "bridge")).unwrap();
        networks.publish(&key("a"), &[everywhere]).unwrap();
    }
    networks.settle(Duration::from_secs(5)).unwrap();
    let a = networks.sandbox(&key("a")).unwrap();
    let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    assert!(map.contains(&format!("tcp . 8080 : {} . 80", a.endpoint.unwrap().ip)), "{map}");
}

#[test]
fn the_table_reads_as_documented() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    published(
        &networks,
        "a",
        &[port(Protocol::Tcp, None, 8080, 80), port(Protocol::Udp, Some(HOST), 53, 5353)],
    );
    let table = run("nft", &["list", "table", "inet", "tare-0a1b2c3d"]);
    for line in [
        "type inet_proto . inet_service : ipv4_addr . inet_service",
        "elements = { tcp . 8080 : 172.17.0.2 . 80 }",
        "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
        "elements = { 198.51.100.1 . udp . 53 : 172.17.0.2 . 5353 }",
        "type nat hook prerouting priority dstnat; policy accept;",
        "fib daddr type local jump publish",
        "ip daddr != 127.0.0.0/8 fib daddr type local jump publish",
        "ip saddr 172.17.0.0/16 oifname != \"tare-0a1b2c3d\" masquerade",
        "ip saddr 172.17.0.0/16 ip daddr 172.17.0.0/16 ct status dnat masquerade",
        "oifname \"tare-0a1b2c3d\" ct state established,related accept",
        "oifname \"tare-0a1b2c3d\" iifname \"tare-0a1b2c3d\" accept",
        "oifname \"tare-0a1b2c3d\" ct status dnat accept",
        "oifname \"tare-0a1b2c3d\" drop",
    ] {
        assert!(table.contains(line), "{line}\nis not in\n{table}");
    }
}

#[test]
fn many_ports_in_one_batch() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let ports: Vec<_> = (10_000..13_000).map(|p| port(Protocol::Tcp, None, p, p)).collect();
    published(&networks, "a", &ports);
    let count = || {
        let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
        map.split("tcp . ").skip(1).map(|e| e[..5].to_owned()).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(count(), 3000);
    // The queue of whoever watches the table overflows by this. It must see that nothing was lost: made again the table
    // would have new rules, and the queue would overflow again, for ever.
    let rules = || run("nft", &["-a", "list", "chain", "inet", "tare-0a1b2c3d", "forward"]);
    let first = rules();
    for _ in 0..30 {
        assert_eq!(rules(), first);
    }
    networks.reconcile(&[key("a")]).unwrap();
    assert_eq!(count(), 3000);
    networks.release(&key("a")).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn ports_that_somebody_took_out_are_released_in_one_go() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let ports: Vec<_> = (10_000..13_000).map(|p| port(Protocol::Tcp, None, p, p)).collect();
    published(&networks, "a", &ports);
    run("nft", &["delete", "element", "inet", "tare-0a1b2c3d", "publish", "{ tcp . 10500 }"]);
    let begun = std::time::Instant::now();
    networks.release(&key("a")).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    let map = run("nft", &["list", "map", "inet", "tare-0a1b2c3d", "publish"]);
    assert!(!map.contains("elements"), "after {:?}: {map}", begun.elapsed());
}

#[test]
fn a_udp_client_that_never_stops_finds_the_new_server() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    networks.prepare().unwrap();
    // One socket, one flow: what the kernel decided for its first packet would hold for the others.
    let client = within(&outside, || std::net::UdpSocket::bind("0.0.0.0:4000").unwrap());
    client.connect((HOST, 5353)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let answered_by = |name: &str| {
        until(name, || {
            let _refused = client.send(b"?");
            let mut buffer = [0; 64];
            client.recv(&mut buffer).is_ok_and(|n| buffer[..n].starts_with(name.as_bytes()))
        });
    };
    let _refused = client.send(b"too early");
    for name in ["first", "second"] {
        // Another address each time, as the earlier one may still be on its way back.
        let web = published(&networks, name, &[port(Protocol::Udp, None, 5353, 80)]);
        let _server = Server::start(&web, name, 80);
        answered_by(name);
        networks.release(&key(name)).unwrap();
    }
    networks.settle(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_firewall_that_is_reloaded_does_not_close_or_open_ports() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    let web = published(&networks, "web", &[port(Protocol::Tcp, None, 8080, 80)]);
    let _servers = [Server::start(&web, "web", 80), Server::start(&web, "hidden", 81)];
    let via = format!("--net={}", outside.display());
    run("nsenter", &[&via, "ip", "route", "add", "172.16.0.0/12", "via", HOST]);
    for _ in 0..3 {
        run("nft", &["flush", "ruleset"]);
        until("the table is back", || run("nft", &["list", "tables"]).contains("tare-0a1b2c3d"));
        assert_eq!(within(&outside, || ask_tcp(ip(HOST), 8080).unwrap()), format!("web {OUTSIDE}"));
    }
    let hidden = web.endpoint.unwrap().ip;
    assert!(within(&outside, || ask_tcp(hidden, 81)).is_err());
    run("nft", &["flush", "ruleset"]);
    networks.publish(&key("web"), &[port(Protocol::Tcp, None, 8081, 81)]).unwrap();
    until("both answer", || {
        within(&outside, || ask_tcp(ip(HOST), 8080).is_ok() && ask_tcp(ip(HOST), 8081).is_ok())
    });
    networks.release(&key("web")).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    networks.shutdown().unwrap();
    assert_eq!(run("nft", &["list", "tables"]), "");
}
