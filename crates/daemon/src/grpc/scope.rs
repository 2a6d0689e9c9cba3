//! Namespace and lease of a request, from its headers.

use super::convert::invalid;
use tare_types::{LeaseId, Namespace};
use tonic::{Status, metadata::MetadataMap};

/// Header with the namespace.
const NAMESPACE: &str = "containerd-namespace";
/// Header with the lease.
const LEASE: &str = "containerd-lease";

/// The namespace; required.
pub(super) fn namespace(headers: &MetadataMap) -> Result<Namespace, Status> {
    let text = headers
        .get(NAMESPACE)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::failed_precondition("namespace is required: failed precondition"))?;
    Namespace::new(text).map_err(invalid)
}

/// The lease; `None` without one.
pub(super) fn lease(headers: &MetadataMap) -> Result<Option<LeaseId>, Status> {
    match headers.get(LEASE).and_then(|value| value.to_str().ok()) {
        None | Some("") => Ok(None),
        Some(text) => LeaseId::new(text).map(Some).map_err(invalid),
    }
}
