//! Processes of a running container, as ps(1) shows them.

use crate::{Engine, Error, Result};
use tare_types::Namespace;

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
        _namespace: &Namespace,
        _reference: &str,
        _arguments: &str,
    ) -> Result<ProcessTable> {
        let _ = &self.engine;
        Err(Error::unimplemented("list processes of", "container"))
    }
}
