//! The shim's state: its containers, and what happens when one of their processes ends.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tare_api::containerd::events::{TaskExit, TaskOom};
use tare_api::status::Status;
use tare_types::ErrorKind;
use tokio::sync::Notify;

use crate::args::Args;
use crate::container::Container;
use crate::diagnostics::{Diagnostics, now, wire_time};
use crate::events::Publisher;
use crate::ports::Ports;
use crate::process::{Exited, Process};
use crate::stdio::held::Held;

/// The one object of the server.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) args: Args,
    pub(crate) events: Publisher,
    pub(crate) diagnostics: Arc<Diagnostics>,
    pub(crate) ports: Ports,
    /// Streams of processes that another shim runs.
    pub(crate) held: Held,
    /// Somebody asked the shim to end, or nobody needs it any more.
    pub(crate) ending: Notify,
    /// A call was answered or a process has ended.
    pub(crate) active: Notify,
    containers: Mutex<BTreeMap<String, Slot>>,
    /// A container was made, or could not be.
    settled: Notify,
    /// No container is made any more.
    ended: AtomicBool,
    /// Calls of the runtime that are under way on other threads.
    aside: AtomicUsize,
    /// One of them is over.
    pub(crate) back: Notify,
    /// Children by pid, with the container they belong to.
    children: Mutex<Children>,
}

/// Each child with the container it belongs to.
type Children = HashMap<i32, (Arc<Container>, Arc<Process>)>;

/// A container's id is taken while it is being made.
#[derive(Debug)]
enum Slot {
    Creating,
    Ready(Arc<Container>),
}

/// A call of the runtime on another thread; to be kept until the children it made are registered.
#[derive(Debug)]
pub(crate) struct Aside(Arc<Shim>);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.aside.fetch_sub(1, Ordering::AcqRel);
        self.0.back.notify_one();
    }
}

/// Keeps an id while its container is being made; gives it back if that fails.
#[derive(Debug)]
pub(crate) struct Reservation {
    shim: Arc<Shim>,
    id: String,
    filled: bool,
}

