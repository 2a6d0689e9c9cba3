//! What is served on the shim's socket: containerd's Task in versions 2 and 3 (the same messages under two package
//! names) and Tare's private Shim. Wire types become calls here and in the files below, nowhere else.

mod attach;
mod private;
mod stats;
mod task;

use prost::Message;
use std::sync::Arc;
use tare_api::status::Status;
use tare_api::ttrpc::{Call, Method, Reply, Service, Stream};
use tare_types::ErrorKind;

use crate::shim::Shim;

/// Names of the Task service.
const TASK: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
/// Name of the private service.
const PRIVATE: &str = "tare.shim.v1.Shim";

/// The shim as a ttrpc service.
#[derive(Debug)]
pub(crate) struct ShimService(pub(crate) Arc<Shim>);

impl Service for ShimService {
    fn method(&self, service: &str, method: &str) -> Option<Method> {
        if TASK.contains(&service) {
            return task::METHODS.contains(&method).then_some(Method::Unary);
        }
        match (service, method) {
            (PRIVATE, "Attach") => Some(Method::Streaming),
            (PRIVATE, "Processes" | "BindPorts" | "ReleasePorts" | "ReopenLog") => Some(Method::Unary),
            (PRIVATE, "HoldStreams" | "ReleaseStreams") => Some(Method::Unary),
            _ => None,
        }
    }

    fn unary(self: Arc<Self>, call: Call) -> Reply<Vec<u8>> {
        let waits = call.service != PRIVATE && task::READING.contains(&call.method.as_str());
        let work = async move {
            let answer = match call.service.as_str() {
                PRIVATE => private::unary(&self.0, &call).await,
                _ => task::unary(&self.0, &call).await,
            };
            self.0.active.notify_one();
            answer
        };
        if waits { Box::pin(work) } else { to_its_end(work) }
    }

    fn streaming(self: Arc<Self>, _call: Call, stream: Stream) -> Reply<()> {
        Box::pin(async move { attach::serve(&self.0, stream).await })
    }
}

/// Runs a call that changes something to its end, whether or not its caller stays: a daemon that dies in the middle of
/// Create finds a container when it comes back, or none, and never the half of one.
fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T, Status>> + Send + 'static) -> Reply<T> {
    let work = tokio::spawn(work);
    Box::pin(async move {
        let failed = |error| Status::new(ErrorKind::Internal, format!("the call ended: {error}"));
        work.await.map_err(failed)?
    })
}

/// An encoded answer.
#[allow(clippy::unnecessary_wraps, reason = "it is the end of a chain of fallible steps")]
fn answer<M: Message>(message: &M) -> Result<Vec<u8>, Status> {
    Ok(message.encode_to_vec())
}
