//! The directory of containers.

use crate::{
    Container, CreateOptions, During, Error, Gate, Process, RestoreOptions, Result,
    cgroup::{
        Cgroup,
        systemd::{Manager, Unit},
    },
    checkpoint, child, create,
    plan::Caller,
    state::{self, StateDir},
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::cell::OnceCell;
use rustix::fs::{Access, Dir, FileType, Mode, OFlags};
use tare_sys::{Context, Errno, cgroup::Mounts};

/// Settings that hold for all containers of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Directory of the states, made with mode 0711 if it is missing. On a tmpfs: a state must not
    /// survive the machine.
    pub root: String,
    /// Make cgroups through systemd; `cgroupsPath` then reads `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// D-Bus addresses (`unix:path=…`) of the caller's own systemd, tried in this order, for one that is no root of the
    /// machine.
    pub user_systemd: Vec<String>,
    /// Whether to go without cgroups that the caller may not make; by default, if it is no root of the machine.
    pub rootless: Option<bool>,
}

/// A set of containers whose states share a directory.
#[derive(Debug)]
pub struct Runtime {
    options: RuntimeOptions,
    mounts: OnceCell<Mounts>,
    caller: OnceCell<Caller>,
}

impl Runtime {
    /// Opens the directory of states; it is made when the first container is.
    pub fn new(options: RuntimeOptions) -> Self {
        Self { options, mounts: OnceCell::new(), caller: OnceCell::new() }
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
        create::create(self, options)
    }

    /// Makes a container and starts its program; `poststart` hooks have run when this returns. `options.gate` is
    /// not asked. Quicker than [`Runtime::create`] and [`Container::start`]: nobody waits for anybody in between.
    ///
    /// # Errors
    /// As both's. Whatever was made is undone.
    pub fn run(&self, options: &CreateOptions<'_>) -> Result<(Container, Process)> {
        let (mut container, process) = self.create(&CreateOptions { gate: Gate::Open, ..*options })?;
        let started = if container.is_waiting() { container.start() } else { container.tell_started() };
        started.inspect_err(|_| {
            // The first error is reported; what these leave is found by the container's name.
            let _ = container.kill(9);
            let _ = process.wait();
            let _ = container.delete(true);
        })?;
        Ok((container, process))
    }

    /// Brings a container back from images. When this returns it runs, and the first process is a child of the caller.
    ///
    /// `prestart` and `createRuntime` hooks are run again, others are not (as runc).
    ///
    /// # Errors
    /// As [`Runtime::create`]'s; `NotFound` without CRIU or images; `Unimplemented` for what CRIU would bring back
    /// otherwise than it was; `Internal` with CRIU's words and its log for what it cannot restore. Whatever was made is
    /// undone.
    pub fn restore(&self, options: &RestoreOptions<'_>) -> Result<(Container, Process)> {
        if self.options.systemd_cgroup {
            return Err(Error::unimplemented("restore with cgroups through systemd"));
        }
        checkpoint::restore(self, options)
    }

    /// Reads the state of a container.
    ///
    /// # Errors
    /// `NotFound` ("container does not exist"), `DataLoss` for an unreadable state file.
    pub fn load(&self, id: &str) -> Result<Container> {
        state::check_id(id)?;
        let dir = StateDir::open(&self.options.root, id)?;
        let state = dir.load()?;
        let own = &state.tare.unit;
        let unit =
            (!own.is_empty()).then(|| Unit::new(own.clone(), self.systemd_of(state.config.cgroups.rootless)));
        let cgroup = Cgroup::from_paths(state.cgroup_paths.clone(), state.rootless).with_unit(unit);
        Ok(Container::new(dir, state, cgroup, None))
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// The failing system call; a missing directory is an empty list.
    pub fn list(&self) -> Result<Vec<String>> {
        let root = self.options.root.as_str();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(root, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            fd => fd.on("open", || root).during("list containers")?,
        };
        let mut ids = Vec::new();
        for entry in Dir::read_from(&fd).on("getdents64", || root).during("list containers")? {
            let entry = entry.on("getdents64", || root).during("list containers")?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if entry.file_type() == FileType::Directory && state::check_id(name).is_ok() {
                ids.push(name.to_string());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes what is left of a container whose creation was cut off: a directory without a state, the cgroups it
    /// names, and the first process, if it got so far.
    ///
    /// # Errors
    /// The failing system call; `NotFound` when there is nothing.
    pub fn remove_remains(&self, id: &str) -> Result<()> {
        state::check_id(id)?;
        let dir = StateDir::open(&self.options.root, id)?;
        dir.abandon_gate(child::KILL_LIMIT)?;
        let (mut paths, unit) = dir.load_cgroups()?;
        // Killed on the way, so that some may not have been made.
        paths.retain(|_, directory| rustix::fs::access(directory.as_str(), Access::EXISTS).is_ok());
        let unit = unit.map(|name| Unit::new(name, self.systemd()));
        let cgroup = Cgroup::from_paths(paths, self.is_rootless()).with_unit(unit);
        let mut limit = child::LEAVE_LIMIT;
        if dir.has(checkpoint::MARK) {
            // A restore has begun in cgroups that it had made: all in there is what it restored, and CRIU.
            cgroup.kill(9)?;
            limit = child::KILL_LIMIT;
        }
        // Processes that stay are somebody else's: the creation would have refused the path.
        if cgroup.is_deserted(limit)? {
            cgroup.remove()?;
        }
        dir.remove()
    }

    /// Where the socket is by which a container's program says that it is ready; the caller makes the socket.
    pub fn notify_directory(&self, id: &str) -> String {
        alloc::format!("{}/{id}/{}", self.options.root, state::NOTIFY)
    }

    /// Where this host has its cgroups; asked once.
    pub(crate) fn cgroup_mounts(&self) -> Result<&Mounts> {
        if let Some(mounts) = self.mounts.get() {
            return Ok(mounts);
        }
        let mounts = Mounts::detect().during("find the cgroup file systems")?;
        Ok(self.mounts.get_or_init(|| mounts))
    }

    /// The systemd that makes cgroups for this caller.
    pub(crate) fn systemd(&self) -> Manager {
        self.systemd_of(self.is_rootless())
    }

    fn systemd_of(&self, user: bool) -> Manager {
        if user { Manager::of_user(&self.options.user_systemd) } else { Manager::system() }
    }

    /// Who calls. Where the machine's root is not mapped, `/proc` belongs to somebody else.
    pub(crate) fn caller(&self) -> Caller {
        *self.caller.get_or_init(caller)
    }

    /// Whether the caller may lack the right to make cgroups.
    pub(crate) fn is_rootless(&self) -> bool {
        self.options.rootless.unwrap_or_else(|| self.caller().confined)
    }
}

/// Who calls, in this process's user namespace.
pub(crate) fn caller() -> Caller {
    let ordinary = !rustix::process::geteuid().is_root();
    let foreign = || rustix::fs::stat("/proc").is_ok_and(|stat| stat.st_uid != 0);
    Caller { ordinary, confined: ordinary || foreign() }
}
