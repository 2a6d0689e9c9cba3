//! A container that exists.

use crate::{
    CheckpointOptions, During, Error, ExecOptions, Process, Result,
    cgroup::{Cgroup, OomEvents, Stats},
    checkpoint,
    child::{self, Outcome},
    create::oci_state,
    exec, hooks,
    plan::Kind,
    process::GatePipes,
    state::{GATE_FIFO, StateDir, StateFile},
};
use alloc::{format, string::String, vec::Vec};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::OFlags,
};
use tare_launch::{Op, Pointer};
use tare_sys::Errno;
use tare_types::{
    ErrorKind, Timestamp,
    spec::{ContainerStatus, LinuxResources, State},
};

/// How long a killed first process may take to end before `delete` gives up, in milliseconds. runc's value.
const KILL_DEADLINE: u64 = 10_000;

/// A container, as read from its state file or just created.
#[derive(Debug)]
pub struct Container {
    pub(crate) dir: StateDir,
    pub(crate) state: StateFile,
    pub(crate) cgroup: Cgroup,
    /// To the waiting first process, if its start is not left to another process.
    gate: Option<GatePipes>,
}

impl Container {
    pub(crate) fn new(dir: StateDir, state: StateFile, cgroup: Cgroup, gate: Option<GatePipes>) -> Self {
        Self { dir, state, cgroup, gate }
    }

    /// The identifier.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The first process as the host sees it; it may have ended.
    pub fn pid(&self) -> i32 {
        self.state.init_process_pid
    }

    /// Absolute path of the bundle.
    pub fn bundle(&self) -> &str {
        &self.state.tare.bundle
    }

    /// When the container was created.
    pub fn created(&self) -> Timestamp {
        self.state.created
    }

    /// Path of the root file system on the host.
    pub fn rootfs(&self) -> &str {
        &self.state.config.rootfs
    }

    /// Its cgroups.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where the container is in its life, asked of the kernel now.
    ///
    /// # Errors
    /// The failing system call.
    pub fn status(&self) -> Result<ContainerStatus> {
        let ended = match tare_sys::process::stat(self.pid()).during("read the first process")? {
            // Another process may have the number by now: its start time tells.
            Some((start, state)) => start != self.state.init_process_start || matches!(state, b'Z' | b'X'),
            None => true,
        };
        if ended {
            return Ok(ContainerStatus::Stopped);
        }
        if self.gate.is_some() || self.dir.open_gate()?.is_some() {
            return Ok(ContainerStatus::Created);
        }
        let frozen = self.cgroup.is_frozen()?;
        Ok(if frozen { ContainerStatus::Paused } else { ContainerStatus::Running })
    }

    /// The specification's state document, with the status of now.
    ///
    /// # Errors
    /// As [`Container::status`].
    pub fn state(&self) -> Result<State> {
        Ok(oci_state(&self.state, self.status()?))
    }

    /// Lets the first process execute its program and waits until it does; then runs `poststart` hooks.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not `created`; `NotFound`, `PermissionDenied` or
    /// `InvalidArgument` with the text of execve's failure, the first process then has ended.
    pub fn start(&mut self) -> Result<()> {
        let limit = child::SETUP_LIMIT + self.state.tare.start_limit;
        if let Some(pipes) = self.gate.take() {
            self.check_program(pipes.open(limit)?)?;
        } else {
            let reports = self.open_fifo()?;
            self.check_program(child::outcome(reports.as_fd(), limit, "the program to start")?)?;
        }
        self.tell_started()
    }

    /// Whether the first process waits for [`Container::start`] of this very object.
    pub(crate) fn is_waiting(&self) -> bool {
        self.gate.is_some()
    }

    pub(crate) fn tell_started(&self) -> Result<()> {
        hooks::run("poststart", &self.state.tare.poststart, &oci_state(&self.state, ContainerStatus::Running))
    }

    /// Lets the first process go. What comes back is the reading end of the gate, closed from the other side when the
    /// program runs.
    fn open_fifo(&self) -> Result<OwnedFd> {
        let refuse = |text| Err(Error::new(ErrorKind::FailedPrecondition, text, "", ""));
        match self.status()? {
            ContainerStatus::Created => {}
            ContainerStatus::Stopped => return refuse("cannot start a container that has stopped"),
            _ => return refuse("cannot start an already running container"),
        }
        // It may have ended since. In this order: the reading end alone would look like a process that waits.
        let Some(gate) = self.dir.open_gate()? else {
            return refuse("cannot start a container that has stopped");
        };
        let reports = match self.dir.open_file(GATE_FIFO, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(error) if error.is_not_found() => return refuse("cannot start an already running container"),
            reports => reports.during("open the gate")?,
        };
        // In this order: a process that waits behind a gate without a name would wait for ever.
        child::release(&gate)?;
        self.dir.remove_file(GATE_FIFO);
        Ok(reports)
    }

