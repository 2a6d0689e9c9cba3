//! A container's cgroups: made, limited, entered, frozen, read, removed.
//!
//! Version 1 (also hybrid) and version 2, by their files or through systemd. The limits are in force before a process of the
//! container exists. Entering is left to the child: version 1 hands out `tasks` descriptors, into which the child
//! writes `0` itself (a parent's write to `cgroup.procs` waits for a grace period, 6 to 15 ms on an idle host),
//! version 2 a directory for CLONE_INTO_CGROUP. Semantics of paths, values and messages are those of runc's
//! cgroupfs driver. Not here: which limits a container gets, namespaces, mounting cgroups inside.

mod conversion;
mod device;
mod freeze;
mod limits;
mod make;
mod oom;
mod path;
mod pids;
mod remove;
mod stats;
pub(crate) mod systemd;
mod v1;
mod v2;

pub use oom::OomEvents;
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, Event, HugetlbStats, MemoryEntry, MemoryStats, PidsStats,
    PsiData, PsiStats, Stats, Throttling,
};

use crate::{During, Result};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use tare_sys::cgroup::Mounts;
use tare_types::spec::LinuxResources;

/// What [`Cgroup::create`] is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CgroupOptions<'a> {
    /// `linux.cgroupsPath`: absolute below the mount, relative below the caller's own cgroup (version 2: beside
    /// it), empty for `id` taken as relative.
    pub path: &'a str,
    /// The container, for an empty `path`.
    pub id: &'a str,
    /// Limits; without any, the default device rules still hold.
    pub resources: Option<&'a LinuxResources>,
    /// The caller may lack the right to make cgroups. Then a container without limits and without a path of its
    /// own goes without one, and device rules that cannot be set are not an error.
    pub rootless: bool,
}

/// The cgroups of one container: one directory per tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Controller to directory; version 2 has the empty name. In runc's state file this is `cgroup_paths`.
    paths: BTreeMap<String, String>,
    rootless: bool,
    /// The scope, if systemd made them.
    unit: Option<systemd::Unit>,
}

/// How a process gets in.
#[derive(Debug)]
pub enum Entrance {
    /// Version 1: the process itself writes `0` into each. On a hybrid host it is born in a directory of version 2.
    Tasks(Vec<OwnedFd>, Option<OwnedFd>),
    /// Version 2: for CLONE_INTO_CGROUP.
    Directory(OwnedFd),
    /// There is no cgroup; the process stays where its parent is.
    None,
}

impl Entrance {
    /// The directory of version 2 that a process is born in.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Directory(directory) | Self::Tasks(_, Some(directory)) => Some(directory.as_fd()),
            Self::Tasks(_, None) | Self::None => None,
        }
    }
}

impl Cgroup {
    /// Makes the directories and sets the limits.
    ///
    /// # Errors
    /// `FailedPrecondition` for a cgroup that exists with processes in it; `PermissionDenied`; `InvalidArgument`
    /// for a limit the kernel refuses, with file and value. What was made is removed again.
    pub fn create(mounts: &Mounts, options: &CgroupOptions<'_>) -> Result<Self> {
        Self::resolve(mounts, options)?.make(options)
    }

    /// Where the directories will be; nothing is made yet. A creation that is cut off is cleaned by these paths.
    ///
    /// # Errors
    /// `InvalidArgument` for a path with a zero byte; of reading `/proc/self/cgroup`.
    pub fn resolve(mounts: &Mounts, options: &CgroupOptions<'_>) -> Result<Self> {
        Ok(Self { paths: path::resolve(mounts, options)?, rootless: options.rootless, unit: None })
    }

