//! Containers from images: create, start, stop, … with Docker's meaning.
//!
//! `reference` arguments are an id, a name (with or without a leading slash) or a unique prefix of an id, in
//! this order, as Docker resolves them. Every verb runs to completion or rollback in a task of its own: a
//! caller that goes away does not leave half of it.

use crate::{
    Engine, Error, Result,
    images::Image,
    lifecycle::{create, links, remove, start, stop},
    request::{CreateContainer, Resources, RestartPolicy},
    signal,
    state::{ContainerView, Status},
    update,
};
use tare_types::{ContainerId, ErrorKind, Namespace};
use tokio::sync::oneshot;

/// The verbs of containers.
#[derive(Debug, Clone)]
pub struct Containers {
    pub(crate) engine: Engine,
}

/// What [`Containers::create`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// 64 hexadecimal digits.
    pub id: ContainerId,
    /// What was ignored or changed, as sentences.
    pub warnings: Vec<String>,
}

/// How [`Containers::stop`] and [`Containers::restart`] end a container.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds until SIGKILL, negative for ever; `None` is the container's own.
    pub timeout: Option<i64>,
    /// Signal by name or number; `None` is the container's own.
    pub signal: Option<String>,
}

/// How [`Containers::remove`] removes.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// What [`Containers::wait`] waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; true at once for one that does not.
    #[default]
    NotRunning,
    /// Its next exit, also when it does not run yet.
    NextExit,
    /// It is gone.
    Removed,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit status, 128 + signal for a signal.
    pub code: u32,
    /// Why the status is not the program's, else `None`.
    pub error: Option<String>,
}

/// A wait that is registered already: nothing that happens after [`Containers::wait`] returned is missed.
#[derive(Debug)]
pub struct ExitWaiter {
    receiver: oneshot::Receiver<ExitStatus>,
}

impl ExitWaiter {
    /// Waits for the condition.
    ///
    /// # Errors
    /// `Canceled` when the engine shuts down first.
    pub async fn wait(self) -> Result<ExitStatus> {
        self.receiver.await.map_err(|_| {
            Error::new(ErrorKind::Canceled, "wait for", "container", "", "the engine shuts down")
        })
    }
}

/// What [`Containers::update`] changes; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct UpdateContainer {
    /// Limits; fields that are zero or `None` stay as they are.
    pub resources: Option<Resources>,
    /// What follows an exit.
    pub restart: Option<RestartPolicy>,
}

/// Counts for `info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All containers of the namespace.
    pub containers: usize,
    /// Running, paused ones not included.
    pub running: usize,
    /// Paused.
    pub paused: usize,
    /// Neither.
    pub stopped: usize,
}

/// What [`Containers::prune`] removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Ids of the removed containers.
    pub removed: Vec<ContainerId>,
    /// Bytes that their writable layers took.
    pub reclaimed: u64,
}

