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
