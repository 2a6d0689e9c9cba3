//! Networks that a person defines: made, kept apart, connected, removed, and found again after a crash.

use crate::host::{Host, Server, ask_tcp, key, request, run, within};
use std::time::Duration;
use tare_net::{AttachRequest, NewNetwork, leftovers};
use tare_types::ErrorKind;

const INSTANCE: &str = "0a1b2c3d";

fn new(name: &str) -> NewNetwork {
    NewNetwork { name: name.to_owned(), ..NewNetwork::default() }
}

#[test]
fn a_network_has_its_own_bridge_and_its_containers_reach_no_other() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    networks.prepare().unwrap();
    let front = networks.create(&new("front")).unwrap();
    let back = networks.create(&new("back")).unwrap();
    assert_eq!(front.subnet.unwrap().to_string(), "172.18.0.0/16");
    assert_eq!(back.subnet.unwrap().to_string(), "172.19.0.0/16");
    let a = networks.attach(&request("a", "front")).unwrap();
    let b = networks.attach(&request("b", "front")).unwrap();
    let c = networks.attach(&request("c", "back")).unwrap();
    let (_b, _c) = (Server::start(&b, "b", 80), Server::start(&c, "c", 80));
    let (at_b, at_c) = (b.endpoint.as_ref().unwrap().ip, c.endpoint.as_ref().unwrap().ip);
    let from = a.path.clone().unwrap();
    assert_eq!(within(&from, || ask_tcp(at_b, 80)).unwrap(), "b 172.18.0.2");
    assert!(within(&from, || ask_tcp(at_c, 80)).is_err(), "networks are kept apart");

    let connection = networks.connect(&request("a", "back")).unwrap();
    assert_eq!((connection.inside.as_str(), connection.endpoint.gateway), ("eth1", None));
    assert_eq!(within(&from, || ask_tcp(at_c, 80)).unwrap(), "c 172.19.0.3");
    let again = networks.connect(&request("a", "back")).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::PermissionDenied);
    assert_eq!(networks.containers(&back.id).len(), 2);
    assert_eq!(networks.remove("back").unwrap_err().kind(), ErrorKind::PermissionDenied);

    networks.disconnect(&key("a"), "back").unwrap();
    assert!(within(&from, || ask_tcp(at_c, 80)).is_err());
    assert_eq!(networks.disconnect(&key("a"), "back").unwrap_err().kind(), ErrorKind::NotFound);
    let reused = networks.connect(&request("a", "back")).unwrap();
    assert_eq!(reused.endpoint.ip, connection.endpoint.ip, "its address was given back");

    drop((_b, _c));
    for id in ["a", "b", "c"] {
        networks.release(&key(id)).unwrap();
    }
    networks.settle(Duration::from_secs(5)).unwrap();
    networks.remove("back").unwrap();
    assert_eq!(networks.inspect("back").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!run("ip", &["-o", "link"]).contains(back.interface.as_ref().unwrap()));
    networks.remove(&front.id).unwrap();
    networks.shutdown().unwrap();
    assert_eq!(leftovers(&host.config(INSTANCE)).unwrap(), []);
}

#[test]
fn an_internal_network_has_no_way_out() {
    let Some(host) = Host::enter() else { return };
    let outside = host.outside();
    let networks = host.networks(INSTANCE);
    let network = networks.create(&NewNetwork { internal: true, ..new("inner") }).unwrap();
    let a = networks.attach(&request("a", "inner")).unwrap();
    let b = networks.attach(&request("b", "inner")).unwrap();
    assert_eq!(a.endpoint.as_ref().unwrap().gateway, None);
    let _b = Server::start(&b, "b", 80);
    let world = tare_net::Sandbox { path: Some(outside), ..a.clone() };
    let _world = Server::start(&world, "world", 7);
    let (from, to) = (a.path.clone().unwrap(), b.endpoint.as_ref().unwrap().ip);
    assert!(within(&from, || ask_tcp(to, 80)).is_ok());
    // A container that gives itself a route is stopped by the rules.
    let at = format!("--net={}", from.display());
    run("nsenter", &[&at, "ip", "route", "add", "default", "via", &network.gateway.unwrap().to_string()]);
    assert!(within(&from, || ask_tcp(crate::host::ip(crate::host::OUTSIDE), 7)).is_err());
}

