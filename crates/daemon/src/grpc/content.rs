//! `containerd.services.content.v1.Content`.

mod write;

use super::{Door, blocking, convert, scope};
use futures_util::stream::{self, BoxStream, StreamExt};
use tare_api::containerd::services::content::v1 as wire;
use tare_engine::events::Body;
use tare_store::metadata::ContentInfo;
use tare_store::{BlobReader, Filters, IngestStatus};
use tonic::{Request, Response, Status, Streaming};

/// Bytes of a blob per message.
const CHUNK: usize = 1 << 20;
/// Rows per message of a list.
const PAGE: usize = 100;

fn to_wire(info: &ContentInfo) -> wire::Info {
    wire::Info {
        digest: info.digest.to_string(),
        size: convert::size(info.size),
        created_at: convert::time(info.created_at),
        updated_at: convert::time(info.updated_at),
        labels: convert::labels(&info.labels),
    }
}

fn status_to_wire(status: &IngestStatus) -> wire::Status {
    wire::Status {
        started_at: convert::time(status.started_at),
        updated_at: convert::time(status.updated_at),
        r#ref: status.reference.clone(),
        offset: convert::size(status.offset),
        total: convert::size(status.total),
        expected: status.expected.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The bytes that a client asks for. As containerd: a negative offset is 0, a size of 0 or beyond the end means up to
/// the end, since a client may not know where that is.
fn range(offset: i64, size: i64, total: u64) -> Result<(u64, u64), Status> {
    let start = u64::try_from(offset).unwrap_or(0);
    if start > total {
        return Err(Status::out_of_range(format!("read past object length {total} bytes")));
    }
    let end = match u64::try_from(size) {
        Ok(size @ 1..) => start.saturating_add(size).min(total),
        _ => total,
    };
    Ok((start, end))
}

/// Reads a range of a blob chunk by chunk; each read is one blocking call.
fn read_range(
    reader: BlobReader,
    start: u64,
    end: u64,
) -> BoxStream<'static, Result<wire::ReadContentResponse, Status>> {
    let state = Some((reader, start));
    stream::unfold(state, move |state| async move {
        let (reader, offset) = state?;
        if offset >= end {
            return None;
        }
        let step = blocking(move || {
            let length = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            let mut data = vec![0; length];
            let count = reader.read_at(&mut data, offset).map_err(convert::store)?;
            data.truncate(count);
            Ok((reader, data))
        })
        .await;
        match step {
            Ok((_, data)) if data.is_empty() => None,
            Ok((reader, data)) => {
                let next = offset + data.len() as u64;
                Some((
                    Ok(wire::ReadContentResponse { offset: convert::size(offset), data }),
                    Some((reader, next)),
                ))
            }
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

#[tonic::async_trait]
impl wire::content_server::Content for Door {
    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let digest = convert::digest(&request.get_ref().digest)?;
        let content = self.engine.stores().content.clone();
        let info = blocking(move || content.stat(&namespace, &digest).map_err(convert::store)).await?;
        Ok(Response::new(wire::InfoResponse { info: Some(to_wire(&info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateRequest>,
    ) -> Result<Response<wire::UpdateResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let asked = request.info.unwrap_or_default();
        let (digest, labels) = (convert::digest(&asked.digest)?, convert::from_labels(asked.labels));
        let paths = convert::paths(request.update_mask);
        let content = self.engine.stores().content.clone();
        let info = blocking(move || {
            content.update(&namespace, &digest, &labels, &paths, convert::now()).map_err(convert::store)
        })
        .await?;
        Ok(Response::new(wire::UpdateResponse { info: Some(to_wire(&info)) }))
    }

    type ListStream = BoxStream<'static, Result<wire::ListContentResponse, Status>>;

    async fn list(
        &self,
        request: Request<wire::ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let content = self.engine.stores().content.clone();
        let rows = blocking(move || content.list(&namespace, &filters).map_err(convert::store)).await?;
        let pages: Vec<_> = rows
            .chunks(PAGE)
            .map(|page| Ok(wire::ListContentResponse { info: page.iter().map(to_wire).collect() }))
            .collect();
        Ok(Response::new(stream::iter(pages).boxed()))
    }

    async fn delete(&self, request: Request<wire::DeleteContentRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let digest = convert::digest(&request.get_ref().digest)?;
        let (content, place, removed) =
            (self.engine.stores().content.clone(), namespace.clone(), digest.clone());
        blocking(move || content.delete(&place, &removed).map_err(convert::store)).await?;
        let body = Body::ContentDeleted { digest: digest.to_string() };
        self.engine.events().publish(&namespace, convert::now(), body, std::sync::Arc::default());
        Ok(Response::new(()))
    }

    type ReadStream = BoxStream<'static, Result<wire::ReadContentResponse, Status>>;

    async fn read(
        &self,
        request: Request<wire::ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let request = request.into_inner();
        let digest = convert::digest(&request.digest)?;
        let content = self.engine.stores().content.clone();
        let reader = blocking(move || content.reader(&namespace, &digest).map_err(convert::store)).await?;
        let (start, end) = range(request.offset, request.size, reader.size())?;
        Ok(Response::new(read_range(reader, start, end)))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let reference = request.into_inner().r#ref;
        let content = self.engine.stores().content.clone();
        let status = blocking(move || content.status(&namespace, &reference).map_err(convert::store)).await?;
        Ok(Response::new(wire::StatusResponse { status: Some(status_to_wire(&status)) }))
    }

    async fn list_statuses(
        &self,
        request: Request<wire::ListStatusesRequest>,
    ) -> Result<Response<wire::ListStatusesResponse>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let filters = Filters::parse(&request.get_ref().filters).map_err(convert::store)?;
        let content = self.engine.stores().content.clone();
        let statuses =
            blocking(move || content.statuses(&namespace, &filters).map_err(convert::store)).await?;
        Ok(Response::new(wire::ListStatusesResponse {
            statuses: statuses.iter().map(status_to_wire).collect(),
        }))
    }

    type WriteStream = BoxStream<'static, Result<wire::WriteContentResponse, Status>>;

    async fn write(
        &self,
        request: Request<Streaming<wire::WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let lease = scope::lease(request.metadata())?;
        let writer = write::Writer::new(self.engine.clone(), namespace, lease);
        Ok(Response::new(writer.serve(request.into_inner())))
    }

    async fn abort(&self, request: Request<wire::AbortRequest>) -> Result<Response<()>, Status> {
        let namespace = scope::namespace(request.metadata())?;
        let reference = request.into_inner().r#ref;
        let content = self.engine.stores().content.clone();
        blocking(move || content.abort(&namespace, &reference).map_err(convert::store)).await?;
        Ok(Response::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_the_blob_ends() {
        assert_eq!(range(0, 0, 6).unwrap(), (0, 6));
        assert_eq!(range(2, 3, 6).unwrap(), (2, 5));
        assert_eq!(range(2, 64, 6).unwrap(), (2, 6));
        assert_eq!(range(6, 1, 6).unwrap(), (6, 6));
        assert_eq!(range(-1, -1, 6).unwrap(), (0, 6));
        assert_eq!(range(1, i64::MAX, 6).unwrap(), (1, 6));
        assert_eq!(range(7, 0, 6).unwrap_err().code(), tonic::Code::OutOfRange);
    }
}
