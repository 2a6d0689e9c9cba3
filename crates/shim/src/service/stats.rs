//! Usage of a container as containerd's metrics: `io.containerd.cgroups.v1.Metrics` or `...v2.Metrics`, whichever the
//! host's cgroups are.

mod v1;
mod v2;

use prost::Message;
use tare_api::Any;
use tare_api::status::Status;
use tare_sys::cgroup::usage::Usage;
use tare_types::ErrorKind;

use crate::container::Container;

/// Reads the usage of now.
///
/// # Errors
/// `FailedPrecondition` for a container without cgroups, else of reading.
pub(super) fn metrics(container: &Container) -> Result<Any, Status> {
    let cgroup = &container.cgroup;
    if cgroup.paths().is_empty() {
        let message = format!("container {:?} has no cgroup", container.id);
        return Err(Status::new(ErrorKind::FailedPrecondition, message));
    }
    let directory = |controller: &str| cgroup.directory(controller).map(str::to_owned);
    let usage = Usage::read_directories(cgroup.is_v2(), directory).map_err(|error| {
        Status::new(ErrorKind::Internal, format!("read usage of {:?}: {error}", container.id))
    })?;
    // A cgroup that ends meanwhile has no kills left to tell.
    let kills = cgroup.oom_kills().unwrap_or(0);
    let (name, value) = if cgroup.is_v2() {
        ("io.containerd.cgroups.v2.Metrics", v2::metrics(&usage, kills).encode_to_vec())
    } else {
        ("io.containerd.cgroups.v1.Metrics", v1::metrics(&usage, kills).encode_to_vec())
    };
    Ok(Any { type_url: name.to_owned(), value })
}

/// A value of `memory.stat`; 0 where the kernel does not tell it.
fn detail(usage: &Usage, name: &str) -> u64 {
    usage.memory.details.iter().find(|(key, _)| key == name).map_or(0, |(_, value)| *value)
}