    fn check_program(&self, outcome: Outcome) -> Result<()> {
        const OPERATION: &str = "unable to start container process";
        match outcome {
            Outcome::Executed => Ok(()),
            Outcome::Vanished => Err(Error::new(
                ErrorKind::FailedPrecondition,
                OPERATION,
                "the first process ended before its program",
                "",
            )),
            Outcome::Failed(report) if child::is_of_hook(&report) => {
                Err(child::hook_failure(OPERATION, "startContainer", &report))
            }
            Outcome::Failed(report) => {
                // The list is the creator's; after the gate only the filter, hooks and the program are left.
                let end = [Pointer::NULL];
                let array = crate::program::array(&end);
                let ops = [Op::Execute(array, array)];
                let name = self.program_name();
                let report = tare_launch::Report { op: 0, ..report };
                Err(child::failure(OPERATION, &ops, &name, report))
            }
        }
    }

    /// What the process calls itself by; for messages.
    fn program_name(&self) -> String {
        self.state.tare.program.clone()
    }

    /// Starts a process in the container. When this returns the program runs.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is stopped or paused, else as [`crate::Runtime::create`]
    /// and [`Container::start`].
    pub fn exec(&self, options: &ExecOptions<'_>) -> Result<Process> {
        exec::exec(self, options)
    }

