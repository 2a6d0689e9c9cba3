//! `containerd.services.leases.v1.Leases`.

use super::{Door, blocking, convert, scope};
use std::borrow::Cow;
use tare_api::containerd::services::leases::v1 as wire;
use tare_store::filters::Fields;
use tare_store::metadata::{LeaseResource, LeaseRow};
use tare_store::{Filters, Tables};
use tare_types::{ErrorKind, LeaseId};
use tonic::{Request, Response, Status};

fn to_wire(row: &LeaseRow) -> wire::Lease {
    wire::Lease {
        id: row.id.to_string(),
        created_at: convert::time(row.created_at),
        labels: convert::labels(&row.labels),
    }
}

fn parse(id: &str) -> Result<LeaseId, Status> {
    LeaseId::new(id).map_err(convert::invalid)
}

/// A name for a client that gave none, in containerd's form: the time and four letters.
fn unique() -> Result<LeaseId, Status> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Status::internal(format!("getrandom for a lease's id: {errno}")))?;
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    parse(&format!("{}-{}", convert::now().nanos, String::from_iter(letters)))
}

fn resource(resource: Option<wire::Resource>) -> Result<LeaseResource, Status> {
    let resource = resource
        .ok_or_else(|| convert::status(ErrorKind::InvalidArgument, "the request names no resource"))?;
    let kind = resource.r#type;
    let known = matches!(kind.as_str(), "content" | "ingests" | "images") || kind.starts_with("snapshots/");
    if !known {
        return Err(convert::status(ErrorKind::Unimplemented, &format!("resource type {kind:?} of a lease")));
    }
    Ok(LeaseResource { kind, id: resource.id })
}

/// A lease as filters see it.
struct Filtered<'a>(&'a LeaseRow);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(self.0.id.as_str())),
            ["labels", key @ ..] => {
                self.0.labels.get(&key.join(".")).map(|value| Cow::Borrowed(value.as_str()))
            }
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl wire::leases_server::Leases for Door {
    async fn create(
        &self,
        request: Request<wire::CreateRequest>,
    ) -> Result<Response<wire::CreateResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let asked = request.into_inner();
        let row = LeaseRow {
            id: if asked.id.is_empty() { unique()? } else { parse(&asked.id)? },
            created_at: convert::now(),
            labels: convert::from_labels(asked.labels),
        };
        let (metadata, stored) = (self.engine.stores().metadata.clone(), row.clone());
        blocking(move || {
            let known = metadata
                .update(|tx| {
                    let known = tx.lease(&namespace, &stored.id)?.is_some();
                    if !known {
                        tx.put_lease(&namespace, &stored)?;
                    }
                    Ok(known)
                })
                .map_err(convert::store)?;
            match known {
                true => {
                    Err(convert::status(ErrorKind::AlreadyExists, &format!("lease {:?}", stored.id.as_str())))
                }
                false => Ok(()),
            }
        })
        .await?;
        Ok(Response::new(wire::CreateResponse { lease: Some(to_wire(&row)) }))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let asked = request.into_inner();
        let id = parse(&asked.id)?;
        let stores = self.engine.stores().clone();
        blocking(move || {
            let known =
                stores.metadata.update(|tx| tx.remove_lease(&namespace, &id)).map_err(convert::store)?;
            if !known {
                return Err(convert::status(ErrorKind::NotFound, &format!("lease {:?}", id.as_str())));
            }
            Ok(())
        })
        .await?;
        self.collect(asked.sync).await?;
        Ok(Response::new(()))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let metadata = self.engine.stores().metadata.clone();
        let leases = blocking(move || {
            let rows = metadata.read().and_then(|tx| tx.leases(&namespace)).map_err(convert::store)?;
            Ok(rows.iter().filter(|row| filters.matches(&Filtered(row))).map(to_wire).collect())
        })
        .await?;
        Ok(Response::new(wire::ListResponse { leases }))
    }

    async fn add_resource(&self, request: Request<wire::AddResourceRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let asked = request.into_inner();
        let (id, resource) = (parse(&asked.id)?, resource(asked.resource)?);
        let metadata = self.engine.stores().metadata.clone();
        blocking(move || {
            metadata.update(|tx| tx.add_lease_resource(&namespace, &id, &resource)).map_err(convert::store)
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn delete_resource(
        &self,
        request: Request<wire::DeleteResourceRequest>,
    ) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let asked = request.into_inner();
        let (id, resource) = (parse(&asked.id)?, resource(asked.resource)?);
        let metadata = self.engine.stores().metadata.clone();
        blocking(move || {
            metadata.update(|tx| tx.remove_lease_resource(&namespace, &id, &resource)).map_err(convert::store)
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Result<Response<wire::ListResourcesResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let id = parse(&request.get_ref().id)?;
        let metadata = self.engine.stores().metadata.clone();
        let resources = blocking(move || {
            let tx = metadata.read().map_err(convert::store)?;
            if tx.lease(&namespace, &id).map_err(convert::store)?.is_none() {
                return Err(convert::status(ErrorKind::NotFound, &format!("lease {:?}", id.as_str())));
            }
            let resources = tx.lease_resources(&namespace, &id).map_err(convert::store)?;
            Ok(resources.into_iter().map(|r| wire::Resource { id: r.id, r#type: r.kind }).collect())
        })
        .await?;
        Ok(Response::new(wire::ListResourcesResponse { resources }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_names_differ() {
        assert_ne!(unique().unwrap(), unique().unwrap());
    }
}
