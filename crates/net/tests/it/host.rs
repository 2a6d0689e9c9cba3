//! A host of the test's own: the test's thread in new network and mount namespaces, and a machine beyond its wire.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tare_net::{AttachRequest, Config, ContainerKey, Networks, Sandbox, default_pools};
use tare_sys::netns::Stay;
use tare_types::{
    ContainerId, Namespace,
    port::{Protocol, PublishedPort},
};

/// The address of the host on its wire, and of the machine at the other end.
pub(crate) const HOST: &str = "198.51.100.1";
/// See [`HOST`].
pub(crate) const OUTSIDE: &str = "198.51.100.2";

/// The test's host.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
}

impl Host {
    /// Enters new namespaces; `None`, with the reason printed, where that is not allowed.
    pub(crate) fn enter() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            tare_testkit::skip::skipped("needs root for network namespaces");
            return None;
        }
        let both = rustix::thread::UnshareFlags::NEWNET | rustix::thread::UnshareFlags::NEWNS;
        #[allow(
            deprecated,
            reason = "the descriptor table stays shared: what the unsafe one warns of is not done"
        )]
        rustix::thread::unshare(both).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        run("ip", &["link", "set", "lo", "up"]);
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn config(&self, instance: &str) -> Config {
        let at = self.directory.path().join(instance);
        Config {
            root: at.join("root/network"),
            state: at.join("state/network"),
            instance: instance.to_owned(),
            host_lock: self.directory.path().join("subnets.lock"),
            bridge_subnet: None,
            pools: default_pools(),
            ready_namespaces: 2,
        }
    }

    pub(crate) fn networks(&self, instance: &str) -> Networks {
        Networks::open(self.config(instance)).unwrap()
    }

    /// A machine beyond the host's wire: a namespace file whose `eth0` leads to the host's `uplink`.
    pub(crate) fn outside(&self) -> PathBuf {
        let path = self.directory.path().join("outside");
        std::fs::write(&path, "").unwrap();
        run("unshare", &[&format!("--net={}", path.display()), "ip", "link", "set", "lo", "up"]);
        let at = format!("--net={}", path.display());
        run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "far"]);
        run("ip", &["addr", "add", &format!("{HOST}/24"), "dev", "uplink"]);
        run("ip", &["link", "set", "uplink", "up"]);
        let stay = Stay::enter(std::fs::File::open(&path).unwrap().as_fd()).unwrap();
        let pid = std::fs::read_link("/proc/thread-self").unwrap();
        let pid = pid.file_name().unwrap().to_str().unwrap().to_owned();
        // The thread is named by its id: `ip` moves a link to the namespace of a task.
        stay.leave().unwrap();
        let _ = pid;
        let hold =
            Command::new("nsenter").args([at.as_str(), "cat"]).stdin(std::process::Stdio::piped()).spawn();
        let mut hold = hold.unwrap();
        until("the holder is in the namespace", || same_namespace(hold.id(), &path));
        run("ip", &["link", "set", "far", "netns", &hold.id().to_string(), "name", "eth0"]);
        drop(hold.stdin.take());
        hold.wait().unwrap();
        run("nsenter", &[&at, "ip", "addr", "add", &format!("{OUTSIDE}/24"), "dev", "eth0"]);
        run("nsenter", &[&at, "ip", "link", "set", "eth0", "up"]);
        path
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Pinned namespaces keep their files busy. Mounts are this thread's own: they are not seen from elsewhere.
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for place in places.filter(|place| Path::new(place).starts_with(self.directory.path())) {
            // One that is gone is as good.
            rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).unwrap_or_default();
        }
    }
}

fn same_namespace(pid: u32, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| std::fs::metadata(path).map(|m| m.ino()).ok();
    of(Path::new(&format!("/proc/{pid}/ns/net"))) == of(path)
}

/// Runs a tool that must succeed; returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for a condition, at most ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn key(id: &str) -> ContainerKey {
    ContainerKey { namespace: Namespace::default_namespace(), id: ContainerId::new(id).unwrap() }
}

pub(crate) fn request(id: &str, network: &str) -> AttachRequest {
    AttachRequest {
        container: key(id),
        network: network.to_owned(),
        name: id.to_owned(),
        ip: None,
        mac: None,
    }
}

pub(crate) fn port(
    protocol: Protocol,
    host_ip: Option<&str>,
    host_port: u16,
    container_port: u16,
) -> PublishedPort {
    PublishedPort { protocol, host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port, container_port }
}

/// Does something in a network namespace.
pub(crate) fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let _stay = Stay::enter(std::fs::File::open(namespace).unwrap().as_fd()).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

/// A server in a container that answers with its name and who asked.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// TCP and UDP on `port` of a sandbox.
    pub(crate) fn start(sandbox: &Sandbox, name: &str, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, name, run) = (sandbox.path.clone().unwrap(), name.to_owned(), Arc::clone(&stop));
        let (tcp, udp) = within(&path, || {
            (TcpListener::bind(("0.0.0.0", port)).unwrap(), UdpSocket::bind(("0.0.0.0", port)).unwrap())
        });
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !run.load(Ordering::Relaxed) {
                if let Ok((mut stream, from)) = tcp.accept() {
                    let _gone = stream.write_all(format!("{name} {}", from.ip()).as_bytes());
                }
                if let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _gone = udp.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// Asks a server over TCP; what it answered, or the error.
pub(crate) fn ask_tcp(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip.into(), port), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks a server over UDP.
pub(crate) fn ask_udp(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(SocketAddr::new(ip.into(), port))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
