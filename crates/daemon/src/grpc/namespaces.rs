//! `containerd.services.namespaces.v1.Namespaces`.

use super::{Door, blocking, convert};
use std::sync::Arc;
use tare_api::containerd::services::namespaces::v1 as wire;
use tare_engine::events::Body;
use tare_store::{Labels, Tables, metadata::NamespaceRow};
use tare_types::{ErrorKind, Namespace};
use tonic::{Request, Response, Status};

fn to_wire(row: &NamespaceRow) -> wire::Namespace {
    wire::Namespace { name: row.name.to_string(), labels: convert::labels(&row.labels) }
}

fn parse(name: &str) -> Result<Namespace, Status> {
    Namespace::new(name).map_err(convert::invalid)
}

impl Door {
    /// A namespace that is used without having been created has no labels, and exists all the same.
    async fn namespace_row(&self, name: Namespace) -> Result<NamespaceRow, Status> {
        let metadata = self.engine.stores().metadata.clone();
        blocking(move || {
            let row = metadata.read().and_then(|tx| tx.namespace(&name)).map_err(convert::store)?;
            Ok(row.unwrap_or(NamespaceRow { name, labels: Labels::new() }))
        })
        .await
    }

    fn tell(&self, namespace: &Namespace, body: Body) {
        self.engine.events().publish(namespace, convert::now(), body, Arc::default());
    }
}

#[tonic::async_trait]
impl wire::namespaces_server::Namespaces for Door {
    async fn get(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Result<Response<wire::GetNamespaceResponse>, Status> {
        let row = self.namespace_row(parse(&request.get_ref().name)?).await?;
        Ok(Response::new(wire::GetNamespaceResponse { namespace: Some(to_wire(&row)) }))
    }

    async fn list(
        &self,
        _request: Request<wire::ListNamespacesRequest>,
    ) -> Result<Response<wire::ListNamespacesResponse>, Status> {
        let metadata = self.engine.stores().metadata.clone();
        let namespaces = blocking(move || {
            let tx = metadata.read().map_err(convert::store)?;
            let names = tx.used_namespaces().map_err(convert::store)?;
            let row = |name: Namespace| {
                let known = tx.namespace(&name).map_err(convert::store)?;
                Ok(to_wire(&known.unwrap_or(NamespaceRow { name, labels: Labels::new() })))
            };
            names.into_iter().map(row).collect::<Result<Vec<_>, Status>>()
        })
        .await?;
        Ok(Response::new(wire::ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateNamespaceRequest>,
    ) -> Result<Response<wire::CreateNamespaceResponse>, Status> {
        let asked = request.into_inner().namespace.unwrap_or_default();
        let row = NamespaceRow { name: parse(&asked.name)?, labels: convert::from_labels(asked.labels) };
        let (metadata, stored) = (self.engine.stores().metadata.clone(), row.clone());
        blocking(move || {
            metadata
                .update(|tx| {
                    let known = tx.namespace(&stored.name)?.is_some();
                    if !known {
                        tx.put_namespace(&stored)?;
                    }
                    Ok(known)
                })
                .map_err(convert::store)
                .and_then(|known| match known {
                    true => Err(convert::status(
                        ErrorKind::AlreadyExists,
                        &format!("namespace {:?}", stored.name.as_str()),
                    )),
                    false => Ok(()),
                })
        })
        .await?;
        self.tell(&row.name, Body::NamespaceCreated { name: row.name.to_string() });
        Ok(Response::new(wire::CreateNamespaceResponse { namespace: Some(to_wire(&row)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Result<Response<wire::UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let asked = request.namespace.unwrap_or_default();
        let (name, labels) = (parse(&asked.name)?, convert::from_labels(asked.labels));
        let paths = convert::paths(request.update_mask);
        let metadata = self.engine.stores().metadata.clone();
        let row = blocking(move || {
            metadata
                .update(|tx| {
                    let known = tx.namespace(&name)?;
                    let mut row = known.unwrap_or(NamespaceRow { name: name.clone(), labels: Labels::new() });
                    tare_store::labels::update(&mut row.labels, &labels, &paths)?;
                    tx.put_namespace(&row)?;
                    Ok(row)
                })
                .map_err(convert::store)
        })
        .await?;
        self.tell(&row.name, Body::NamespaceUpdated { name: row.name.to_string() });
        Ok(Response::new(wire::UpdateNamespaceResponse { namespace: Some(to_wire(&row)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let name = parse(&request.get_ref().name)?;
        let (metadata, removed) = (self.engine.stores().metadata.clone(), name.clone());
        let known =
            blocking(move || metadata.update(|tx| tx.remove_namespace(&removed)).map_err(convert::store))
                .await?;
        if !known {
            return Err(convert::status(ErrorKind::NotFound, &format!("namespace {:?}", name.as_str())));
        }
        self.tell(&name, Body::NamespaceDeleted { name: name.to_string() });
        Ok(Response::new(()))
    }
}
