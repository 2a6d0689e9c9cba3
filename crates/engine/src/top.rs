//! Processes of a running container, as ps(1) shows them.

mod arguments;
mod columns;
mod process;
mod table;

use crate::{Engine, Error, Result};
use std::{io, time::Duration};
use tare_sys::cgroup::{self, Mounts};
use tare_types::{ErrorKind, Namespace};

/// How long reading `/proc` may take: it waits for the memory map of a process, which one that hangs may hold.
const LIMIT: Duration = Duration::from_secs(10);

/// The verb of process lists.
#[derive(Debug, Clone)]
pub struct Top {
    engine: Engine,
}

/// A table of processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// Heads of the columns.
    pub titles: Vec<String>,
    /// One row per process.
    pub rows: Vec<Vec<String>>,
}

impl Top {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// The processes of a container; `arguments` are ps's (`-ef` is the default).
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run; `InvalidArgument` for arguments that hide the process id.
    pub async fn processes(
        &self,
        namespace: &Namespace,
        reference: &str,
        arguments: &str,
    ) -> Result<ProcessTable> {
        const VERB: &str = "list processes of";
        let entry = self.engine.entry(VERB, namespace, reference)?;
        let format = arguments::parse(arguments)
            .map_err(|detail| Error::new(ErrorKind::InvalidArgument, VERB, "container", reference, detail))?;
        let pid = entry.running_task().map_or(0, |task| task.init.pid());
        if pid == 0 {
            let detail = "it does not run";
            return Err(Error::new(ErrorKind::FailedPrecondition, VERB, "container", reference, detail));
        }
        let made = crate::stores::blocking(VERB, move || {
            Ok(members(pid).and_then(|pids| table::make(pids, &format)))
        });
        let made = tokio::time::timeout(LIMIT, made).await.map_err(|_| {
            let detail =
                format!("/proc did not answer within {LIMIT:?}: a process in it hangs in the kernel");
            Error::new(ErrorKind::DeadlineExceeded, VERB, "container", reference, detail)
        })?;
        let table = made?.map_err(|error| {
            Error::new(ErrorKind::Internal, VERB, "container", reference, "").with_source(error)
        })?;
        self.engine.publish(&entry, crate::lifecycle::stop::action(&entry, "top"));
        Ok(table)
    }
}

/// Everybody in the cgroup of a container's first process.
fn members(pid: u32) -> io::Result<Vec<u32>> {
    let to_io = |error: tare_sys::Error| io::Error::from_raw_os_error(error.errno().raw_os_error());
    let mounts = Mounts::detect().map_err(to_io)?;
    let places = cgroup::of(&format!("/proc/{pid}/cgroup")).map_err(to_io)?;
    // In version 1 the trees hold the same processes; one that all runtimes use is asked.
    let directory = ["devices", "pids", "memory", ""].iter().find_map(|controller| {
        let listed = |list: &str| list.split(',').any(|name| name == *controller);
        let (_, path) = places.iter().find(|(list, _)| listed(list))?;
        mounts.directory(controller, path).filter(|_| path != "/")
    });
    match directory {
        Some(directory) => {
            let pids = cgroup::processes(&directory).map_err(to_io)?;
            Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect())
        }
        // A container without a cgroup of its own: at least its first process is known.
        None => Ok(vec![pid]),
    }
}
