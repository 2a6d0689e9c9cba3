//! Images: pull, look-up, names, removal, push, against a scripted registry.

mod faults;
mod names;
mod pull;
mod push;
mod shapes;

use std::path::Path;
use tare_engine::{
    Engine, EngineConfig,
    config::Limits,
    images::{Image, Progress, ProgressStep, PullRequest},
    request::LogConfig,
};
use tare_testkit::{
    alone::alone,
    fake_registry::FakeRegistry,
    image::{Tar, TestImage, build},
};
use tare_types::{Namespace, Reference, SnapshotKey};
use tokio::sync::mpsc;

/// An engine with stores of its own; nothing of it runs containers.
pub(crate) struct Fixture {
    /// First to be dropped: nothing of the engine writes below the directory when that is removed.
    end: End,
    pub(crate) engine: Engine,
    pub(crate) directory: tempfile::TempDir,
}

/// Shuts the engine down when it is dropped.
struct End(Engine);

impl Drop for End {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.0.shutdown()));
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("tare-images-").tempdir_in("/var/tmp").unwrap();
        let engine = Engine::open(config(directory.path())).await.unwrap();
        Self { end: End(engine.clone()), engine, directory }
    }

    /// The same stores after the daemon went away and came back.
    pub(crate) async fn reopen(self) -> Self {
        let Self { end, engine, directory } = self;
        drop(end);
        drop(engine);
        let path = directory.path().to_path_buf();
        // The database is free when the last task that held it has ended.
        let mut last = None;
        for _ in 0..200 {
            match Engine::open(config(&path)).await {
                Ok(engine) => return Self { end: End(engine.clone()), engine, directory },
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the engine does not open again: {last:?}");
    }

    pub(crate) async fn pull(&self, name: &str) -> tare_engine::Result<Image> {
        self.engine.images().pull(request(name), None).await
    }

    /// Files of the image's top layer by its directory on disk.
    fn file(&self, image: &Image, index: usize, path: &str) -> Option<Vec<u8>> {
        let stores = self.engine.stores();
        let snapshotter = stores.snapshotter("overlayfs").unwrap();
        let mut chain = None;
        for diff_id in &image.config.rootfs.diff_ids[..=index] {
            chain = Some(tare_types::ChainId::next(chain.as_ref(), diff_id));
        }
        let parent = SnapshotKey::new(chain.unwrap().to_string()).unwrap();
        let lowers = snapshotter.lower_dirs(&namespace(), &parent).unwrap();
        use std::os::fd::AsRawFd as _;
        std::fs::read(format!("/proc/self/fd/{}/{path}", lowers[0].as_raw_fd())).ok()
    }

    /// What a failed pull must not leave: names, snapshots, leases, finished blobs.
    fn assert_nothing_left(&self) {
        use tare_store::Tables as _;
        let tx = self.engine.stores().metadata.read().unwrap();
        assert_eq!(tx.images(&namespace()).unwrap().len(), 0, "images");
        assert_eq!(tx.snapshots(&namespace(), "overlayfs").unwrap().len(), 0, "snapshots");
        assert_eq!(tx.leases(&namespace()).unwrap().len(), 0, "leases");
        assert_eq!(tx.contents(&namespace()).unwrap().len(), 0, "content");
        let snapshots = self.directory.path().join("root/io.containerd.snapshotter.v1.overlayfs/snapshots");
        let left = std::fs::read_dir(&snapshots).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "directories of snapshots");
    }
}

fn config(root: &Path) -> EngineConfig {
    EngineConfig {
        root: root.join("root"),
        state: root.join("state"),
        address: root.join("state/tared.sock"),
        instance: "0badcafe".into(),
        runtimes: Default::default(),
        shim: "/nonexistent".into(),
        default_runtime: "io.containerd.runc.v2".into(),
        snapshotter: "overlayfs".into(),
        registry_config: Vec::new(),
        insecure_registries: Vec::new(),
        max_concurrent_downloads: 3,
        bridge_subnet: String::new(),
        log: LogConfig::default(),
        limits: Limits::default(),
        ready_namespaces: 0,
    }
}

pub(crate) fn namespace() -> Namespace {
    Namespace::default_namespace()
}

fn request(name: &str) -> PullRequest {
    PullRequest {
        namespace: namespace(),
        reference: Reference::parse_familiar(name).unwrap(),
        platform: None,
        credentials: None,
        snapshotter: None,
    }
}

/// Two layers: the second one deletes, replaces and adds.
fn sample(word: &str) -> TestImage {
    let lower = Tar::new()
        .directory("etc/", 0o755)
        .file("etc/word", 0o644, word.as_bytes())
        .file("etc/gone", 0o644, b"x")
        .file("bin", 0o755, &vec![7; 100_000])
        .finish();
    let upper = Tar::new().file("etc/.wh.gone", 0o644, b"").file("etc/new", 0o600, word.as_bytes()).finish();
    build(&[lower, upper], &["true"])
}

async fn served(word: &str) -> (FakeRegistry, TestImage, String) {
    let registry = FakeRegistry::start().await.unwrap();
    let image = sample(word);
    registry.put_image("app", "v1", &image);
    let name = format!("{}/app:v1", registry.host());
    (registry, image, name)
}

/// Everything a pull reported.
async fn steps(mut receiver: mpsc::Receiver<Progress>) -> Vec<Progress> {
    let mut all = Vec::new();
    while let Some(progress) = receiver.recv().await {
        all.push(progress);
    }
    all
}

fn count(steps: &[Progress], wanted: &ProgressStep) -> usize {
    steps.iter().filter(|progress| progress.step == *wanted).count()
}
