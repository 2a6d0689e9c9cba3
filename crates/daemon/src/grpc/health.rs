//! `grpc.health.v1.Health`.

use super::Door;
use futures_util::stream::{self, BoxStream, StreamExt};
use tare_api::grpc::health::v1 as wire;
use tonic::{Request, Response, Status};

fn serving() -> wire::HealthCheckResponse {
    wire::HealthCheckResponse { status: wire::health_check_response::ServingStatus::Serving.into() }
}

#[tonic::async_trait]
impl wire::health_server::Health for Door {
    async fn check(
        &self,
        request: Request<wire::HealthCheckRequest>,
    ) -> Result<Response<wire::HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" => Ok(Response::new(serving())),
            other => Err(Status::not_found(format!("unknown service {other}"))),
        }
    }

    type WatchStream = BoxStream<'static, Result<wire::HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<wire::HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // The state never changes while the socket answers: one message, then silence until the end.
        let first = stream::once(async { Ok(serving()) });
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }
}
