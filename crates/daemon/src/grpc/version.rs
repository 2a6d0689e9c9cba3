//! `containerd.services.version.v1.Version`.

use super::Door;
use tare_api::containerd::services::version::v1 as wire;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl wire::version_server::Version for Door {
    async fn version(&self, _request: Request<()>) -> Result<Response<wire::VersionResponse>, Status> {
        // Clients parse it as a semantic version; the "+" part says whose it is.
        let version = concat!("v", env!("CARGO_PKG_VERSION"), "+tare").to_owned();
        Ok(Response::new(wire::VersionResponse { version, revision: String::new() }))
    }
}