impl Containers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Makes a container of a present image: snapshot, volumes and record, in one durable commit.
    ///
    /// # Errors
    /// `NotFound` with `what() == "image"` when the image is absent; `AlreadyExists` with
    /// `what() == "container name"` (detail: the id that has it); `InvalidArgument`.
    pub async fn create(&self, request: CreateContainer) -> Result<Created> {
        let image = self.engine.images().get(&request.namespace, &request.image).await?;
        self.create_from(request, image).await
    }

    /// As [`Containers::create`], of an image that the caller has just looked up.
    ///
    /// # Errors
    /// As there.
    pub async fn create_from(&self, request: CreateContainer, image: Image) -> Result<Created> {
        let engine = self.engine.clone();
        self.engine
            .run("create container", async move { create::create(&engine, request, image).await })
            .await
    }

    /// The id that a reference means.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a prefix of several ids.
    pub fn resolve(&self, namespace: &Namespace, reference: &str) -> Result<ContainerId> {
        Ok(self.engine.entry("resolve", namespace, reference)?.key.id.clone())
    }

    /// Record and state of a container.
    ///
    /// # Errors
    /// As [`Containers::resolve`].
    pub async fn get(&self, namespace: &Namespace, reference: &str) -> Result<ContainerView> {
        Ok(self.engine.entry("inspect", namespace, reference)?.view())
    }

    /// All containers of the namespace that the engine drives, newest first; filters are the door's.
    pub async fn list(&self, namespace: &Namespace) -> Vec<ContainerView> {
        let entries = self.engine.inner().roster.list(namespace);
        let mut views: Vec<_> =
            entries.iter().filter(|entry| entry.is_driven()).map(|entry| entry.view()).collect();
        views.sort_by(|a, b| {
            let key = |view: &ContainerView| (view.record.created_at, view.record.id.clone());
            key(b).cmp(&key(a))
        });
        views
    }

    /// Starts it. `Ok(false)` when it runs already.
    ///
    /// # Errors
    /// The first failed step: network, port in use, missing program (detail says so, exit code 127 or 126 is
    /// kept as its state).
    pub async fn start(&self, namespace: &Namespace, reference: &str) -> Result<bool> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("start", namespace, reference)?);
        let work = async move {
            let _turn = entry.turn.lock().await;
            start::start_by_user(&engine, &entry).await
        };
        self.engine.run("start container", work).await
    }

    /// Asks it to end, and kills it after the timeout. `Ok(false)` when it does not run.
    ///
    /// # Errors
    /// As [`Containers::resolve`]; `DeadlineExceeded` when it survives SIGKILL.
    pub async fn stop(&self, namespace: &Namespace, reference: &str, options: StopOptions) -> Result<bool> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("stop", namespace, reference)?);
        self.engine.run("stop container", async move { stop::stop(&engine, &entry, &options).await }).await
    }

    /// Sends a signal, by name or number.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run; `InvalidArgument` for an unknown signal.
    pub async fn kill(&self, namespace: &Namespace, reference: &str, signal: &str) -> Result<()> {
        let signal = signal::parse(if signal.is_empty() { "KILL" } else { signal })?;
        let (engine, entry) = (self.engine.clone(), self.engine.entry("kill", namespace, reference)?);
        self.engine.run("kill container", async move { stop::kill(&engine, &entry, signal).await }).await
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// Those of both.
    pub async fn restart(&self, namespace: &Namespace, reference: &str, options: StopOptions) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("restart", namespace, reference)?);
        self.engine
            .run("restart container", async move { stop::restart(&engine, &entry, &options).await })
            .await
    }

    /// Freezes it.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run or is paused.
    pub async fn pause(&self, namespace: &Namespace, reference: &str) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("pause", namespace, reference)?);
        self.engine.run("pause container", async move { stop::pause(&engine, &entry).await }).await
    }

    /// Thaws it.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not paused.
    pub async fn unpause(&self, namespace: &Namespace, reference: &str) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("unpause", namespace, reference)?);
        self.engine.run("unpause container", async move { stop::unpause(&engine, &entry).await }).await
    }

    /// Removes it with its snapshot, logs and, when asked, anonymous volumes.
    ///
    /// # Errors
    /// `FailedPrecondition` when it runs and `force` is false.
    pub async fn remove(&self, namespace: &Namespace, reference: &str, options: RemoveOptions) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("remove", namespace, reference)?);
        let work = async move {
            let _turn = entry.turn.lock().await;
            remove::remove(&engine, &entry, options).await
        };
        self.engine.run("remove container", work).await
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `AlreadyExists` with `what() == "container name"`; `InvalidArgument`.
    pub async fn rename(&self, namespace: &Namespace, reference: &str, name: &str) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("rename", namespace, reference)?);
        let name = name.to_owned();
        self.engine.run("rename container", async move { update::rename(&engine, &entry, &name).await }).await
    }

    /// Removes the link of that alias from a container on the built-in bridge.
    ///
    /// # Errors
    /// As [`Containers::resolve`]; `NotFound` with `what() == "link"`.
    pub async fn unlink(&self, namespace: &Namespace, reference: &str, alias: &str) -> Result<()> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("unlink", namespace, reference)?);
        let alias = alias.to_owned();
        let work = async move { links::remove(&engine, &entry, &alias).await };
        self.engine.run("remove link", work).await
    }

    /// Registers a wait; see [`ExitWaiter`].
    ///
    /// # Errors
    /// As [`Containers::resolve`].
    pub async fn wait(
        &self,
        namespace: &Namespace,
        reference: &str,
        condition: WaitCondition,
    ) -> Result<ExitWaiter> {
        let entry = self.engine.entry("wait for", namespace, reference)?;
        let (sender, receiver) = oneshot::channel();
        let mut live = entry.live();
        let running = live.state.status.is_running() || live.state.status == Status::Restarting;
        let satisfied = match condition {
            WaitCondition::NotRunning => !running,
            WaitCondition::NextExit => false,
            WaitCondition::Removed => live.removed,
        };
        if satisfied {
            let status = live.last_exit();
            // The receiver is in hand here.
            sender.send(status).unwrap_or_default();
        } else {
            live.waiters.retain(|(_, sender)| !sender.is_closed());
            live.waiters.push((condition, sender));
        }
        Ok(ExitWaiter { receiver })
    }

    /// Changes limits and restart policy, of a running container too. Gives warnings.
    ///
    /// # Errors
    /// `InvalidArgument`, and what the kernel refuses.
    pub async fn update(
        &self,
        namespace: &Namespace,
        reference: &str,
        change: UpdateContainer,
    ) -> Result<Vec<String>> {
        let (engine, entry) = (self.engine.clone(), self.engine.entry("update", namespace, reference)?);
        self.engine
            .run("update container", async move { update::update(&engine, &entry, change).await })
            .await
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run.
    pub async fn resize(
        &self,
        namespace: &Namespace,
        reference: &str,
        height: u16,
        width: u16,
    ) -> Result<()> {
        let entry = self.engine.entry("resize", namespace, reference)?;
        let task = entry.running_task().ok_or_else(|| stop::not_running("resize", &entry))?;
        task.shim.resize(&entry.key.id, None, width.into(), height.into()).await?;
        let more = [("height", height.to_string()), ("width", width.to_string())];
        self.engine.publish_with(&entry, stop::action(&entry, "resize"), &more);
        Ok(())
    }

    /// Removes every container that does not run and satisfies `select`.
    ///
    /// # Errors
    /// The first removal that failed.
    pub async fn prune(
        &self,
        namespace: &Namespace,
        select: impl Fn(&ContainerView) -> bool + Send + Sync,
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for view in self.list(namespace).await {
            let idle = matches!(view.state.status, Status::Created | Status::Exited | Status::Dead);
            if !idle || !select(&view) {
                continue;
            }
            let size = self.sizes(&view).await.map_or(0, |(written, _)| written);
            match self.remove(namespace, view.record.id.as_str(), RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.removed.push(view.record.id.clone());
                    pruned.reclaimed += size;
                }
                // Started or removed by somebody else meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::FailedPrecondition) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }

    /// Bytes of the files that a container has written, and of those with its image's; `None` when they cannot be
    /// counted.
    pub async fn sizes(&self, view: &ContainerView) -> Option<(u64, u64)> {
        let (stores, record) = (self.engine.stores().clone(), view.record.clone());
        let counted = crate::stores::blocking("count size of container", move || {
            let key = tare_types::SnapshotKey::new(record.snapshot_key.as_str())?;
            let target = stores.snapshotter(&record.snapshotter)?.apply_target(&record.namespace, &key)?;
            crate::sizes::of_files(target.root).map_err(|errno| {
                Error::new(ErrorKind::Internal, "count size of", "container", record.id.as_str(), "")
                    .with_source(std::io::Error::from(errno))
            })
        });
        let written = counted.await.ok()?;
        let id = view.record.engine.as_ref()?.image_id.to_string();
        let image = self.engine.images().get(&view.record.namespace, &id).await;
        Some((written, written + image.map_or(0, |image| image.size)))
    }

    /// Directory of a container's own files: `<id>-json.log` and its older parts, `hosts`, `hostname`, `resolv.conf`.
    pub fn directory(&self, namespace: &Namespace, id: &ContainerId) -> std::path::PathBuf {
        self.engine.container_directory(&crate::key::Key::new(namespace, id))
    }

    /// How many there are.
    pub fn counts(&self, namespace: &Namespace) -> Counts {
        let mut counts = Counts::default();
        for entry in self.engine.inner().roster.list(namespace).iter().filter(|entry| entry.is_driven()) {
            counts.containers += 1;
            match entry.live().state.status {
                Status::Running | Status::Restarting => counts.running += 1,
                Status::Paused => counts.paused += 1,
                Status::Created | Status::Removing | Status::Exited | Status::Dead => counts.stopped += 1,
            }
        }
        counts
    }
}
