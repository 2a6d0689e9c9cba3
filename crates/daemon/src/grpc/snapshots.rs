//! `containerd.services.snapshots.v1.Snapshots`.

use super::{Door, blocking, convert, scope};
use futures_util::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use tare_api::containerd::services::snapshots::v1 as wire;
use tare_engine::events::Body;
use tare_store::snapshot::{CommitOptions, Kind, PrepareRequest, SnapshotInfo};
use tare_store::{Filters, Snapshotter};
use tare_types::{LeaseId, Mount, Namespace, SnapshotKey};
use tonic::{Request, Response, Status};

/// Rows per message of a list.
const PAGE: usize = 100;
/// Snapshotter of a request that names none.
const DEFAULT: &str = "overlayfs";

fn kind(kind: Kind) -> wire::Kind {
    match kind {
        Kind::View => wire::Kind::View,
        Kind::Active => wire::Kind::Active,
        Kind::Committed => wire::Kind::Committed,
    }
}

fn to_wire(info: &SnapshotInfo) -> wire::Info {
    wire::Info {
        name: info.name.to_string(),
        parent: info.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: kind(info.kind).into(),
        created_at: convert::time(info.created_at),
        updated_at: convert::time(info.updated_at),
        labels: convert::labels(&info.labels),
    }
}

fn key(text: &str) -> Result<SnapshotKey, Status> {
    SnapshotKey::new(text).map_err(convert::invalid)
}

fn optional_key(text: &str) -> Result<Option<SnapshotKey>, Status> {
    if text.is_empty() { Ok(None) } else { key(text).map(Some) }
}

/// What `Prepare` and `View` share.
struct Made {
    namespace: Namespace,
    lease: Option<LeaseId>,
    snapshotter: String,
    key: String,
    parent: String,
    labels: std::collections::HashMap<String, String>,
}

impl Door {
    fn snapshotter(&self, name: &str) -> Result<Arc<dyn Snapshotter>, Status> {
        let name = if name.is_empty() { DEFAULT } else { name };
        self.engine.stores().snapshotter(name).cloned().map_err(convert::engine)
    }

    async fn make_snapshot(&self, made: Made, wanted: Kind) -> Result<Vec<Mount>, Status> {
        let snapshotter = self.snapshotter(&made.snapshotter)?;
        let (key, parent) = (key(&made.key)?, optional_key(&made.parent)?);
        let namespace = made.namespace.clone();
        let mounts = blocking(move || {
            let request = PrepareRequest {
                namespace: &made.namespace,
                key: &key,
                parent: parent.as_ref(),
                labels: convert::from_labels(made.labels),
                lease: made.lease.as_ref(),
                now: convert::now(),
            };
            let result = match wanted {
                Kind::View => snapshotter.view(&request),
                Kind::Active | Kind::Committed => snapshotter.prepare(&request),
            };
            result.map_err(convert::store)
        })
        .await?;
        let body =
            Body::SnapshotPrepared { key: made.key, parent: made.parent, snapshotter: made.snapshotter };
        self.engine.events().publish(&namespace, convert::now(), body, Arc::default());
        Ok(mounts)
    }
}

#[tonic::async_trait]
impl wire::snapshots_server::Snapshots for Door {
    async fn prepare(
        &self,
        request: Request<wire::PrepareSnapshotRequest>,
    ) -> Result<Response<wire::PrepareSnapshotResponse>, Status> {
        let (namespace, lease) = (scope::namespace(request.metadata())?, scope::lease(request.metadata())?);
        let wire::PrepareSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let made = Made { namespace, lease, snapshotter, key, parent, labels };
        let mounts = self.make_snapshot(made, Kind::Active).await?;
        Ok(Response::new(wire::PrepareSnapshotResponse { mounts: convert::mounts(&mounts) }))
    }

    async fn view(
        &self,
        request: Request<wire::ViewSnapshotRequest>,
    ) -> Result<Response<wire::ViewSnapshotResponse>, Status> {
        let (namespace, lease) = (scope::namespace(request.metadata())?, scope::lease(request.metadata())?);
        let wire::ViewSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let made = Made { namespace, lease, snapshotter, key, parent, labels };
        let mounts = self.make_snapshot(made, Kind::View).await?;
        Ok(Response::new(wire::ViewSnapshotResponse { mounts: convert::mounts(&mounts) }))
    }

