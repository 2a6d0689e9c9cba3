//! Further processes in running containers: create, start, inspect, resize.
//!
//! An exec created through the Docker door is identified by 64 hexadecimal digits, unique in the daemon.

use crate::{Error, Result, attach::Attachment, containers::Containers};
use tare_types::{ContainerId, ExecId, Namespace};

/// A process to start in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `NAME=value` added to the container's environment.
    pub env: Vec<String>,
    /// `user[:group]`; empty is the container's.
    pub user: String,
    /// Working directory; empty is the container's.
    pub cwd: String,
    /// A terminal.
    pub tty: bool,
    /// Attach stdin.
    pub stdin: bool,
    /// Attach standard output.
    pub stdout: bool,
    /// Attach standard error.
    pub stderr: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Keys that detach, kept for inspection.
    pub detach_keys: String,
    /// Initial size of the terminal: height (rows), width (columns).
    pub console_size: Option<(u16, u16)>,
}

/// State of an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecView {
    /// Identifier.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// As it was asked for.
    pub request: ExecRequest,
    /// Whether it runs.
    pub running: bool,
    /// Exit status; `None` before the exit.
    pub exit_code: Option<u32>,
    /// Process on the host, 0 before the start and after the exit.
    pub pid: u32,
}

impl Containers {
    /// Registers a process; [`Containers::exec_start`] starts it.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container does not run or is paused; `InvalidArgument` without a program.
    pub async fn exec_create(
        &self,
        _namespace: &Namespace,
        _reference: &str,
        _request: ExecRequest,
    ) -> Result<ExecId> {
        Err(Error::unimplemented("create", "exec"))
    }

    /// Starts it; with `detach` there is no attachment and its streams go nowhere.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when it was started; a missing program (the code 127 or 126 is kept).
    pub async fn exec_start(
        &self,
        _exec: &str,
        _detach: bool,
        _console_size: Option<(u16, u16)>,
    ) -> Result<Option<Attachment>> {
        Err(Error::unimplemented("start", "exec"))
    }

    /// Its state; known until its container ends and is started again or removed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn exec_inspect(&self, exec: &str) -> Result<ExecView> {
        Err(Error::not_found("inspect", "exec", exec))
    }

    /// Execs of a container that are known: for its `inspect`.
    pub fn execs(&self, _container: &ContainerId) -> Vec<ExecId> {
        Vec::new()
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when it does not run.
    pub async fn exec_resize(&self, exec: &str, _height: u16, _width: u16) -> Result<()> {
        Err(Error::not_found("resize", "exec", exec))
    }
}