#[test]
fn what_cannot_be_defined_is_refused_and_leaves_nothing() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let subnet = |text: &str| Some(text.parse().unwrap());
    networks.create(&NewNetwork { subnet: subnet("10.9.0.0/24"), ..new("taken") }).unwrap();
    let wrong_gateway = Some("10.7.1.1".parse().unwrap());
    for (wrong, kind) in [
        (new("taken"), ErrorKind::AlreadyExists),
        (new("bridge"), ErrorKind::AlreadyExists),
        (new(""), ErrorKind::InvalidArgument),
        (new(" "), ErrorKind::InvalidArgument),
        (
            NewNetwork { subnet: subnet("10.7.0.0/24"), range: subnet("10.8.0.0/25"), ..new("range") },
            ErrorKind::InvalidArgument,
        ),
        (
            NewNetwork { reserved: [("r".to_owned(), "10.1.1.1".parse().unwrap())].into(), ..new("aux") },
            ErrorKind::InvalidArgument,
        ),
        (NewNetwork { subnet: subnet("10.9.0.128/25"), ..new("over") }, ErrorKind::PermissionDenied),
        (NewNetwork { subnet: subnet("10.8.0.0/31"), ..new("small") }, ErrorKind::InvalidArgument),
        (
            NewNetwork { subnet: subnet("10.7.0.0/24"), gateway: wrong_gateway, ..new("gate") },
            ErrorKind::InvalidArgument,
        ),
    ] {
        assert_eq!(networks.create(&wrong).unwrap_err().kind(), kind, "{}", wrong.name);
    }
    // A route of the host is nobody's to take.
    run("ip", &["link", "add", "other", "type", "veth", "peer", "name", "far"]);
    run("ip", &["link", "set", "other", "up"]);
    run("ip", &["route", "add", "10.6.0.0/16", "dev", "other"]);
    let routed = NewNetwork { subnet: subnet("10.6.1.0/24"), ..new("routed") };
    assert_eq!(networks.create(&routed).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let names: Vec<_> = networks.list().into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["bridge", "host", "none", "taken"]);
    assert_eq!(networks.remove("bridge").unwrap_err().kind(), ErrorKind::PermissionDenied);

    let fixed = AttachRequest { ip: Some("10.9.0.77".parse().unwrap()), ..request("f", "taken") };
    assert_eq!(networks.attach(&fixed).unwrap().endpoint.unwrap().ip.to_string(), "10.9.0.77");
}

#[test]
fn networks_and_connections_are_there_after_a_crash() {
    let Some(host) = Host::enter() else { return };
    let networks = host.networks(INSTANCE);
    let one = networks.create(&new("one")).unwrap();
    networks.create(&new("two")).unwrap();
    let a = networks.attach(&request("a", "one")).unwrap();
    let b = networks.attach(&request("b", "two")).unwrap();
    networks.connect(&request("a", "two")).unwrap();
    let _b = Server::start(&b, "b", 80);
    // As kill -9: nothing is let go, and the lock goes with the process.
    drop(networks);
    let interface = one.interface.clone().unwrap();
    run("ip", &["link", "del", &interface]);
    run("ip", &["link", "add", "n0a1b2c3dffffff", "type", "bridge"]);

    let networks = host.networks(INSTANCE);
    let report = networks.reconcile(&[key("a"), key("b")]).unwrap();
    assert!(format!("{:?}", report.removed).contains("n0a1b2c3dffffff"), "{report:?}");
    assert_eq!(networks.inspect("one").unwrap().subnet, one.subnet);
    let port = run("ip", &["-o", "link", "show", "master", &interface]);
    assert!(port.contains(&a.endpoint.as_ref().unwrap().interface), "{port}");
    let to = b.endpoint.as_ref().unwrap().ip;
    assert!(within(&a.path.clone().unwrap(), || ask_tcp(to, 80)).is_ok());
    let c = networks.connect(&request("b", "one")).unwrap();
    let known: Vec<_> = networks.sandbox(&key("a")).unwrap().endpoints().map(|(_, e)| e.clone()).collect();
    assert!(known.iter().all(|e| e.interface != c.endpoint.interface && e.ip != c.endpoint.ip));

    networks.reconcile(&[]).unwrap();
    networks.settle(Duration::from_secs(5)).unwrap();
    networks.remove("one").unwrap();
    networks.remove("two").unwrap();
}
