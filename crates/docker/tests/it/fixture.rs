//! A door of its own for each test: engine, directories, socket; with an image where the test runs containers.

use crate::http::{Answer, Opened, call, open};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tare_docker::{Docker, DockerConfig};
use tare_engine::{Engine, EngineConfig, config::RuntimeEntry};
use tare_testkit::fake_registry::FakeRegistry;
use tare_testkit::image::{self, Tar};
use tare_testkit::skip;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Programs of busybox that tests use.
const APPLETS: [&str; 8] = ["sh", "cat", "echo", "true", "sleep", "head", "yes", "id"];

fn layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let mut tar = Tar::new().directory("bin", 0o755).file("bin/busybox", 0o755, &busybox);
    for applet in APPLETS {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.directory("etc", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:\n")
        .directory("tmp", 0o1777)
        .finish()
}

/// The shim of the same build, beside the test's own directory.
fn shim() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().parent().unwrap().join("containerd-shim-tare-v2")
}

/// Go's shim, under the runtime name `go` (package containerd).
pub(crate) const GO_SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running door.
pub(crate) struct Door {
    pub(crate) socket: PathBuf,
    /// `127.0.0.1:port/busybox:latest`.
    pub(crate) image: String,
    registry: Option<FakeRegistry>,
    engine: Engine,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Door {
    /// A door whose engine has pulled [`Door::image`] from a registry of the test; `None`, and a line that says why,
    /// where containers cannot run.
    pub(crate) async fn with_image() -> Option<Self> {
        let missing = [
            (rustix::process::geteuid().is_root(), "root"),
            (Path::new("/bin/busybox").is_file(), "/bin/busybox (package busybox-static)"),
            (shim().is_file(), "containerd-shim-tare-v2 in the target directory (cargo build -p tare-shim)"),
        ];
        if !skip::needs(&missing) {
            return None;
        }
        let registry = FakeRegistry::start().await.unwrap();
        registry.put_image("busybox", "latest", &image::build(&[layer()], &["/bin/sh"]));
        let mut door = Self::open().await;
        door.image = format!("{}/busybox:latest", registry.host());
        let pulled = door.post(&format!("/images/create?fromImage={}", door.image), None).await;
        assert_eq!(pulled.status, 200, "{}", String::from_utf8_lossy(&pulled.body));
        door.registry = Some(registry);
        Some(door)
    }

    /// Opens an engine below a temporary directory and serves it.
    pub(crate) async fn open() -> Self {
        let directory = tempfile::Builder::new().prefix("tare-docker-").tempdir().unwrap();
        let path = directory.path();
        let instance = std::process::id() << 8 | NEXT.fetch_add(1, Ordering::Relaxed) & 0xff;
        let engine = Engine::open(EngineConfig {
            root: path.join("root"),
            state: path.join("state"),
            address: path.join("tared.sock"),
            instance: format!("{instance:08x}"),
            runtimes: [("go".to_owned(), RuntimeEntry { shim: Some(GO_SHIM.into()), binary_name: None })]
                .into(),
            shim: shim(),
            default_runtime: "io.containerd.runc.v2".into(),
            snapshotter: "overlayfs".into(),
            registry_config: Vec::new(),
            insecure_registries: Vec::new(),
            max_concurrent_downloads: 3,
            bridge_subnet: String::new(),
            ready_namespaces: 0,
            log: Default::default(),
            limits: Default::default(),
        })
        .await
        .unwrap();
        let socket = path.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let config =
            DockerConfig { version: "1.2.3".into(), git_commit: "abc".into(), build_time: String::new() };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(Docker::new(engine.clone(), config).serve(listener, shutdown.clone()));
        Self { socket, image: String::new(), registry: None, engine, shutdown, server, _directory: directory }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        call(&self.socket, "GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&str>) -> Answer {
        call(&self.socket, "POST", path, body).await
    }

    /// Creates a container of the image without a network; `more` are further members of the request.
    pub(crate) async fn create(&self, name: &str, command: &[&str], more: &str) -> String {
        let command = serde_json::to_string(command).unwrap();
        let host = if more.contains("HostConfig") { "" } else { r#","HostConfig":{"NetworkMode":"none"}"# };
        let body = format!(r#"{{"Image":"{}","Cmd":{command}{host}{more}}}"#, self.image);
        let created = self.post(&format!("/containers/create?name={name}"), Some(&body)).await;
        assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
        created.json()["Id"].as_str().unwrap().to_owned()
    }

    /// Creates and starts one.
    pub(crate) async fn run(&self, name: &str, command: &[&str], more: &str) -> String {
        let id = self.create(name, command, more).await;
        let started = self.post(&format!("/containers/{id}/start"), None).await;
        assert_eq!(started.status, 204, "{}", String::from_utf8_lossy(&started.body));
        id
    }

    /// Waits for the exit and gives the code.
    pub(crate) async fn wait(&self, name: &str) -> i64 {
        self.post(&format!("/containers/{name}/wait"), None).await.json()["StatusCode"].as_i64().unwrap()
    }

    /// A request that takes the connection.
    pub(crate) async fn upgrade(&self, path: &str, body: Option<&str>) -> Opened {
        open(&self.socket, "POST", path, true, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        call(&self.socket, method, path, None).await
    }

    /// Ends door and engine, and tells whether the door ended well.
    pub(crate) async fn close(self) {
        // A container left behind would outlive the test.
        for container in self.get("/containers/json?all=1").await.json().as_array().unwrap() {
            let id = container["Id"].as_str().unwrap();
            self.call("DELETE", &format!("/containers/{id}?force=1&v=1")).await;
        }
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        self.engine.shutdown().await;
    }
}
