//! A container of this shim: the runtime's object and its processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tare_api::status::Status;
use tare_runtime::cgroup::Cgroup;
use tare_types::ErrorKind;
use tare_types::spec::Spec;
use tokio::task::AbortHandle;

use crate::oom::Oom;
use crate::process::Process;

/// A container that exists.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// Mounts were made at `<bundle>/rootfs`.
    pub(crate) mounted: bool,
    pub(crate) init: Arc<Process>,
    /// The first process's end is not the others' end: they share a pid namespace with somebody else.
    pub(crate) kill_all_on_exit: bool,
    /// The runtime waits for hooks when it starts or deletes it, and does so on another thread.
    pub(crate) hooked: bool,
    pub(crate) oom: Oom,
    /// What happens to the container happens one after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Its cgroups, to be read without the runtime's object.
    pub(crate) cgroup: Cgroup,
    /// Ends the watch on memory.
    oom_watch: Mutex<Option<AbortHandle>>,
    runtime: Mutex<tare_runtime::Container>,
    execs: Mutex<BTreeMap<String, Arc<Process>>>,
    paused: AtomicBool,
}

impl Container {
    /// A container the runtime has just made.
    pub(crate) fn new(
        runtime: tare_runtime::Container,
        bundle: PathBuf,
        mounted: bool,
        init: Arc<Process>,
        spec: &Spec,
    ) -> Self {
        Self {
            id: runtime.id().to_owned(),
            bundle,
            mounted,
            init,
            kill_all_on_exit: shares_pid_namespace(spec),
            hooked: spec.hooks.is_some(),
            oom: Oom::default(),
            turn: tokio::sync::Mutex::default(),
            cgroup: runtime.cgroup().clone(),
            oom_watch: Mutex::default(),
            runtime: Mutex::new(runtime),
            execs: Mutex::default(),
            paused: AtomicBool::new(false),
        }
    }

    /// Whether nobody holds the runtime's object for as long as hooks run.
    pub(crate) fn is_free(&self) -> bool {
        !self.hooked || self.turn.try_lock().is_ok()
    }

    /// Waits while hooks hold the runtime's object: asked for it then, the shim's thread would stand still.
    pub(crate) async fn free(&self) {
        if self.hooked {
            drop(self.turn.lock().await);
        }
    }

    /// The runtime's object. Never held across an await; after [`Container::free`] if the turn is not the caller's.
    pub(crate) fn runtime(&self) -> MutexGuard<'_, tare_runtime::Container> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Process>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process by its exec id; the first one for an empty id.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>, Status> {
        if exec_id.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        let missing = || {
            let message = format!("process {exec_id:?} of container {:?}: not found", self.id);
            Status::new(ErrorKind::NotFound, message)
        };
        self.execs().get(exec_id).cloned().ok_or_else(missing)
    }

    /// All processes, the first one first.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        let mut all = vec![Arc::clone(&self.init)];
        all.extend(self.execs().values().cloned());
        all
    }

    /// Watches memory, in place of an earlier watch; `None` ends it.
    pub(crate) fn set_oom_watch(&self, watch: Option<AbortHandle>) {
        let before =
            std::mem::replace(&mut *self.oom_watch.lock().unwrap_or_else(PoisonError::into_inner), watch);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Adds an exec.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub(crate) fn add_exec(&self, process: Arc<Process>) -> Result<(), Status> {
        let mut execs = self.execs();
        if execs.contains_key(&process.exec_id) {
            let message = format!("id {:?}: already exists", process.exec_id);
            return Err(Status::new(ErrorKind::AlreadyExists, message));
        }
        execs.insert(process.exec_id.clone(), process);
        Ok(())
    }

    /// Forgets an exec.
    pub(crate) fn remove_exec(&self, exec_id: &str) {
        self.execs().remove(exec_id);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}

/// Without a pid namespace of its own the kernel does not end the container with its first process.
fn shares_pid_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
    !namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
}
