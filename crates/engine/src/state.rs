//! What a container is right now, as opposed to its record.

use crate::{ContainerRecord, network::EndpointState};
use std::sync::Arc;
use tare_types::Timestamp;

/// A record with its state: what `inspect` and `list` show.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// The record.
    pub record: Arc<ContainerRecord>,
    /// The state.
    pub state: ContainerState,
    /// Its network, while it has one.
    pub endpoint: Option<EndpointState>,
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// In one word.
    pub status: Status,
    /// First process on the host; 0 without one.
    pub pid: u32,
    /// Status of the last exit, 0 before one.
    pub exit_code: u32,
    /// Whether the last run was killed for memory.
    pub oom_killed: bool,
    /// Why the last start failed, else empty.
    pub error: String,
    /// Begin of the current or last run.
    pub started_at: Option<Timestamp>,
    /// End of the last run.
    pub finished_at: Option<Timestamp>,
    /// Restarts by policy since the user's start.
    pub restart_count: u32,
    /// What the health check says; `None` without one, and before the first start.
    pub health: Option<crate::health::Health>,
}

impl Default for ContainerState {
    /// Never started.
    fn default() -> Self {
        Self {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: None,
            finished_at: None,
            restart_count: 0,
            health: None,
        }
    }
}

/// State in one word (Docker's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its first process runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, and the restart policy will start it again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// A removal failed half-way; remove it again.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether the first process exists: running or paused.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}
