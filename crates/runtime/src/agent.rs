//! The agent behind `seccomp.listenerPath`: it answers for the system calls of SCMP_ACT_NOTIFY.
//!
//! Whoever installs the filter sends it the listener together with the state of the process (specification, "The
//! Container Process State"). The child does that, which has the listener; the text is written into a memory file by
//! the parent, which knows the child's number.

use crate::{
    During, Error, Result,
    child::{self, Pipe},
    create::oci_state,
    hooks,
    plan::SeccompPlan,
    state::StateFile,
};
use alloc::{
    format,
    string::{String, ToString},
};
use rustix::fd::{AsFd, OwnedFd};
use serde::Serialize;
use tare_launch::ListenerOp;
use tare_types::{
    ErrorKind,
    spec::{ContainerStatus, State},
};

/// What an agent reads beside the descriptor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// Names of the descriptors, in their order.
    fds: [&'static str; 1],
    /// As the runtime sees it.
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: State,
}

/// A connection to an agent.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: OwnedFd,
    message: OwnedFd,
    written: Pipe,
    metadata: String,
}

impl Agent {
    /// Connects to the agent that a filter names, if it has notifications at all.
    pub(crate) fn connect(filter: Option<&SeccompPlan>) -> Result<Option<Self>> {
        let Some((path, metadata)) = filter.and_then(|filter| filter.listener.as_ref()) else {
            return Ok(None);
        };
        let socket = tare_sys::socket::connect(path).during("failed to connect with seccomp agent")?;
        let (message, written) = (hooks::state_file()?, Pipe::new()?);
        Ok(Some(Self { socket, message, written, metadata: metadata.clone() }))
    }

    /// The child's part.
    pub(crate) fn op(&self) -> ListenerOp<'_> {
        ListenerOp {
            socket: self.socket.as_fd(),
            message: self.message.as_fd(),
            written: self.written.read.as_fd(),
        }
    }

    /// Writes the text and lets the child read it.
    pub(crate) fn tell(&self, state: &StateFile, pid: i32, status: ContainerStatus) -> Result<()> {
        const OPERATION: &str = "tell the seccomp agent";
        let state = oci_state(state, status);
        let text = ProcessState {
            oci_version: tare_types::spec::VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state,
        };
        let text = serde_json::to_vec(&text)
            .map_err(|error| Error::new(ErrorKind::Internal, OPERATION, "", error.to_string()))?;
        if text.len() > tare_launch::MESSAGE {
            let detail = format!("{} bytes of state, {} are possible", text.len(), tare_launch::MESSAGE);
            return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, "annotations", detail));
        }
        tare_sys::file::write_fd(&self.message, &text)
            .map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("write", "message", errno)))?;
        child::release(&self.written.write)
    }
}
