//! Addresses and published ports through the docker client.

use crate::host::{Host, wait_for};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The body that a server at an address answers with; `None` when it does not.
pub(crate) fn fetch(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.rsplit("\r\n\r\n").next().map(str::to_owned).filter(|body| !body.is_empty())
}

#[test]
fn a_published_port_answers_also_while_no_daemon_runs() {
    let Some(mut host) = Host::start() else { return };
    let image = host.image.clone();
    let serve = "echo served > /data/name; exec httpd -f -p 80 -h /data";
    host.docker(&["run", "-d", "--name", "web", "-p", "127.0.0.1:0:80", &image, "sh", "-c", serve]).good();
    let port = host.docker(&["port", "web", "80/tcp"]).good().out;
    let body = wait_for("the server", || fetch(&port));
    assert_eq!(body, "served\n");
    let taken = host.docker(&["run", "--rm", "-p", &format!("{port}:80"), &image, "true"]);
    assert_eq!(taken.code, 125, "{taken:?}");
    host.kill();
    assert_eq!(fetch(&port).as_deref(), Some("served\n"));
    host.up();
    assert_eq!(fetch(&port).as_deref(), Some("served\n"));
    host.docker(&["rm", "-f", "web"]).good();
    wait_for("the port to close", || TcpStream::connect(&port).is_err().then_some(()));
}

#[test]
fn a_container_has_an_address_and_its_own_name() {
    let Some(host) = Host::start() else { return };
    let image = host.image.clone();
    let out = host
        .docker(&["run", "--rm", "--hostname", "me", &image, "sh", "-c", "ip addr show eth0; cat /etc/hosts"])
        .good()
        .out;
    assert!(out.contains("inet 1"), "{out}");
    let own = |line: &str| line.split_whitespace().nth(1) == Some("me");
    assert!(out.lines().any(own), "{out}");
    let out = host.docker(&["run", "--rm", "--network", "none", &image, "ip", "link"]).good().out;
    assert!(!out.contains("eth0"), "{out}");
}

#[test]
fn containers_on_a_network_of_their_own_find_each_other_by_name() {
    let Some(mut host) = Host::start() else { return };
    let image = host.image.clone();
    let net = host.name("net");
    let id = host.docker(&["network", "create", "--label", "team=a", &net]).good().out;
    assert_eq!(id.len(), 64, "{id}");
    let again = host.docker(&["network", "create", &net]);
    assert!(again.code != 0 && again.err.contains("already exists"), "{again:?}");
    let serve = "echo served > /data/name; exec httpd -f -p 80 -h /data";
    let web = ["run", "-d", "--name", "web", "--network", &net, "--network-alias", "shop", &image];
    host.docker(&[&web[..], &["sh", "-c", serve]].concat()).good();
    let ask = |host: &Host, name: &str| {
        let url = format!("http://{name}/name");
        host.docker(&["run", "--rm", "--network", &net, &image, "wget", "-q", "-O", "-", &url])
    };
    for name in ["web", "shop"] {
        wait_for("the server", || (ask(&host, name).out == "served").then_some(()));
    }
    let outside = host.docker(&["run", "--rm", &image, "wget", "-q", "-O", "-", "http://web/name"]);
    assert_ne!(outside.code, 0, "the built-in bridge has no names: {outside:?}");

    // A container that was there hears of who comes later, also on a network that it joined while it ran.
    host.docker(&["run", "-d", "--name", "old", &image, "sleep", "1000"]).good();
    host.docker(&["network", "connect", "--alias", "elder", &net, "old"]).good();
    let from_old = |host: &Host, name: &str| {
        let url = format!("http://{name}/name");
        host.docker(&["exec", "old", "wget", "-q", "-O", "-", &url])
    };
    assert_eq!(from_old(&host, "shop").good().out, "served");
    host.docker(&["run", "-d", "--name", "late", "--network", &net, &image, "sh", "-c", serve]).good();
    wait_for("the late one", || (from_old(&host, "late").out == "served").then_some(()));
    let hosts = host.docker(&["exec", "late", "cat", "/etc/hosts"]).good().out;
    assert!(hosts.contains("elder"), "{hosts}");

    let used = host.docker(&["network", "rm", &net]);
    assert!(used.code != 0 && used.err.contains("has active endpoints"), "{used:?}");
    host.kill();
    host.up();
    assert_eq!(from_old(&host, "shop").good().out, "served", "after the death of the daemon");
    let shown =
        host.docker(&["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", &net]).good().out;
    for name in ["web", "old", "late"] {
        assert!(shown.contains(name), "{shown}");
    }
    host.docker(&["rm", "-f", "late"]).good();
    let hosts = host.docker(&["exec", "old", "cat", "/etc/hosts"]).good().out;
    assert!(!hosts.contains("late"), "{hosts}");
    host.docker(&["network", "disconnect", &net, "old"]).good();
    assert_ne!(from_old(&host, "web").code, 0);
    // What is recorded holds for the next start.
    host.docker(&["stop", "-t", "0", "old"]).good();
    host.docker(&["network", "connect", &net, "old"]).good();
    host.docker(&["start", "old"]).good();
    assert_eq!(from_old(&host, "web").good().out, "served");

    host.docker(&["rm", "-f", "web", "old"]).good();
    let filter = ["network", "ls", "-q", "--no-trunc", "--filter", "type=custom", "--filter", "label=team=a"];
    assert_eq!(host.docker(&filter).good().out, id);
    let pruned = host.docker(&["network", "prune", "-f"]).good().out;
    assert!(pruned.contains(&net), "{pruned}");
    assert!(host.docker(&["network", "rm", "bridge"]).err.contains("pre-defined"));
    assert_eq!(host.docker(&["network", "inspect", &net]).code, 1);
    wait_for("clean-up", || host.leftovers().is_empty().then_some(()));
}
