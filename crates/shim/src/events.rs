//! Events for the daemon: a queue, and a task that forwards it over ttrpc to `TTRPC_ADDRESS`.
//!
//! Order is kept. A daemon that is away is tried again for as long as the shim lives; meanwhile the queue holds
//! [`QUEUE`] events, and drops the oldest beyond that (counted in the log): exits can always be read from `State`,
//! `Wait` and the private `Processes` until Delete. An event may arrive twice, when the answer to it was lost.

use prost::Message;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tare_api::containerd::services::events::ttrpc::v1::ForwardRequest;
use tare_api::containerd::types::Envelope;
use tare_api::status::Status;
use tare_api::ttrpc::{CallOptions, Client};
use tare_types::ErrorKind;
use tokio::sync::Notify;

use crate::args::Events;
use crate::diagnostics::{Diagnostics, now, wire_time};

/// Events kept for a daemon that is away.
const QUEUE: usize = 2048;
/// How long the daemon may take for one event.
const CALL: Duration = Duration::from_secs(5);
/// Pause before the daemon is tried again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Takes events and forwards them.
#[derive(Debug)]
pub(crate) struct Publisher {
    namespace: String,
    address: Option<PathBuf>,
    wanted: Events,
    queue: Mutex<Queue>,
    changed: Notify,
    diagnostics: Arc<Diagnostics>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Envelope>,
    /// The first one is being sent: it is taken out when it has arrived.
    sending: bool,
}

/// An event and where it belongs.
pub(crate) trait Event: Message {
    /// The message's full name: containerd's type urls are bare names.
    const NAME: &'static str;
    /// containerd's topic.
    const TOPIC: &'static str;
    /// The daemon cannot know it from the answers to its own calls.
    const UNASKED: bool = false;
}

macro_rules! topics {
    ($($kind:ident $name:literal $topic:literal $unasked:literal),* $(,)?) => {$(
        impl Event for tare_api::containerd::events::$kind {
            const NAME: &'static str = $name;
            const TOPIC: &'static str = $topic;
            const UNASKED: bool = $unasked;
        }
    )*};
}

impl Event for tare_api::tare::shim::v1::LogTrouble {
    const NAME: &'static str = "tare.shim.v1.LogTrouble";
    const TOPIC: &'static str = "/tare/shim/log-trouble";
    const UNASKED: bool = true;
}

topics! {
    TaskCreate "containerd.events.TaskCreate" "/tasks/create" false,
    TaskStart "containerd.events.TaskStart" "/tasks/start" false,
    TaskOom "containerd.events.TaskOOM" "/tasks/oom" true,
    TaskExit "containerd.events.TaskExit" "/tasks/exit" true,
    TaskDelete "containerd.events.TaskDelete" "/tasks/delete" false,
    TaskExecAdded "containerd.events.TaskExecAdded" "/tasks/exec-added" false,
    TaskExecStarted "containerd.events.TaskExecStarted" "/tasks/exec-started" false,
    TaskPaused "containerd.events.TaskPaused" "/tasks/paused" false,
    TaskResumed "containerd.events.TaskResumed" "/tasks/resumed" false,
}

impl Publisher {
    /// A publisher to the socket at `address`; without one events are dropped.
    pub(crate) fn new(
        namespace: &str,
        address: Option<PathBuf>,
        wanted: Events,
        diagnostics: Arc<Diagnostics>,
    ) -> Self {
        let namespace = namespace.to_owned();
        Self { namespace, address, wanted, queue: Mutex::default(), changed: Notify::new(), diagnostics }
    }

    /// Queues an event.
    pub(crate) fn publish<E: Event>(&self, event: &E) {
        if self.address.is_none() || (self.wanted == Events::Exits && !E::UNASKED) {
            return;
        }
        let value = event.encode_to_vec();
        let any = tare_api::Any { type_url: E::NAME.to_owned(), value };
        let envelope = Envelope {
            timestamp: Some(wire_time(now())),
            namespace: self.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(any),
        };
        let mut queue = self.queue();
        if queue.events.len() >= QUEUE {
            let oldest = usize::from(queue.sending);
            queue.events.remove(oldest);
            self.diagnostics.warn("event queue is full: the oldest event is dropped");
        }
        queue.events.push_back(envelope);
        drop(queue);
        self.changed.notify_waiters();
    }

    /// Forwards what is queued, for as long as the shim lives.
    pub(crate) async fn run(&self) {
        let Some(address) = &self.address else { return };
        let (mut client, mut pause) = (None, FIRST_PAUSE);
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut queue = self.queue();
                let next = queue.events.front().cloned();
                queue.sending = next.is_some();
                next
            };
            let Some(envelope) = next else {
                changed.await;
                continue;
            };
            match forward(&mut client, address, envelope).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    let mut queue = self.queue();
                    queue.events.pop_front();
                    queue.sending = false;
                    drop(queue);
                    self.changed.notify_waiters();
                }
                Err(status) => {
                    self.diagnostics.debug(format!("forward event: {status}; again in {pause:?}"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Waits until all events are forwarded, at most `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let empty = async {
            loop {
                let changed = self.changed.notified();
                let done = self.queue().events.is_empty();
                if done || self.address.is_none() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, empty).await.is_err() {
            self.diagnostics.warn("the daemon is away: its last events are dropped");
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one event over the connection that is there, or a new one.
async fn forward(
    client: &mut Option<Client>,
    address: &std::path::Path,
    envelope: Envelope,
) -> Result<(), Status> {
    let connection = match client.take().filter(|client| !client.is_closed()) {
        Some(connection) => connection,
        None => tokio::time::timeout(CALL, Client::connect(address))
            .await
            .map_err(|_| Status::new(ErrorKind::DeadlineExceeded, "connect to the daemon"))??,
    };
    let request = ForwardRequest { envelope: Some(envelope) };
    let service = "containerd.services.events.ttrpc.v1.Events";
    let options = CallOptions::timeout(CALL);
    let answer: Result<(), Status> = connection.call(service, "Forward", &request, &options).await;
    match answer {
        // An event that the daemon refuses would be refused again: only those it did not see are kept.
        Err(status) if matches!(status.kind, ErrorKind::Unavailable | ErrorKind::DeadlineExceeded) => {
            Err(status)
        }
        _ => {
            *client = Some(connection);
            Ok(())
        }
    }
}
