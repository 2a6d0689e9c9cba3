//! What happens: one event type for all doors, a ring of the past, and subscriptions.
//!
//! containerd's door publishes the events that have a [`Event::topic`]; Docker's door those that have an
//! [`Event::action`]. Most have both.

use crate::Any;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tare_types::{Namespace, Timestamp};
use tokio::sync::broadcast;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows by one per event of this daemon's life.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// Tenant.
    pub namespace: Namespace,
    /// What.
    pub body: Body,
    /// Docker's actor attributes (`name`, `image`, labels); empty for objects that Docker's door does not show.
    pub attributes: Arc<BTreeMap<String, String>>,
}

/// What happened, with the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of containerd's events of the same names")]
pub enum Body {
    /// A container record was made.
    ContainerCreated { id: String, image: String, runtime: String },
    /// A container record was changed.
    ContainerUpdated { id: String, image: String },
    /// A container record was removed.
    ContainerDeleted { id: String },
    /// A task was created, blocked before its program.
    TaskCreated { id: String, bundle: String, pid: u32 },
    /// A task was started.
    TaskStarted { id: String, pid: u32 },
    /// A process of a task ended; `exec_id == id` means its first process.
    TaskExited { id: String, exec_id: String, pid: u32, status: u32, exited_at: Timestamp },
    /// A task was deleted.
    TaskDeleted { id: String, exec_id: String, pid: u32, status: u32, exited_at: Timestamp },
    /// A process of a task was killed for memory.
    TaskOom { id: String },
    /// A task was frozen.
    TaskPaused { id: String },
    /// A task was thawed.
    TaskResumed { id: String },
    /// An exec was registered.
    TaskExecAdded { id: String, exec_id: String },
    /// An exec was started.
    TaskExecStarted { id: String, exec_id: String, pid: u32 },
    /// An image record was made.
    ImageCreated { name: String },
    /// An image record was changed.
    ImageUpdated { name: String },
    /// An image record was removed.
    ImageDeleted { name: String },
    /// A namespace was made.
    NamespaceCreated { name: String },
    /// A namespace was changed.
    NamespaceUpdated { name: String },
    /// A namespace was removed.
    NamespaceDeleted { name: String },
    /// A snapshot was prepared.
    SnapshotPrepared { key: String, parent: String, snapshotter: String },
    /// A snapshot was committed.
    SnapshotCommitted { key: String, name: String, snapshotter: String },
    /// A snapshot was removed.
    SnapshotRemoved { key: String, snapshotter: String },
    /// Content was committed.
    ContentCreated { digest: String, size: u64 },
    /// Content was removed.
    ContentDeleted { digest: String },
    /// An action that only Docker knows: kind `container`, `image`, `volume`, `network`, `daemon`; its actor's id.
    Action { kind: &'static str, action: String, id: String },
    /// Published by a client or forwarded by a foreign shim, kept as it came.
    Foreign { topic: String, event: Any },
}

impl Event {
    /// containerd's topic, `None` for what only Docker knows.
    pub fn topic(&self) -> Option<&str> {
        Some(match &self.body {
            Body::ContainerCreated { .. } => "/containers/create",
            Body::ContainerUpdated { .. } => "/containers/update",
            Body::ContainerDeleted { .. } => "/containers/delete",
            Body::TaskCreated { .. } => "/tasks/create",
            Body::TaskStarted { .. } => "/tasks/start",
            Body::TaskExited { .. } => "/tasks/exit",
            Body::TaskDeleted { .. } => "/tasks/delete",
            Body::TaskOom { .. } => "/tasks/oom",
            Body::TaskPaused { .. } => "/tasks/paused",
            Body::TaskResumed { .. } => "/tasks/resumed",
            Body::TaskExecAdded { .. } => "/tasks/exec-added",
            Body::TaskExecStarted { .. } => "/tasks/exec-started",
            Body::ImageCreated { .. } => "/images/create",
            Body::ImageUpdated { .. } => "/images/update",
            Body::ImageDeleted { .. } => "/images/delete",
            Body::NamespaceCreated { .. } => "/namespaces/create",
            Body::NamespaceUpdated { .. } => "/namespaces/update",
            Body::NamespaceDeleted { .. } => "/namespaces/delete",
            Body::SnapshotPrepared { .. } => "/snapshot/prepare",
            Body::SnapshotCommitted { .. } => "/snapshot/commit",
            Body::SnapshotRemoved { .. } => "/snapshot/remove",
            Body::ContentCreated { .. } => "/content/create",
            Body::ContentDeleted { .. } => "/content/delete",
            Body::Action { .. } => return None,
            Body::Foreign { topic, .. } => topic,
        })
    }

