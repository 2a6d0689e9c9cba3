//! `containerd.services.containers.v1.Containers`.

use super::{Door, convert, scope};
use futures_util::stream::{self, BoxStream, StreamExt};
use std::borrow::Cow;
use tare_api::containerd::services::containers::v1 as wire;
use tare_engine::record::RuntimeRef;
use tare_engine::{Any, ContainerRecord};
use tare_store::Filters;
use tare_store::filters::Fields;
use tare_types::{ContainerId, ErrorKind, Namespace};
use tonic::{Request, Response, Status};

fn to_wire(record: &ContainerRecord) -> wire::Container {
    wire::Container {
        id: record.id.to_string(),
        labels: convert::labels(&record.labels),
        image: record.image.clone(),
        runtime: Some(wire::container::Runtime {
            name: record.runtime.name.clone(),
            options: record.runtime.options.as_ref().map(convert::any),
        }),
        spec: Some(convert::any(&record.spec)),
        snapshotter: record.snapshotter.clone(),
        snapshot_key: record.snapshot_key.clone(),
        created_at: convert::time(record.created_at),
        updated_at: convert::time(record.updated_at),
        extensions: record.extensions.iter().map(|(name, any)| (name.clone(), convert::any(any))).collect(),
        sandbox: record.sandbox.clone(),
    }
}

fn from_wire(namespace: Namespace, container: Option<wire::Container>) -> Result<ContainerRecord, Status> {
    let container = container.unwrap_or_default();
    let runtime = container.runtime.unwrap_or_default();
    let now = convert::now();
    Ok(ContainerRecord {
        namespace,
        id: id(&container.id)?,
        labels: convert::from_labels(container.labels),
        image: container.image,
        runtime: RuntimeRef { name: runtime.name, options: runtime.options.map(convert::from_any) },
        spec: container.spec.map(convert::from_any).unwrap_or_default(),
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: now,
        updated_at: now,
        extensions: container
            .extensions
            .into_iter()
            .map(|(name, any)| (name, convert::from_any(any)))
            .collect(),
        sandbox: container.sandbox,
        engine: None,
    })
}

fn id(text: &str) -> Result<ContainerId, Status> {
    ContainerId::new(text).map_err(convert::invalid)
}

/// A record as filters see it.
struct Filtered<'a>(&'a ContainerRecord);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let record = self.0;
        Some(Cow::Borrowed(match path {
            ["id"] => record.id.as_str(),
            ["image"] => &record.image,
            ["runtime", "name"] => &record.runtime.name,
            ["snapshotter"] => &record.snapshotter,
            ["snapshotkey"] => &record.snapshot_key,
            ["sandboxid"] => &record.sandbox,
            ["labels", key @ ..] => {
                return record.labels.get(&key.join(".")).map(|v| Cow::Borrowed(v.as_str()));
            }
            _ => return None,
        }))
    }
}

/// Applies a field mask as containerd does: runtime, snapshotter and snapshot key of a container never change
/// by accident; without a mask everything that may change does.
fn change(
    record: &mut ContainerRecord,
    asked: ContainerRecord,
    paths: &[String],
) -> Result<(), tare_engine::Error> {
    let all = ["labels", "image", "spec", "extensions", "snapshotkey", "sandbox"].map(str::to_owned);
    let paths = if paths.is_empty() { &all[..] } else { paths };
    for path in paths {
        match path.as_str() {
            "labels" => record.labels = asked.labels.clone(),
            "image" => record.image = asked.image.clone(),
            "spec" => record.spec = asked.spec.clone(),
            "extensions" => record.extensions = asked.extensions.clone(),
            "snapshotkey" if !asked.snapshot_key.is_empty() => {
                record.snapshot_key = asked.snapshot_key.clone()
            }
            "snapshotkey" => {}
            "snapshotter" => record.snapshotter = asked.snapshotter.clone(),
            "sandbox" => record.sandbox = asked.sandbox.clone(),
            "runtime" => record.runtime = asked.runtime.clone(),
            other => change_entry(record, &asked, other)?,
        }
    }
    Ok(())
}

