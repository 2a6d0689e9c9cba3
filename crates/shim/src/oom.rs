//! Whether the kernel killed processes of a container for its memory limit, and the event for it.
//!
//! The kernel's counter is read when a process ends by SIGKILL, before its exit is told: `oom` always comes before
//! `exit`. A watcher reads it too when the kernel says that memory ran out, for processes that are not the shim's
//! children. Each increase is told once.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tare_runtime::cgroup::{Cgroup, OomEvents};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use crate::container::Container;
use crate::shim::Shim;

/// How many kills were told.
#[derive(Debug, Default)]
pub(crate) struct Oom {
    told: AtomicU64,
}

impl Oom {
    /// Whether there were kills since the last call.
    pub(crate) fn happened(&self, cgroup: &Cgroup) -> bool {
        // A cgroup that cannot be read any more tells nothing.
        let kills = cgroup.oom_kills().unwrap_or(0);
        self.told.fetch_max(kills, Ordering::Relaxed) < kills
    }

    /// Whether there ever were kills.
    pub(crate) fn ever(&self) -> bool {
        self.told.load(Ordering::Relaxed) > 0
    }
}

/// Watches a container; to be ended with it. `None`: there is no memory controller.
pub(crate) fn watch(shim: &Arc<Shim>, container: &Arc<Container>) -> Option<AbortHandle> {
    let events = Watched(container.cgroup.oom_events().ok()?);
    // Version 2 signals by POLLPRI, version 1 by a readable eventfd.
    let interest = Interest::READABLE | Interest::PRIORITY;
    #[expect(
        deprecated,
        reason = "the new form is unsafe; the watch keeps its descriptor until it is dropped"
    )]
    let events = AsyncFd::with_interest(events, interest).ok()?;
    let (shim, container) = (Arc::downgrade(shim), Arc::downgrade(container));
    Some(tokio::spawn(watch_events(events, shim, container)).abort_handle())
}

/// The watch with the one trait that tokio asks for.
struct Watched(OomEvents);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

async fn watch_events(mut events: AsyncFd<Watched>, shim: Weak<Shim>, container: Weak<Container>) {
    loop {
        let Ok(mut ready) = events.ready_mut(Interest::READABLE | Interest::PRIORITY).await else { return };
        let told = ready.get_inner_mut().0.take();
        ready.clear_ready();
        drop(ready);
        let (Some(shim), Some(container)) = (shim.upgrade(), container.upgrade()) else { return };
        match told {
            Ok(true) => shim.tell_oom(&container),
            Ok(false) => {}
            Err(_) => return,
        }
    }
}
