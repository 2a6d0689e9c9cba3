//! `containerd.services.events.v1.Events`.

use super::{Door, convert, scope};
use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message;
use std::borrow::Cow;
use std::sync::Arc;
use tare_api::containerd::events as wire_event;
use tare_api::containerd::services::events::v1 as wire;
use tare_api::containerd::types::Envelope;
use tare_engine::events::{Body, Event, Subscription};
use tare_store::Filters;
use tare_store::filters::Fields;
use tare_types::{ErrorKind, Namespace, Timestamp};
use tonic::{Request, Response, Status};

/// The service; subscriptions end with the daemon.
#[derive(Debug)]
pub(super) struct EventsDoor {
    door: Door,
}

impl EventsDoor {
    /// The service of a door.
    pub(super) fn new(door: Door) -> Self {
        Self { door }
    }

    fn publish(
        &self,
        namespace: &Namespace,
        time: Timestamp,
        topic: String,
        event: Option<prost_types::Any>,
    ) -> Result<(), Status> {
        let words = topic.strip_prefix('/').map(|rest| rest.split('/').all(|word| !word.is_empty()));
        if words != Some(true) {
            return Err(convert::status(
                ErrorKind::InvalidArgument,
                &format!("topic {topic:?} must be /word/word"),
            ));
        }
        let event = event.map(convert::from_any).unwrap_or_default();
        self.door.engine.events().publish(namespace, time, Body::Foreign { topic, event }, Arc::default());
        Ok(())
    }
}

/// The event's message and the fields that filters name below `event`.
fn message(body: &Body) -> Option<(prost_types::Any, Vec<(&'static str, String)>)> {
    macro_rules! event {
        ($name:ident { $($field:ident: $value:expr),* $(,)? } $(, shown $shown:ident = $text:expr)*) => {{
            #[allow(clippy::needless_update, reason = "some messages have further fields, some have not")]
            let message = wire_event::$name { $($field: $value,)* ..Default::default() };
            let any = prost_types::Any {
                type_url: concat!("containerd.events.", stringify!($name)).to_owned(),
                value: message.encode_to_vec(),
            };
            Some((any, vec![$((stringify!($shown), $text.clone())),*]))
        }};
    }
    match body {
        Body::ContainerCreated { id, image, runtime } => event!(ContainerCreate {
            id: id.clone(), image: image.clone(),
            runtime: Some(wire_event::container_create::Runtime { name: runtime.clone(), options: None }),
        }, shown id = id, shown image = image),
        Body::ContainerUpdated { id, image } => {
            event!(ContainerUpdate { id: id.clone(), image: image.clone() }, shown id = id, shown image = image)
        }
        Body::ContainerDeleted { id } => event!(ContainerDelete { id: id.clone() }, shown id = id),
        Body::TaskCreated { id, bundle, pid } => event!(TaskCreate {
            container_id: id.clone(), bundle: bundle.clone(), pid: *pid,
        }, shown container_id = id, shown bundle = bundle),
        Body::TaskStarted { id, pid } => {
            event!(TaskStart { container_id: id.clone(), pid: *pid }, shown container_id = id)
        }
        Body::TaskExited { id, exec_id, pid, status, exited_at } => event!(TaskExit {
            container_id: id.clone(), id: exec_id.clone(), pid: *pid, exit_status: *status,
            exited_at: convert::time(*exited_at),
        }, shown container_id = id, shown id = exec_id),
        Body::TaskDeleted { id, exec_id, pid, status, exited_at } => event!(TaskDelete {
            container_id: id.clone(), id: exec_id.clone(), pid: *pid, exit_status: *status,
            exited_at: convert::time(*exited_at),
        }, shown container_id = id, shown id = exec_id),
        Body::TaskOom { id } => event!(TaskOom { container_id: id.clone() }, shown container_id = id),
        Body::TaskPaused { id } => event!(TaskPaused { container_id: id.clone() }, shown container_id = id),
        Body::TaskResumed { id } => event!(TaskResumed { container_id: id.clone() }, shown container_id = id),
        Body::TaskExecAdded { id, exec_id } => event!(TaskExecAdded {
            container_id: id.clone(), exec_id: exec_id.clone(),
        }, shown container_id = id, shown exec_id = exec_id),
        Body::TaskExecStarted { id, exec_id, pid } => event!(TaskExecStarted {
            container_id: id.clone(), exec_id: exec_id.clone(), pid: *pid,
        }, shown container_id = id, shown exec_id = exec_id),
        Body::ImageCreated { name } => event!(ImageCreate { name: name.clone() }, shown name = name),
        Body::ImageUpdated { name } => event!(ImageUpdate { name: name.clone() }, shown name = name),
        Body::ImageDeleted { name } => event!(ImageDelete { name: name.clone() }, shown name = name),
        Body::NamespaceCreated { name } => event!(NamespaceCreate { name: name.clone() }, shown name = name),
        Body::NamespaceUpdated { name } => event!(NamespaceUpdate { name: name.clone() }, shown name = name),
        Body::NamespaceDeleted { name } => event!(NamespaceDelete { name: name.clone() }, shown name = name),
        Body::SnapshotPrepared { key, parent, snapshotter } => event!(SnapshotPrepare {
            key: key.clone(), parent: parent.clone(), snapshotter: snapshotter.clone(),
        }, shown key = key, shown snapshotter = snapshotter),
        Body::SnapshotCommitted { key, name, snapshotter } => event!(SnapshotCommit {
            key: key.clone(), name: name.clone(), snapshotter: snapshotter.clone(),
        }, shown key = key, shown snapshotter = snapshotter),
        Body::SnapshotRemoved { key, snapshotter } => event!(SnapshotRemove {
            key: key.clone(), snapshotter: snapshotter.clone(),
        }, shown key = key, shown snapshotter = snapshotter),
        Body::ContentCreated { digest, size } => event!(ContentCreate {
            digest: digest.clone(), size: convert::size(*size),
        }, shown digest = digest),
        Body::ContentDeleted { digest } => {
            event!(ContentDelete { digest: digest.clone() }, shown digest = digest)
        }
        Body::Action { .. } => None,
        Body::Foreign { event, .. } => Some((convert::any(event), Vec::new())),
    }
}

/// An event as filters see it.
struct Filtered<'a> {
    event: &'a Event,
    fields: &'a [(&'static str, String)],
}

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["topic"] => self.event.topic().map(Cow::Borrowed),
            ["namespace"] => Some(Cow::Borrowed(self.event.namespace.as_str())),
            ["event", name] => self
                .fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| Cow::Borrowed(value.as_str())),
            _ => None,
        }
    }
}