    /// Docker's kind of object, action and actor id; `None` for what Docker's door does not show.
    ///
    /// A container's facts count only when its attributes are known, that is when the engine drives it.
    pub fn action(&self) -> Option<(&'static str, &str, &str)> {
        if let Body::Action { kind, action, id } = &self.body {
            return Some((kind, action, id));
        }
        if self.attributes.is_empty() {
            return None;
        }
        Some(match &self.body {
            Body::ContainerCreated { id, .. } => ("container", "create", id),
            Body::ContainerDeleted { id } => ("container", "destroy", id),
            Body::TaskStarted { id, .. } => ("container", "start", id),
            Body::TaskExited { id, exec_id, .. } if id == exec_id => ("container", "die", id),
            Body::TaskExited { id, .. } => ("container", "exec_die", id),
            Body::TaskOom { id } => ("container", "oom", id),
            Body::TaskPaused { id } => ("container", "pause", id),
            Body::TaskResumed { id } => ("container", "unpause", id),
            _ => return None,
        })
    }
}

/// The events of a daemon.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct Ring {
    next: u64,
    past: VecDeque<Arc<Event>>,
    keep: usize,
}

/// Events kept for a subscriber that reads slowly; further ones are lost to it, and it is told.
const BACKLOG: usize = 1024;

impl Events {
    /// No events yet; `keep` of them will be kept for those who ask for the past.
    pub fn new(keep: usize) -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        Self { ring: Mutex::new(Ring { next: 1, past: VecDeque::new(), keep }), sender }
    }

    /// Tells everybody. `time` is when it happened.
    pub fn publish(
        &self,
        namespace: &Namespace,
        time: Timestamp,
        body: Body,
        attributes: Arc<BTreeMap<String, String>>,
    ) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let event =
            Arc::new(Event { sequence: ring.next, time, namespace: namespace.clone(), body, attributes });
        ring.next += 1;
        if ring.past.len() >= ring.keep {
            ring.past.pop_front();
        }
        ring.past.push_back(event.clone());
        // Sent under the lock so that subscribers see sequence numbers in order. No receiver is no error.
        let _ = self.sender.send(event);
    }

    /// The kept past and everything from now on, without a gap or a repetition between them.
    pub fn subscribe(&self) -> (Vec<Arc<Event>>, Subscription) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        (ring.past.iter().cloned().collect(), Subscription { receiver })
    }
}

/// Events from a point in time on.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Event>>,
}

impl Subscription {
    /// The next event; `None` when the engine is gone. `Err(n)`: the reader was too slow and lost `n` events.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, u64>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Err(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_past_and_the_present_join_without_a_gap() {
        let events = Events::new(2);
        let namespace = Namespace::default_namespace();
        let publish = |name: &str| {
            let body = Body::ImageCreated { name: name.into() };
            events.publish(&namespace, Timestamp::new(1, 0), body, Arc::default());
        };
        publish("a");
        publish("b");
        publish("c");
        let (past, mut present) = events.subscribe();
        assert_eq!(past.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2, 3]);
        publish("d");
        assert_eq!(present.next().await.unwrap().unwrap().sequence, 4);
    }
}
