//! The directory of containers.

use crate::{Container, CreateOptions, Error, Process, Result};
use alloc::{string::String, vec::Vec};

/// Settings that hold for all containers of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Directory of the states, made with mode 0700 if it is missing. On a tmpfs: a state must not
    /// survive the machine.
    pub root: String,
    /// Make cgroups through systemd; `cgroupsPath` then reads `slice:prefix:name`.
    pub systemd_cgroup: bool,
}

/// A set of containers whose states share a directory.
#[derive(Debug)]
pub struct Runtime {
    options: RuntimeOptions,
}

impl Runtime {
    /// Opens the directory of states; it is made when the first container is.
    pub fn new(options: RuntimeOptions) -> Self {
        Self { options }
    }

    /// The settings.
    pub fn options(&self) -> &RuntimeOptions {
        &self.options
    }

    /// Makes a container. When this returns, its namespaces, mounts, cgroup and first process exist and
    /// the process waits just before its program; the state file says `created`.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot work, `AlreadyExists` for an id in use,
    /// `NotFound` or `PermissionDenied` with runc's texts when the program is missing or cannot be
    /// executed, else the kind of the failing system call. Whatever was made is undone.
    pub fn create(&self, options: &CreateOptions<'_>) -> Result<(Container, Process)> {
        let _ = options;
        Err(Error::unimplemented("create"))
    }

    /// Reads the state of a container.
    ///
    /// # Errors
    /// `NotFound` ("container does not exist"), `DataLoss` for an unreadable state file.
    pub fn load(&self, id: &str) -> Result<Container> {
        let _ = id;
        Err(Error::unimplemented("load"))
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// The failing system call; a missing directory is an empty list.
    pub fn list(&self) -> Result<Vec<String>> {
        Err(Error::unimplemented("list"))
    }
}
