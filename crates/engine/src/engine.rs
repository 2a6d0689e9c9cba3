//! The engine itself: what is opened once and shared by all doors.

use crate::{
    Result,
    archive::Archive,
    clock,
    config::EngineConfig,
    containers::Containers,
    entry::Entry,
    error::Error,
    events::{Body, Events},
    images::{ImageState, Images},
    key::Key,
    lifecycle,
    network::Networks,
    records::Records,
    roster::Roster,
    shim,
    stats::Stats,
    stores::Stores,
    tasks::Tasks,
    top::Top,
    volumes::{VolumeState, Volumes},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    future::Future,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tare_types::{ErrorKind, ExecId, Namespace};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long verbs under way may take when the engine shuts down.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// An engine that is not kept alive by whoever holds this.
#[derive(Clone)]
pub(crate) struct WeakEngine(Weak<Inner>);

/// What the facets share.
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) events: Events,
    pub(crate) stores: Stores,
    images: ImageState,
    pub(crate) roster: Roster,
    pub(crate) networks: Arc<tare_net::Networks>,
    pub(crate) launcher: shim::launch::Launcher,
    /// Held by who writes the names of neighbours.
    pub(crate) names: Mutex<()>,
    pub(crate) volumes: Arc<VolumeState>,
    /// Execs of the Docker door, by id.
    execs: Mutex<HashMap<ExecId, Key>>,
    /// The engine's own tasks; joined at shutdown.
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("instance", &self.inner.config.instance).finish_non_exhaustive()
    }
}

impl WeakEngine {
    /// The engine, unless it is gone.
    pub(crate) fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(|inner| Engine { inner })
    }
}

impl Engine {
    /// Opens the stores, takes up what runs, and undoes what a crash left half done.
    ///
    /// Containers whose shim answers are as they were; exits that happened meanwhile are reported with their
    /// codes and restart policies followed. Bounded in time: a shim that does not answer within
    /// [`crate::config::Limits::shim_reconnect`] counts as dead. The socket for shims' events
    /// (`<address>.ttrpc`) is served from here on.
    ///
    /// # Errors
    /// When a directory, a socket or the metadata database cannot be opened.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        make_directory(&config.root, 0o700)?;
        make_directory(&config.state, 0o711)?;
        let (root, networks) = (config.root.clone(), network_config(&config)?);
        let (stores, networks, volumes) = crate::stores::blocking("open stores", move || {
            let networks = tare_net::Networks::open(networks)
                .map_err(|error| Error::new(error.kind(), "open", "networks", "", "").with_source(error))?;
            let stores = Stores::open(&root)?;
            crate::images::remove_leftovers(&stores)?;
            crate::images::remove_scratch(&root)?;
            Ok((stores, Arc::new(networks), Arc::new(VolumeState::open(&root)?)))
        })
        .await?;
        let inner = Inner {
            events: Events::new(config.limits.event_history),
            stores,
            images: ImageState::new(&config),
            networks,
            launcher: shim::launch::Launcher::default(),
            names: Mutex::default(),
            volumes,
            roster: Roster::default(),
            execs: Mutex::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.inner.launcher.listen(engine.config());
        let listener = shim::listener::bind(&shim::bootstrap::ttrpc_address(&engine.config().address))?;
        let (serving, stop) = (engine.clone(), engine.inner.stop.clone());
        // Not in the tracker's engine reference cycle: it ends with the token.
        engine.inner.tracker.spawn(async move { shim::listener::serve(listener, &serving, stop).await });
        lifecycle::restore::restore(&engine).await?;
        let schedule = crate::images::run_schedule(engine.downgrade(), engine.inner.stop.clone());
        engine.inner.tracker.spawn(schedule);
        engine.prepare_networks();
        // What a daemon before this one did not come to.
        engine.stores().snapshotters.values().for_each(|one| crate::images::sync_later(&engine, one));
        Ok(engine)
    }

    /// What it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Containers from images: the Docker door's verbs.
    pub fn containers(&self) -> Containers {
        Containers::new(self.clone())
    }

    /// Container records as containerd's door sees them.
    pub fn records(&self) -> Records {
        Records::new(self.clone())
    }

    /// Tasks: the processes of containers, as containerd's door sees them.
    pub fn tasks(&self) -> Tasks {
        Tasks::new(self.clone())
    }

    /// Images.
    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// What the image verbs share.
    pub(crate) fn image_state(&self) -> &ImageState {
        &self.inner.images
    }

