//! A door of its own for each test: engine, directories, socket.

use crate::http::{Answer, call};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tare_docker::{Docker, DockerConfig};
use tare_engine::{Engine, EngineConfig};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running door.
pub(crate) struct Door {
    pub(crate) socket: PathBuf,
    engine: Engine,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Door {
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
            runtimes: Default::default(),
            shim: path.join("no-shim"),
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
        Self { socket, engine, shutdown, server, _directory: directory }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        call(&self.socket, "GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<&str>) -> Answer {
        call(&self.socket, "POST", path, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        call(&self.socket, method, path, None).await
    }

    /// Ends door and engine, and tells whether the door ended well.
    pub(crate) async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        self.engine.shutdown().await;
    }
}