impl Shim {
    /// A shim without containers.
    pub(crate) fn new(args: Args, events: Publisher, diagnostics: Arc<Diagnostics>) -> Self {
        Self {
            args,
            events,
            ports: Ports::default(),
            held: Held::default(),
            diagnostics,
            ending: Notify::new(),
            active: Notify::new(),
            containers: Mutex::default(),
            settled: Notify::new(),
            ended: AtomicBool::new(false),
            aside: AtomicUsize::new(0),
            back: Notify::new(),
            children: Mutex::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container by its id.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Status> {
        match self.slots().get(id) {
            Some(Slot::Ready(container)) => Ok(Arc::clone(container)),
            Some(Slot::Creating) | None => {
                Err(Status::new(ErrorKind::NotFound, format!("container {id:?}: not found")))
            }
        }
    }

    /// All containers, by id.
    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        let slots = self.slots();
        slots
            .values()
            .filter_map(|slot| match slot {
                Slot::Ready(container) => Some(Arc::clone(container)),
                Slot::Creating => None,
            })
            .collect()
    }

    /// Whether there is no container, nor one being made.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }

    /// Waits while a container is being made; with an empty id, while any is. A daemon that comes back while the
    /// request of the one before it is under way must see what becomes of it.
    pub(crate) async fn until_made(&self, id: &str) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on no change is missed.
            settled.as_mut().enable();
            let creating = |(name, slot): (&String, &Slot)| {
                matches!(slot, Slot::Creating) && (id.is_empty() || name == id)
            };
            if !self.slots().iter().any(creating) {
                return;
            }
            settled.await;
        }
    }

    /// Runs a call of the runtime that waits for hooks on a thread of its own: the other containers go on meanwhile. The
    /// runtime waits for the children that such a call makes, so the reaper leaves alone what it does not know.
    ///
    /// # Errors
    /// The call has panicked.
    pub(crate) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Aside), Status> {
        self.aside.fetch_add(1, Ordering::AcqRel);
        let guard = Aside(Arc::clone(self));
        let failed =
            |error| Status::new(ErrorKind::Internal, format!("a call of the runtime ended: {error}"));
        let done = tokio::task::spawn_blocking(work).await.map_err(failed)?;
        Ok((done, guard))
    }

    /// The children to be reaped while another thread makes and reaps some; `None`: all there are.
    pub(crate) fn only(&self) -> Option<Vec<i32>> {
        (self.aside.load(Ordering::Acquire) > 0).then(|| self.children().keys().copied().collect())
    }

    /// Ends the shim unless it has containers.
    pub(crate) fn end_if_empty(&self) {
        let slots = self.slots();
        if slots.is_empty() {
            self.ended.store(true, Ordering::Release);
            self.ending.notify_one();
        }
    }

    /// Takes an id for a container to be made.
    ///
    /// # Errors
    /// `AlreadyExists`; `Unavailable` when the shim is about to end.
    pub(crate) fn reserve(self: &Arc<Self>, id: &str) -> Result<Reservation, Status> {
        let mut slots = self.slots();
        if self.ended.load(Ordering::Acquire) {
            return Err(Status::new(ErrorKind::Unavailable, format!("container {id:?}: the shim ends")));
        }
        if slots.contains_key(id) {
            return Err(Status::new(ErrorKind::AlreadyExists, format!("container {id:?}: already exists")));
        }
        slots.insert(id.to_owned(), Slot::Creating);
        Ok(Reservation { shim: Arc::clone(self), id: id.to_owned(), filled: false })
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &str) {
        self.slots().remove(id);
    }

    /// A child exists. Must be called in the same turn of the event loop in which it was made: exits are handled
    /// between turns, so none can be missed.
    pub(crate) fn adopt(&self, pid: i32, container: &Arc<Container>, process: &Arc<Process>) {
        self.children().insert(pid, (Arc::clone(container), Arc::clone(process)));
    }

    /// A child was reaped. Children nobody knows are orphans of containers, log programs and the runtime's hooks.
    pub(crate) fn reaped(&self, pid: i32, status: u32, killed: bool) {
        let Some((container, process)) = self.children().remove(&pid) else { return };
        self.active.notify_one();
        let exited = Exited { status, at: now() };
        // Only SIGKILL can be the memory limit's doing.
        if killed {
            self.tell_oom(&container);
        }
        let init = process.exec_id.is_empty();
        if init && container.kill_all_on_exit {
            self.kill_rest(&container);
        }
        process.stopped(exited, killed && container.oom.ever());
        let id = if init { container.id.clone() } else { process.exec_id.clone() };
        self.events.publish(&TaskExit {
            container_id: container.id.clone(),
            id,
            pid: pid.max(0) as u32,
            exit_status: status,
            exited_at: Some(wire_time(exited.at)),
        });
    }

    /// Ends what a first process has left; after the hooks, when some hold the runtime's object.
    fn kill_rest(&self, container: &Arc<Container>) {
        let (container, diagnostics) = (Arc::clone(container), Arc::clone(&self.diagnostics));
        let kill = move |container: &Container| {
            if let Err(error) = container.runtime().kill_all(9) {
                diagnostics.warn(format!("end all processes of container {}: {error}", container.id));
            }
        };
        if container.is_free() {
            return kill(&container);
        }
        tokio::spawn(async move {
            container.free().await;
            kill(&container);
        });
    }

    /// Tells the daemon when the memory limit has killed something.
    pub(crate) fn tell_oom(&self, container: &Container) {
        if container.oom.happened(&container.cgroup) {
            self.events.publish(&TaskOom { container_id: container.id.clone() });
        }
    }
}

impl Reservation {
    /// The container is made.
    pub(crate) fn fill(mut self, container: Arc<Container>) {
        self.filled = true;
        self.shim.slots().insert(self.id.clone(), Slot::Ready(container));
        self.shim.settled.notify_waiters();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.shim.remove(&self.id);
            self.shim.settled.notify_waiters();
        }
    }
}