    /// Makes the directories of [`Cgroup::resolve`] and sets the limits.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn make(self, options: &CgroupOptions<'_>) -> Result<Self> {
        make::create(self, options)
    }

    /// The cgroups that a state file names.
    pub fn from_paths(paths: BTreeMap<String, String>, rootless: bool) -> Self {
        Self { paths, rootless, unit: None }
    }

    /// The same cgroups as the scope that they are to systemd.
    pub(crate) fn with_unit(self, unit: Option<systemd::Unit>) -> Self {
        Self { unit, ..self }
    }

    /// The scope, if systemd made them.
    pub(crate) fn unit(&self) -> Option<&systemd::Unit> {
        self.unit.as_ref()
    }

    /// Controller to directory, for the state file.
    pub fn paths(&self) -> &BTreeMap<String, String> {
        &self.paths
    }

    /// The directory of a controller; in version 2 the one directory.
    pub fn directory(&self, controller: &str) -> Option<&str> {
        self.paths.get("").or_else(|| self.paths.get(controller)).map(String::as_str)
    }

    /// Whether the container is in a tree of version 2.
    pub fn is_v2(&self) -> bool {
        self.paths.contains_key("")
    }

    /// Opens what a new process needs to get in. `below` names directories under the container's own, for exec with
    /// `--cgroup`: each entry `path`, or `controller[,controller]:path` in version 1. They must exist.
    ///
    /// # Errors
    /// open(2)'s; `InvalidArgument` for a `below` that leads elsewhere or names an unknown controller.
    pub fn entrance(&self, below: &[String]) -> Result<Entrance> {
        const OPERATION: &str = "adding pid to the cgroup";
        let places = path::places(below, &self.paths)?;
        if let Some(directory) = self.paths.get("") {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let below = places.get("").map_or("", String::as_str);
            let fd = tare_sys::file::open(&(directory.to_string() + below), flags, 0);
            return Ok(Entrance::Directory(fd.during(OPERATION)?));
        }
        let mut tasks = Vec::with_capacity(self.paths.len());
        let mut birthplace = None;
        for directory in self.directories() {
            if self.unified() == Some(directory) {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                birthplace = Some(tare_sys::file::open(directory, flags, 0).during(OPERATION)?);
                continue;
            }
            // Controllers that share a tree go together: one that is named takes the others along.
            let named = self.paths.iter().filter(|(_, path)| *path == directory);
            let below = named.filter_map(|(controller, _)| places.get(controller.as_str())).next();
            let path = directory.to_string() + below.map_or("", String::as_str) + "/tasks";
            tasks.push(tare_sys::file::open(&path, OFlags::WRONLY, 0).during(OPERATION)?);
        }
        let none = tasks.is_empty() && birthplace.is_none();
        Ok(if none { Entrance::None } else { Entrance::Tasks(tasks, birthplace) })
    }

    /// Whether a clone into the cgroup failed for a reason that asking the user's systemd helps against.
    pub(crate) fn is_across(&self, error: &crate::Error) -> bool {
        use tare_sys::Errno;
        self.unit.as_ref().is_some_and(systemd::Unit::is_of_user)
            && matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM))
    }

    /// Has systemd move a process in.
    pub(crate) fn attach(&self, pid: i32) -> Result<()> {
        self.unit.as_ref().map_or(Ok(()), |unit| unit.attach(pid))
    }

    /// The directory of version 2 on a hybrid host.
    pub(crate) fn unified(&self) -> Option<&str> {
        self.paths.get(path::UNIFIED).map(String::as_str)
    }

    /// Puts a process in, with all its threads, from outside. Slower than [`Cgroup::entrance`].
    ///
    /// # Errors
    /// write(2)'s.
    pub fn add(&self, pid: i32) -> Result<()> {
        for directory in self.directories() {
            tare_sys::cgroup::write(directory, "cgroup.procs", &pid.to_string()).during("enter cgroup")?;
        }
        Ok(())
    }

    /// Changes limits of the running container; absent values stay. Memory and swap are judged together: whoever
    /// changes one gives both.
    ///
    /// # Errors
    /// `InvalidArgument` with file and value. Limits set before the refused one stay.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        match &self.unit {
            Some(unit) => systemd::update(self, unit, resources),
            None => limits::apply(self, resources, limits::Devices::Keep),
        }
    }

    /// Processes in the cgroup and the ones below it, as the caller's pid namespace sees them.
    ///
    /// # Errors
    /// Of reading; a cgroup that is gone has none.
    pub fn processes(&self) -> Result<Vec<i32>> {
        pids::all(self)
    }

    /// Whether nobody is in there, or leaves it within so many milliseconds.
    pub(crate) fn is_deserted(&self, limit: u64) -> Result<bool> {
        pids::is_deserted(self, limit)
    }

    /// Sends a signal to every process. SIGKILL leaves none behind that forks meanwhile.
    ///
    /// # Errors
    /// write(2)'s or kill(2)'s; `DeadlineExceeded` when new processes keep appearing.
    pub fn kill(&self, signal: i32) -> Result<()> {
        pids::kill(self, signal)
    }

    /// Freezes every process and waits, at most ten seconds, until they are.
    ///
    /// # Errors
    /// `DeadlineExceeded`; the cgroup is thawed again.
    pub fn freeze(&self) -> Result<()> {
        freeze::freeze(self)
    }

    /// Thaws every process.
    ///
    /// # Errors
    /// write(2)'s.
    pub fn thaw(&self) -> Result<()> {
        freeze::thaw(self)
    }

    /// Whether the cgroup itself is frozen (not only one above it).
    ///
    /// # Errors
    /// read(2)'s. Without a freezer the answer is no.
    pub fn is_frozen(&self) -> Result<bool> {
        freeze::is_frozen(self)
    }

    /// Usage as `events --stats` shows it.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn stats(&self) -> Result<Stats> {
        stats::read(self)
    }

    /// Watches for memory shortage.
    ///
    /// # Errors
    /// Of opening; `NotFound` without a memory controller.
    pub fn oom_events(&self) -> Result<OomEvents> {
        OomEvents::open(self)
    }

    /// How many processes the kernel has killed for lack of memory.
    ///
    /// # Errors
    /// read(2)'s; 0 for a cgroup that is gone or kernels that do not count.
    pub fn oom_kills(&self) -> Result<u64> {
        oom::kills(self)
    }

    /// Removes the directories and those below them. Zombies and dying processes keep a cgroup busy for a
    /// moment: it is tried again for up to two seconds.
    ///
    /// # Errors
    /// `FailedPrecondition` with the directory that stays busy.
    pub fn remove(&self) -> Result<()> {
        match &self.unit {
            Some(unit) => systemd::remove(self, unit),
            None => remove::all(self),
        }
    }

    /// Each directory once: controllers that share a tree share it.
    fn directories(&self) -> Vec<&str> {
        let mut directories: Vec<&str> = self.paths.values().map(String::as_str).collect();
        directories.sort_unstable();
        directories.dedup();
        directories
    }
}

#[cfg(test)]
mod tests;
