//! The door itself: the engine, and which handler does what.

use crate::body::{self, Handled};
use crate::convert::defaults::Defaults;
use crate::error::ApiError;
use crate::handlers::{
    archive, attach, containers, exec, images, lifecycle, logs, networks, pull, stats, system, transfer,
    volumes, websocket,
};
use crate::request::Request;
use crate::routes::Route;
use http::header::HeaderValue;
use std::sync::Arc;
use tare_engine::Engine;
use tare_types::Namespace;
use tokio_util::task::TaskTracker;

/// What the daemon tells clients about itself, beside what the engine knows.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Version of the daemon.
    pub version: String,
    /// Revision of its source, or empty.
    pub git_commit: String,
    /// When it was built, as text, or empty.
    pub build_time: String,
}

/// The Docker Engine API over an engine. Cloning shares it. No state of its own.
#[derive(Debug, Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    config: DockerConfig,
    defaults: Defaults,
    namespace: Namespace,
    server: HeaderValue,
    cpus: usize,
    tasks: TaskTracker,
}

impl Docker {
    /// A door to this engine.
    pub fn new(engine: Engine, config: DockerConfig) -> Self {
        let defaults = Defaults { log: engine.config().log.clone(), cgroup_v2: crate::host::has_cgroup_v2() };
        let server = format!("Tare/{} (linux)", config.version);
        let server = HeaderValue::from_str(&server).unwrap_or(HeaderValue::from_static("Tare (linux)"));
        let cpus = std::thread::available_parallelism().map_or(1, Into::into);
        let namespace = Namespace::default_namespace();
        let tasks = TaskTracker::new();
        Self { inner: Arc::new(Inner { engine, config, defaults, namespace, server, cpus, tasks }) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn config(&self) -> &DockerConfig {
        &self.inner.config
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.inner.defaults
    }

    /// The namespace of everything that this door shows.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    pub(crate) fn cpus(&self) -> usize {
        self.inner.cpus
    }

    pub(crate) fn server_header(&self) -> HeaderValue {
        self.inner.server.clone()
    }

    /// Connections and attached clients; [`Docker::serve`] waits for them.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Does what a route means.
    pub(crate) async fn handle(&self, route: Route, request: Request, head: bool) -> Handled {
        match route {
            Route::Ping => system::ping(head),
            Route::Options => system::options(),
            Route::Version => system::version(self),
            Route::Info => system::info(self, request.version).await,
            Route::Events => system::events(self, &request),
            Route::DiskUsage => system::disk_usage(self, &request).await,
            Route::Auth => system::auth(self, request).await,
            Route::BuildCachePrune => system::build_cache_prune(),
            Route::PluginInspect(name) => Err(ApiError::not_found(format!("plugin \"{name}\" not found"))),
            Route::PluginList => body::ok(&[(); 0]),
            Route::SwarmOnly => Err(system::not_a_manager()),
            Route::SwarmLeave => Err(system::not_in_swarm()),
            Route::DistributionInspect(name) => pull::inspect_remote(self, &request, &name).await,
            Route::ContainerAttachSocket(id) => websocket::attach(self, request, &id).await,
            Route::ContainerList => containers::list(self, &request).await,
            Route::ContainerCreate => containers::create(self, request).await,
            Route::ContainerPrune => containers::prune(self, &request).await,
            Route::ContainerInspect(name) => containers::inspect(self, &request, &name).await,
            Route::ContainerRemove(name) => containers::remove(self, &request, &name).await,
            Route::ContainerRename(name) => containers::rename(self, &request, &name).await,
            Route::ContainerUpdate(name) => containers::update(self, request, &name).await,
            Route::ContainerChanges(name) => containers::changes(self, &name).await,
            Route::ContainerTop(name) => containers::top(self, &request, &name).await,
            Route::ContainerStart(name) => lifecycle::start(self, &request, &name).await,
            Route::ContainerStop(name) => lifecycle::stop(self, &request, &name).await,
            Route::ContainerRestart(name) => lifecycle::restart(self, &request, &name).await,
            Route::ContainerKill(name) => lifecycle::kill(self, &request, &name).await,
            Route::ContainerPause(name) => lifecycle::pause(self, &name).await,
            Route::ContainerUnpause(name) => lifecycle::unpause(self, &name).await,
            Route::ContainerWait(name) => lifecycle::wait(self, &request, &name).await,
            Route::ContainerResize(name) => lifecycle::resize(self, &request, &name).await,
            Route::ContainerAttach(name) => attach::attach(self, request, &name).await,
            Route::ContainerLogs(name) => logs::logs(self, &request, &name).await,
            Route::ContainerStats(name) => stats::stats(self, &request, &name).await,
            Route::ContainerExport(name) => transfer::export(self, &name).await,
            Route::ArchiveStat(name) => archive::stat(self, &request, &name).await,
            Route::ArchiveGet(name) => archive::get(self, &request, &name).await,
            Route::ArchivePut(name) => archive::put(self, request, &name).await,
            Route::ExecCreate(name) => exec::create(self, request, &name).await,
            Route::ExecInspect(id) => exec::inspect(self, &id).await,
            Route::ExecStart(id) => exec::start(self, request, &id).await,
            Route::ExecResize(id) => exec::resize(self, &request, &id).await,
            Route::Commit => transfer::commit(self, request).await,
            Route::ImageLoad => transfer::load(self, request).await,
            Route::ImagesSave => {
                let names: Vec<String> = request.query.all("names").map(str::to_owned).collect();
                transfer::save(self, &names).await
            }
            Route::ImageSave(name) => transfer::save(self, &[name]).await,
            Route::ImageList => images::list(self, &request).await,
            Route::ImageCreate => images::create(self, request).await,
            Route::ImagePrune => images::prune(self, &request).await,
            Route::ImageInspect(name) => images::inspect(self, &request, &name).await,
            Route::ImageHistory(name) => images::history(self, &name).await,
            Route::ImagePush(name) => images::push(self, &request, &name).await,
            Route::ImageTag(name) => images::tag(self, &request, &name).await,
            Route::ImageRemove(name) => images::remove(self, &request, &name).await,
            Route::VolumeList => volumes::list(self, &request).await,
            Route::VolumeCreate => volumes::create(self, request).await,
            Route::VolumePrune => volumes::prune(self, &request).await,
            Route::VolumeInspect(name) => volumes::inspect(self, &name).await,
            Route::VolumeRemove(name) => volumes::remove(self, &request, &name).await,
            Route::NetworkList => networks::list(self, &request).await,
            Route::NetworkPrune => networks::prune(self, &request).await,
            Route::NetworkCreate => networks::create(self, request).await,
            Route::NetworkConnect(name) => networks::connect(self, request, &name).await,
            Route::NetworkDisconnect(name) => networks::disconnect(self, request, &name).await,
            Route::NetworkRemove(name) => networks::remove(self, &name).await,
            Route::NetworkInspect(name) => networks::inspect(self, &name).await,
            Route::NotImplemented => unreachable!("invariant: answered before a handler is chosen"),
        }
    }
}