    async fn mounts(
        &self,
        request: Request<wire::MountsRequest>,
    ) -> Result<Response<wire::MountsResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (snapshotter, key) = (self.snapshotter(&request.snapshotter)?, key(&request.key)?);
        let mounts = blocking(move || snapshotter.mounts(&namespace, &key).map_err(convert::store)).await?;
        Ok(Response::new(wire::MountsResponse { mounts: convert::mounts(&mounts) }))
    }

    async fn commit(&self, request: Request<wire::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let (namespace, lease) = (scope::namespace(request.metadata())?, scope::lease(request.metadata())?);
        let request = request.into_inner();
        let snapshotter = self.snapshotter(&request.snapshotter)?;
        let (name, active) = (key(&request.name)?, key(&request.key)?);
        let options = CommitOptions {
            labels: convert::from_labels(request.labels),
            parent: optional_key(&request.parent)?,
            usage: None,
            lease,
            deferred: false,
            now: convert::now(),
        };
        let place = namespace.clone();
        blocking(move || snapshotter.commit(&place, &name, &active, &options).map_err(convert::store))
            .await?;
        let body = Body::SnapshotCommitted {
            key: request.key,
            name: request.name,
            snapshotter: request.snapshotter,
        };
        self.engine.events().publish(&namespace, convert::now(), body, Arc::default());
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<wire::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (snapshotter, key) = (self.snapshotter(&request.snapshotter)?, key(&request.key)?);
        let place = namespace.clone();
        blocking(move || snapshotter.remove(&place, &key).map_err(convert::store)).await?;
        let body = Body::SnapshotRemoved { key: request.key, snapshotter: request.snapshotter };
        self.engine.events().publish(&namespace, convert::now(), body, Arc::default());
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<wire::StatSnapshotRequest>,
    ) -> Result<Response<wire::StatSnapshotResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (snapshotter, key) = (self.snapshotter(&request.snapshotter)?, key(&request.key)?);
        let info = blocking(move || snapshotter.stat(&namespace, &key).map_err(convert::store)).await?;
        Ok(Response::new(wire::StatSnapshotResponse { info: Some(to_wire(&info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateSnapshotRequest>,
    ) -> Result<Response<wire::UpdateSnapshotResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let snapshotter = self.snapshotter(&request.snapshotter)?;
        let asked = request.info.unwrap_or_default();
        let (key, labels) = (key(&asked.name)?, convert::from_labels(asked.labels));
        let paths = convert::paths(request.update_mask);
        let info = blocking(move || {
            snapshotter.update(&namespace, &key, &labels, &paths, convert::now()).map_err(convert::store)
        })
        .await?;
        Ok(Response::new(wire::UpdateSnapshotResponse { info: Some(to_wire(&info)) }))
    }

    type ListStream = BoxStream<'static, Result<wire::ListSnapshotsResponse, Status>>;

    async fn list(
        &self,
        request: Request<wire::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let snapshotter = self.snapshotter(&request.snapshotter)?;
        let filters = Filters::parse(&request.filters).map_err(convert::store)?;
        let rows = blocking(move || snapshotter.list(&namespace, &filters).map_err(convert::store)).await?;
        let pages: Vec<_> = rows
            .chunks(PAGE)
            .map(|page| Ok(wire::ListSnapshotsResponse { info: page.iter().map(to_wire).collect() }))
            .collect();
        Ok(Response::new(stream::iter(pages).boxed()))
    }

    async fn usage(
        &self,
        request: Request<wire::UsageRequest>,
    ) -> Result<Response<wire::UsageResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let (snapshotter, key) = (self.snapshotter(&request.snapshotter)?, key(&request.key)?);
        let usage = blocking(move || snapshotter.usage(&namespace, &key).map_err(convert::store)).await?;
        Ok(Response::new(wire::UsageResponse {
            size: convert::size(usage.bytes),
            inodes: convert::size(usage.inodes),
        }))
    }

    async fn cleanup(&self, request: Request<wire::CleanupRequest>) -> Result<Response<()>, Status> {
        let snapshotter = self.snapshotter(&request.get_ref().snapshotter)?;
        blocking(move || snapshotter.cleanup().map_err(convert::store)).await?;
        Ok(Response::new(()))
    }
}
