//! NOTIFY_SOCKET: the test is both the service manager and the program that says it is ready.

use crate::bundle::{Bundle, able};
use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

/// A service manager.
struct Manager(UnixDatagram, PathBuf);

impl Manager {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.path.join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket, path)
    }

    fn run(&self, bundle: &Bundle, arguments: &[&str]) -> Child {
        let mut command = bundle.command(arguments);
        command.env("NOTIFY_SOCKET", &self.1).stdout(std::process::Stdio::null()).spawn().unwrap()
    }

    fn hears(&self, text: &str) {
        let mut bytes = [0; 256];
        let length = self.0.recv(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes[..length]).trim_end(), text);
    }
}

/// Says something on the container's socket as soon as that is there.
fn say(bundle: &Bundle, text: &str) {
    let path = bundle.path.join("state").join(&bundle.id).join("notify/notify.sock");
    let socket = UnixDatagram::unbound().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = socket.send_to(text.as_bytes(), &path) {
        assert!(Instant::now() < deadline, "{path:?}: {error}");
        std::thread::yield_now();
    }
}

/// What the program finds: the variable, and a socket where nothing can be written.
const PROGRAM: &str =
    r#"test -S "$NOTIFY_SOCKET" && ! echo x > /run/notify/x 2> /dev/null && exec sleep 1000"#;

#[test]
fn who_starts_a_created_container_hears_that_it_is_ready() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("notify");
    let manager = Manager::new(&bundle);
    bundle.script(PROGRAM);
    assert!(manager.run(&bundle, &["create", &bundle.id]).wait().unwrap().success());
    let mut start = manager.run(&bundle, &["start", &bundle.id]);
    say(&bundle, "STATUS=almost\nMAINPID=1");
    say(&bundle, "READY=1\nMAINPID=1");
    let state: serde_json::Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    manager.hears("READY=1");
    manager.hears(&format!("MAINPID={}", state["pid"]));
    manager.hears("BARRIER=1");
    assert!(start.wait().unwrap().success());
    assert_eq!(bundle.status(), "running");
}

#[test]
fn the_foreground_names_itself() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("notify-run");
    let manager = Manager::new(&bundle);
    bundle.script(PROGRAM);
    let mut run = manager.run(&bundle, &["run", &bundle.id]);
    say(&bundle, "READY=1");
    manager.hears("READY=1");
    manager.hears(&format!("MAINPID={}", run.id()));
    manager.hears("BARRIER=1");
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    assert_eq!(run.wait().unwrap().code(), Some(137));
}

/// Nobody waits for a program that has ended.
#[test]
fn the_wait_ends_with_the_container() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("notify-end");
    let manager = Manager::new(&bundle);
    bundle.script("exit 3");
    assert!(manager.run(&bundle, &["run", "--detach", &bundle.id]).wait().unwrap().success());
    assert_eq!(bundle.status(), "stopped");
}