    /// Sends a signal to the first process. SIGKILL reaches all processes of a container that has no pid namespace of
    /// its own: they would not end with the first one, and may be there without it.
    ///
    /// # Errors
    /// `FailedPrecondition` ("container not running") when it has ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == 9 && !self.has_own_pids() {
            return if self.processes()?.is_empty() { Err(not_running()) } else { self.cgroup.kill(9) };
        }
        let first = match self.open_first() {
            Err(error) if error.kind() == ErrorKind::FailedPrecondition => return Err(not_running()),
            first => first?,
        };
        // Before its program runs the first process handles nothing, and the kernel spares the first of a pid namespace
        // every signal without a handler: what would end its program ends it.
        let waits = ends_by_default(signal) && self.status()? == ContainerStatus::Created;
        let sent = tare_sys::process::send_signal(first.as_fd(), if waits { 9 } else { signal });
        match sent {
            Err(error) if error.errno() == Errno::SRCH => Err(not_running()),
            sent => sent.during("kill"),
        }?;
        // A frozen process would not see the signal until it is thawed; runc does the same.
        if signal == 9 && self.cgroup.is_frozen().unwrap_or(false) {
            self.cgroup.thaw()?;
        }
        Ok(())
    }

    /// Sends a signal to all processes of the container's cgroup, whether the first one lives or not.
    ///
    /// # Errors
    /// The failing system call.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        self.cgroup.kill(signal)
    }

    /// Removes cgroup and state and runs `poststop` hooks. With `force` a live container is killed first.
    ///
    /// # Errors
    /// `FailedPrecondition` for a container that runs and no `force`. What was removed stays removed;
    /// calling again goes on.
    pub fn delete(&mut self, force: bool) -> Result<()> {
        self.end(force)?;
        self.remove()
    }

    /// Removes cgroup and state of a container whose first process the caller has reaped, and runs `poststop` hooks.
    ///
    /// # Errors
    /// As [`Container::delete`].
    pub fn delete_reaped(&mut self) -> Result<()> {
        self.remove()
    }

    /// Sees to it that the first process has ended.
    fn end(&self, force: bool) -> Result<()> {
        let mut status = self.status()?;
        if status == ContainerStatus::Running && !force && self.is_about_to_end()? {
            status = ContainerStatus::Stopped;
        }
        if status != ContainerStatus::Stopped {
            // A created container has run nothing yet: runc deletes it without force.
            if !force && status != ContainerStatus::Created {
                let text = format!("cannot delete container {} that is not stopped: {status}", self.id());
                return Err(Error::new(ErrorKind::FailedPrecondition, "", text, ""));
            }
            self.kill_and_wait()?;
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        // Members of a pid namespace end with its first process; those of a shared one do not.
        if !self.has_own_pids() {
            self.cgroup.kill(9)?;
        }
        if let Err(error) = self.cgroup.remove() {
            if !self.dir.has(checkpoint::MARK) {
                return Err(error);
            }
            // A restore was cut off: what is in there is CRIU and what it was about to restore.
            self.cgroup.kill(9)?;
            self.cgroup.remove()?;
        }
        self.state.tare.rdt().remove()?;
        let ran = hooks::run(
            "poststop",
            &self.state.tare.poststop,
            &oci_state(&self.state, ContainerStatus::Stopped),
        );
        self.dir.remove()?;
        ran
    }

    /// Whether the first process ends within a moment: whoever has just killed it and deletes need not wait in between.
    fn is_about_to_end(&self) -> Result<bool> {
        const MOMENT: u64 = 100;
        match self.open_first() {
            Ok(first) => {
                tare_sys::process::has_ended(first.as_fd(), MOMENT).during("wait for the first process")
            }
            Err(error) if error.kind() == ErrorKind::FailedPrecondition => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn kill_and_wait(&self) -> Result<()> {
        let first = match self.open_first() {
            Err(error) if error.kind() == ErrorKind::FailedPrecondition => return Ok(()),
            first => first?,
        };
        match tare_sys::process::send_signal(first.as_fd(), 9) {
            Err(error) if error.errno() == Errno::SRCH => return Ok(()),
            sent => sent.during("kill")?,
        }
        if self.cgroup.is_frozen().unwrap_or(false) {
            self.cgroup.thaw()?;
        }
        if tare_sys::process::has_ended(first.as_fd(), KILL_DEADLINE).during("wait for the first process")? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::DeadlineExceeded, "container init still running", "", ""))
    }

    /// Freezes all processes and waits until they are.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not running.
    pub fn pause(&self) -> Result<()> {
        match self.status()? {
            ContainerStatus::Running | ContainerStatus::Created => self.cgroup.freeze(),
            _ => Err(Error::new(ErrorKind::FailedPrecondition, "container not running or created", "", "")),
        }
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// `FailedPrecondition` when the container is not paused.
    pub fn resume(&self) -> Result<()> {
        match self.status()? {
            ContainerStatus::Paused => self.cgroup.thaw(),
            ContainerStatus::Created if self.cgroup.is_frozen()? => self.cgroup.thaw(),
            _ => Err(Error::new(ErrorKind::FailedPrecondition, "container not paused", "", "")),
        }
    }

    /// Writes images of the container from which [`crate::Runtime::restore`] brings it back. Its processes end, unless
    /// they are to go on; its state stays until it is deleted.
    ///
    /// # Errors
    /// `FailedPrecondition` for a container that does not run; `NotFound` without CRIU; `Unimplemented` for what CRIU
    /// would bring back otherwise than it was; `Internal` with CRIU's words and its log for what it cannot dump. The
    /// container then goes on.
    pub fn checkpoint(&self, options: &CheckpointOptions<'_>) -> Result<()> {
        checkpoint::checkpoint(self, options)
    }

    /// Process ids of the container's cgroup, as the caller's pid namespace sees them.
    ///
    /// # Errors
    /// The failing system call.
    pub fn processes(&self) -> Result<Vec<i32>> {
        self.cgroup.processes()
    }

    /// Changes limits. Absent values stay as they are.
    ///
    /// # Errors
    /// `InvalidArgument` for a value the kernel refuses, with controller and file.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<()> {
        self.cgroup.update(resources)
    }

    /// Changes the shares of caches and memory bandwidth: lines of resctrl's `schemata`.
    ///
    /// # Errors
    /// `FailedPrecondition` for a container without `linux.intelRdt`, else what the kernel says of the line.
    pub fn update_rdt(&self, lines: &[String]) -> Result<()> {
        self.state.tare.rdt().update(lines)
    }

    /// Usage by controller.
    ///
    /// # Errors
    /// The failing system call.
    pub fn stats(&self) -> Result<Stats> {
        self.cgroup.stats()
    }

    /// Watches for memory shortage.
    ///
    /// # Errors
    /// `NotFound` without a memory controller, else the failing system call.
    pub fn oom_events(&self) -> Result<OomEvents> {
        self.cgroup.oom_events()
    }

    /// Whether the container has a pid namespace that was made for it.
    fn has_own_pids(&self) -> bool {
        let namespaces = &self.state.config.namespaces;
        namespaces
            .iter()
            .any(|namespace| namespace.kind == Kind::Pid.state_name() && namespace.path.is_empty())
    }

    /// A descriptor of the first process, checked to be that one and not a later one of the same number.
    pub(crate) fn open_first(&self) -> Result<OwnedFd> {
        let gone = || Error::new(ErrorKind::FailedPrecondition, "container not running", "", "");
        let pidfd = match tare_sys::process::open(self.pid()) {
            Err(error) if error.errno() == Errno::SRCH => return Err(gone()),
            pidfd => pidfd.during("open the first process")?,
        };
        match tare_sys::process::stat(self.pid()).during("read the first process")? {
            Some((start, state))
                if start == self.state.init_process_start && !matches!(state, b'Z' | b'X') =>
            {
                Ok(pidfd)
            }
            _ => Err(gone()),
        }
    }
}

/// Whether a signal ends a process that has no handler for it (signal(7)).
fn ends_by_default(signal: i32) -> bool {
    !matches!(signal, 0 | 17..=23 | 28)
}

fn not_running() -> Error {
    Error::new(ErrorKind::FailedPrecondition, "container not running", "", "")
}