fn envelope(event: &Event, filters: &Filters) -> Option<Envelope> {
    let topic = event.topic()?.to_owned();
    let (message, fields) = message(&event.body)?;
    filters.matches(&Filtered { event, fields: &fields }).then(|| Envelope {
        timestamp: convert::time(event.time),
        namespace: event.namespace.to_string(),
        topic,
        event: Some(message),
    })
}

async fn next(subscription: &mut Subscription, filters: &Filters) -> Option<Result<Envelope, Status>> {
    loop {
        match subscription.next().await? {
            Ok(event) => {
                if let Some(envelope) = envelope(&event, filters) {
                    return Some(Ok(envelope));
                }
            }
            Err(lost) => {
                let text = format!("the subscriber was too slow: {lost} events are lost to it");
                return Some(Err(convert::status(ErrorKind::ResourceExhausted, &text)));
            }
        }
    }
}

#[tonic::async_trait]
impl wire::events_server::Events for EventsDoor {
    async fn publish(&self, request: Request<wire::PublishRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        EventsDoor::publish(self, &namespace, convert::now(), request.topic, request.event)?;
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<wire::ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = request.into_inner().envelope.unwrap_or_default();
        let namespace = Namespace::new(envelope.namespace).map_err(convert::invalid)?;
        let time = envelope.timestamp.map_or_else(convert::now, |time| {
            Timestamp::new(time.seconds, u32::try_from(time.nanos).unwrap_or(0))
        });
        EventsDoor::publish(self, &namespace, time, envelope.topic, envelope.event)?;
        Ok(Response::new(()))
    }

    type SubscribeStream = BoxStream<'static, Result<Envelope, Status>>;

    async fn subscribe(
        &self,
        request: Request<wire::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        // containerd's subscribers get what happens from now on, of all namespaces.
        let (_, subscription) = self.door.engine.events().subscribe();
        let stop = self.door.stop.clone();
        let events = stream::unfold(Some((subscription, filters)), |state| async move {
            let (mut subscription, filters) = state?;
            let event = next(&mut subscription, &filters).await?;
            let go_on = event.is_ok();
            Some((event, go_on.then_some((subscription, filters))))
        });
        Ok(Response::new(events.take_until(stop.cancelled_owned()).boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited() -> Event {
        Event {
            sequence: 1,
            time: Timestamp::new(5, 0),
            namespace: Namespace::default_namespace(),
            body: Body::TaskExited {
                id: "c".into(),
                exec_id: "c".into(),
                pid: 9,
                status: 3,
                exited_at: Timestamp::new(4, 0),
            },
            attributes: Arc::default(),
        }
    }

    #[test]
    fn events_travel_as_containerds_messages() {
        let envelope = envelope(&exited(), &Filters::all()).unwrap();
        assert_eq!(envelope.topic, "/tasks/exit");
        let any = envelope.event.unwrap();
        assert_eq!(any.type_url, "containerd.events.TaskExit");
        let exit = wire_event::TaskExit::decode(any.value.as_slice()).unwrap();
        assert_eq!((exit.pid, exit.exit_status), (9, 3));
    }

    #[test]
    fn filters_see_topic_namespace_and_fields() {
        let matches = |filter: &str| envelope(&exited(), &Filters::parse(&[filter]).unwrap()).is_some();
        assert!(matches("topic==/tasks/exit"));
        assert!(matches("topic~=^/tasks/,namespace==default"));
        assert!(matches("event.container_id==c"));
        assert!(!matches("event.container_id==d"));
        assert!(!matches("namespace==k8s.io"));
    }
}
