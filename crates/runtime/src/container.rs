//! A container that exists.

use crate::{Error, ExecOptions, Process, Result};
use alloc::{string::String, vec::Vec};
use tare_types::spec::{ContainerStatus, LinuxResources, State};

/// A container, as read from its state file or just created.
#[derive(Debug)]
pub struct Container {
    id: String,
}

impl Container {
    /// The identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the container is in its life, asked of the kernel now.
    ///
    /// # Errors
    /// The failing system call.
    pub fn status(&self) -> Result<ContainerStatus> {
        Err(Error::unimplemented("status"))
    }

    /// The specification's state document, with the status of now.
    ///
    /// # Errors
    /// As [`Container::status`].
    pub fn state(&self) -> Result<State> {
        Err(Error::unimplemented("state"))
    }

    /// Lets the first process execute its program and waits until it does; then runs `poststart` hooks.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not `created`; `NotFound`, `PermissionDenied` or
    /// `InvalidArgument` with the text of execve's failure, the first process then has ended.
    pub fn start(&mut self) -> Result<()> {
        Err(Error::unimplemented("start"))
    }

    /// Starts a process in the container. When this returns the program runs.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is stopped or paused, else as [`crate::Runtime::create`]
    /// and [`Container::start`].
    pub fn exec(&self, options: &ExecOptions<'_>) -> Result<Process> {
        let _ = options;
        Err(Error::unimplemented("exec"))
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// `FailedPrecondition` ("container not running") when it has ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let _ = signal;
        Err(Error::unimplemented("kill"))
    }

    /// Sends a signal to all processes of the container's cgroup, whether the first one lives or not.
    ///
    /// # Errors
    /// The failing system call.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let _ = signal;
        Err(Error::unimplemented("kill --all"))
    }

    /// Removes cgroup and state and runs `poststop` hooks. With `force` a live container is killed first.
    ///
    /// # Errors
    /// `FailedPrecondition` for a container that runs and no `force`. What was removed stays removed;
    /// calling again goes on.
    pub fn delete(&mut self, force: bool) -> Result<()> {
        let _ = force;
        Err(Error::unimplemented("delete"))
    }

    /// Freezes all processes and waits until they are.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not running.
    pub fn pause(&self) -> Result<()> {
        Err(Error::unimplemented("pause"))
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not paused.
    pub fn resume(&self) -> Result<()> {
        Err(Error::unimplemented("resume"))
    }

    /// Process ids of the container's cgroup, as the caller's pid namespace sees them.
    ///
    /// # Errors
    /// The failing system call.
    pub fn processes(&self) -> Result<Vec<i32>> {
        Err(Error::unimplemented("processes"))
    }

    /// Changes limits. Absent values stay as they are.
    ///
    /// # Errors
    /// `InvalidArgument` for a value the kernel refuses, with controller and file.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<()> {
        let _ = resources;
        Err(Error::unimplemented("update"))
    }
}
