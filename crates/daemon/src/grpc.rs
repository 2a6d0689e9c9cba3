//! containerd's gRPC services over the engine: one small file per service, conversions in `convert`.
//!
//! Every request names its namespace in a header; a lease may stand in another (`scope`). What clients call and
//! is not served here answers `Unimplemented` and names itself.

mod containers;
mod content;
mod convert;
mod diff;
mod events;
mod fallback;
mod health;
mod images;
mod introspection;
mod leases;
mod namespaces;
mod scope;
mod snapshots;
mod tasks;
mod version;

use tare_api::containerd::services as wire;
use tare_engine::Engine;
use tokio_util::sync::CancellationToken;

/// The largest message either way, containerd's default.
const MAX_MESSAGE: usize = 16 << 20;

/// What every service works on.
#[derive(Debug, Clone)]
struct Door {
    engine: Engine,
    /// The daemon is about to end: what waits for long gives up.
    stop: CancellationToken,
}

/// All services as one HTTP service.
pub fn routes(engine: &Engine, stop: &CancellationToken) -> axum::Router {
    let door = Door { engine: engine.clone(), stop: stop.clone() };
    macro_rules! served {
        ($server:path) => {
            <$server>::new(door.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE)
        };
    }
    let mut routes =
        tonic::service::Routes::new(served!(wire::version::v1::version_server::VersionServer<Door>));
    routes = routes
        .add_service(served!(wire::namespaces::v1::namespaces_server::NamespacesServer<Door>))
        .add_service(served!(wire::content::v1::content_server::ContentServer<Door>))
        .add_service(served!(wire::images::v1::images_server::ImagesServer<Door>))
        .add_service(served!(wire::snapshots::v1::snapshots_server::SnapshotsServer<Door>))
        .add_service(served!(wire::containers::v1::containers_server::ContainersServer<Door>))
        .add_service(served!(wire::tasks::v1::tasks_server::TasksServer<Door>))
        .add_service(served!(wire::leases::v1::leases_server::LeasesServer<Door>))
        .add_service(served!(wire::diff::v1::diff_server::DiffServer<Door>))
        .add_service(served!(wire::introspection::v1::introspection_server::IntrospectionServer<Door>))
        .add_service(
            wire::events::v1::events_server::EventsServer::new(events::EventsDoor::new(door.clone()))
                .max_decoding_message_size(MAX_MESSAGE),
        )
        .add_service(tare_api::grpc::health::v1::health_server::HealthServer::new(door.clone()));
    routes.into_axum_router().fallback(fallback::unimplemented)
}

/// Runs what may wait for a disk on a thread made for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, tonic::Status> + Send + 'static,
) -> Result<T, tonic::Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(tonic::Status::internal(format!("the working thread ended: {error}"))),
    }
}