/// `labels.<key>` and `extensions.<key>`.
fn change_entry(
    record: &mut ContainerRecord,
    asked: &ContainerRecord,
    path: &str,
) -> Result<(), tare_engine::Error> {
    if let Some(key) = path.strip_prefix("labels.") {
        match asked.labels.get(key).filter(|value| !value.is_empty()) {
            Some(value) => record.labels.insert(key.to_owned(), value.clone()),
            None => record.labels.remove(key),
        };
        return Ok(());
    }
    if let Some(key) = path.strip_prefix("extensions.") {
        let value: Option<&Any> = asked.extensions.get(key);
        match value {
            Some(value) => record.extensions.insert(key.to_owned(), value.clone()),
            None => record.extensions.remove(key),
        };
        return Ok(());
    }
    let detail = format!("field {path:?} cannot be updated");
    Err(tare_engine::Error::new(
        ErrorKind::InvalidArgument,
        "update",
        "container",
        record.id.as_str(),
        detail,
    ))
}

impl Door {
    fn filtered(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<wire::Container>, Status> {
        let filters = Filters::parse(filters).map_err(convert::store)?;
        let records = self.engine.records().list(namespace);
        Ok(records.iter().filter(|record| filters.matches(&Filtered(record))).map(|r| to_wire(r)).collect())
    }
}

#[tonic::async_trait]
impl wire::containers_server::Containers for Door {
    async fn get(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::GetContainerResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = id(&request.get_ref().id)?;
        let record =
            self.engine.records().get(&namespace, &id).map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::GetContainerResponse { container: Some(to_wire(&record)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<wire::ListContainersResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let containers = self.filtered(&namespace, &request.get_ref().filters)?;
        Ok(Response::new(wire::ListContainersResponse { containers }))
    }

    type ListStreamStream = BoxStream<'static, Result<wire::ListContainerMessage, Status>>;

    async fn list_stream(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let containers = self.filtered(&namespace, &request.get_ref().filters)?;
        let messages = containers.into_iter().map(|c| Ok(wire::ListContainerMessage { container: Some(c) }));
        Ok(Response::new(stream::iter(messages).boxed()))
    }

    async fn create(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Result<Response<wire::CreateContainerResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let record = from_wire(namespace.clone(), request.into_inner().container)?;
        let record =
            self.engine.records().create(record).await.map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::CreateContainerResponse { container: Some(to_wire(&record)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateContainerRequest>,
    ) -> Result<Response<wire::UpdateContainerResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let asked = from_wire(namespace.clone(), request.container)?;
        let paths = convert::paths(request.update_mask);
        let id = asked.id.clone();
        let update =
            self.engine.records().update(&namespace, &id, move |record| change(record, asked, &paths)).await;
        let record = update.map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(wire::UpdateContainerResponse { container: Some(to_wire(&record)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteContainerRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = id(&request.get_ref().id)?;
        self.engine
            .records()
            .delete(&namespace, &id)
            .await
            .map_err(|error| convert::task(&namespace, error))?;
        Ok(Response::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: &str) -> ContainerRecord {
        let container = wire::Container {
            id: "c".into(),
            labels: [("k".to_owned(), label.to_owned())].into(),
            runtime: Some(wire::container::Runtime { name: "r".into(), options: None }),
            spec: Some(prost_types::Any { type_url: "t".into(), value: b"{}".to_vec() }),
            snapshot_key: "s".into(),
            ..Default::default()
        };
        from_wire(Namespace::default_namespace(), Some(container)).unwrap()
    }

    #[test]
    fn containers_round_trip() {
        let record = record("a");
        let again = from_wire(record.namespace.clone(), Some(to_wire(&record))).unwrap();
        assert_eq!(
            ContainerRecord { created_at: record.created_at, updated_at: record.updated_at, ..again },
            record
        );
    }

    #[test]
    fn a_mask_changes_only_what_it_names() {
        let mut changed = record("a");
        change(&mut changed, record("b"), &["image".into()]).unwrap();
        assert_eq!(changed.labels["k"], "a");
        change(&mut changed, record("b"), &["labels.k".into()]).unwrap();
        assert_eq!(changed.labels["k"], "b");
        assert!(change(&mut changed, record("b"), &["id".into()]).is_err());
    }
}