    /// Volumes.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.clone())
    }

    /// Networks.
    pub fn networks(&self) -> Networks {
        Networks::new(self.clone())
    }

    /// Files in and out of containers.
    pub fn archive(&self) -> Archive {
        Archive::new(self.clone())
    }

    /// Resource usage.
    pub fn stats(&self) -> Stats {
        Stats::new(self.clone())
    }

    /// Processes of containers.
    pub fn top(&self) -> Top {
        Top::new(self.clone())
    }

    /// What happened and happens.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The stores: content, snapshots, leases, namespaces, images as rows.
    pub fn stores(&self) -> &Stores {
        &self.inner.stores
    }

    /// Ends the engine's own tasks and releases its connections; containers run on.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tracker.close();
        // A verb that waits for a program ends with the process: whatever it leaves is undone at the next start.
        if tokio::time::timeout(SHUTDOWN, self.inner.tracker.wait()).await.is_err() {
            tracing::warn!("verbs were still under way at the end");
        }
        let networks = self.inner.networks.clone();
        let ended = crate::stores::blocking("end networks", move || {
            networks
                .shutdown()
                .map_err(|error| Error::new(error.kind(), "end", "networks", "", "").with_source(error))
        })
        .await;
        if let Err(error) = ended {
            tracing::warn!(%error, "the bridge stays until the daemon starts again");
        }
        remove_cgroup_parent(&self.inner.config.instance);
    }

    /// Has the bridge ready before the first container asks for it. What fails here fails there again, and is
    /// then told to somebody.
    fn prepare_networks(&self) {
        let networks = self.inner.networks.clone();
        self.spawn(async move {
            let prepared = crate::stores::blocking("prepare networks", move || {
                networks.prepare().map_err(|error| {
                    Error::new(error.kind(), "prepare", "networks", "", "").with_source(error)
                })
            })
            .await;
            if let Err(error) = prepared {
                tracing::warn!(%error, "the bridge is not there yet");
            }
        });
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.inner))
    }

    /// Cancelled when the engine shuts down.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Runs a verb to its end in a task of its own, whether or not the caller stays.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.inner.tracker.spawn(work).await.unwrap_or_else(|error| {
            let detail = "the task that did it ended";
            Err(Error::new(ErrorKind::Internal, operation, "", "", detail).with_source(error))
        })
    }

    /// Runs work that nobody waits for; shutdown does.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.tracker.spawn(work);
    }

    /// Execs of the Docker door, by id.
    pub(crate) fn execs(&self) -> MutexGuard<'_, HashMap<ExecId, Key>> {
        self.inner.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container that a reference means.
    pub(crate) fn entry(
        &self,
        operation: &'static str,
        namespace: &Namespace,
        reference: &str,
    ) -> Result<Arc<Entry>> {
        self.inner.roster.resolve(operation, namespace, reference)
    }

    /// Tells everybody what happened to a container.
    pub(crate) fn publish(&self, entry: &Entry, body: Body) {
        self.publish_with(entry, body, &[]);
    }

    /// As [`Engine::publish`], with further attributes.
    pub(crate) fn publish_with(&self, entry: &Entry, body: Body, more: &[(&str, String)]) {
        let record = entry.record();
        let mut attributes = BTreeMap::new();
        if let Some(engine) = &record.engine {
            attributes.clone_from(&record.labels);
            attributes.insert("name".to_owned(), engine.name.clone());
            attributes.insert("image".to_owned(), engine.image_request.clone());
            attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        }
        self.inner.events.publish(&entry.key.namespace, clock::now(), body, Arc::new(attributes));
    }

    /// Directory of a container's files that outlive a run: log, hosts, resolv.conf, hostname.
    pub(crate) fn container_directory(&self, key: &Key) -> PathBuf {
        self.config().root.join("containers").join(key.namespace.as_str()).join(key.id.as_str())
    }
}

/// Makes a directory with its parents; one that is there gets the mode.
fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode))).map_err(|error| {
        Error::new(ErrorKind::Internal, "make", "directory", path.display().to_string(), "")
            .with_source(error)
    })
}

pub(crate) fn network_config(config: &EngineConfig) -> Result<tare_net::Config> {
    let bridge_subnet = match config.bridge_subnet.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "use", "bridge subnet", text, "").with_source(error)
        })?),
    };
    Ok(tare_net::Config {
        root: config.root.join("network"),
        state: config.state.join("network"),
        instance: config.instance.clone(),
        host_lock: tare_net::DEFAULT_HOST_LOCK.into(),
        bridge_subnet,
        pools: tare_net::default_pools(),
        ready_namespaces: config.ready_namespaces,
    })
}

/// Removes the instance's cgroup parent from every hierarchy. One that still holds containers stays: the kernel
/// refuses to remove it, and the next daemon uses it again.
pub(crate) fn remove_cgroup_parent(instance: &str) {
    let name = format!("tare-{instance}");
    let root = Path::new("/sys/fs/cgroup");
    // v2 has the parent at the root, v1 below each hierarchy.
    let _busy_or_absent = fs::remove_dir(root.join(&name));
    for hierarchy in fs::read_dir(root).into_iter().flatten().flatten() {
        let _busy_or_absent = fs::remove_dir(hierarchy.path().join(&name));
    }
}
