//! A further process in a container.
//!
//! The child is born in the container's pid namespace (the calling thread lends itself to that for the length of
//! the clone), closes every descriptor it does not need, joins the other namespaces through the first process's
//! pidfd in one call, and closes the rest. It has a copy of the caller's memory, never the memory itself: a
//! process of the container may look at it (CVE-2019-5736 and its family). Nothing is executed, loaded or looked
//! up by path before the container's own root is in force, and nothing of the host afterwards.

use crate::{
    Container, During, Error, ExecOptions, Process, Result,
    agent::Agent,
    cgroup::{Entrance, systemd::Unit},
    child::{self, Outcome, Pipe},
    labels,
    plan::{Kind, ProcessPlan, SeccompPlan},
    prepare,
    process::Streams,
    program::{self, Join, Wires},
};
use alloc::format;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use tare_launch::{CloneRequest, ForeignUser, Op, Program, Spawned};
use tare_sys::RootDir;
use tare_types::{ErrorKind, spec::ContainerStatus};

const OPERATION: &str = "exec failed: unable to start container process";

pub(crate) fn exec(container: &Container, options: &ExecOptions<'_>) -> Result<Process> {
    match container.status()? {
        ContainerStatus::Stopped => {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                "cannot exec in a stopped container",
                "",
                "",
            ));
        }
        ContainerStatus::Paused if !options.ignore_paused => {
            let text = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(Error::new(ErrorKind::FailedPrecondition, text, "", ""));
        }
        _ => {}
    }
    let own = &container.state.tare;
    let (personality, memory_policy) = (own.personality.as_ref(), own.memory_policy.as_ref());
    let mut plan = ProcessPlan::new(options.process, None, personality, memory_policy)?;
    plan.seccomp = container.dir.load_seccomp()?.map(|(flags, filter)| SeccompPlan {
        filter,
        flags,
        listener: own.listener.clone(),
    });
    if !rustix::process::geteuid().is_root() {
        // Its own files in procfs are the machine's root's while nobody may look at it: it keeps the caller's score.
        plan.oom_score = None;
    }
    labels::check(&plan, None)?;
    let first = container.open_first()?;
    let streams = Streams::prepare(options.io, plan.terminal)?;
    let entrance = container.cgroup.entrance(&options.cgroup)?;
    let rdt = container.state.tare.rdt().tasks()?;
    let home = plan
        .wants_home
        .then(|| {
            let root = format!("/proc/{}/root", container.state.init_process_pid);
            RootDir::open_ambient(&root)
                .map(|root| prepare::home(root.as_fd(), plan.identity.uid))
                .during(OPERATION)
        })
        .transpose()?;
    let mut made = None;
    let joined = Joined {
        container,
        options,
        plan: &plan,
        first: &first,
        streams: &streams,
        entrance: &entrance,
        rdt: &rdt,
    };
    match joined.run(home.as_deref(), &mut made) {
        Ok(spawned) => {
            let console = streams.receive()?;
            Ok(Process { pid: spawned.pid, pidfd: spawned.pidfd, console })
        }
        Err(error) => {
            if let Some(spawned) = made {
                // The error is what the caller must see; an unreaped child would be a zombie of the caller's.
                let _ = tare_sys::process::send_signal(spawned.pidfd.as_fd(), 9);
                let _ = tare_sys::process::reap_within(spawned.pidfd.as_fd(), child::KILL_LIMIT);
            }
            Err(error)
        }
    }
}

struct Joined<'a> {
    container: &'a Container,
    options: &'a ExecOptions<'a>,
    plan: &'a ProcessPlan,
    first: &'a OwnedFd,
    streams: &'a Streams<'a>,
    entrance: &'a Entrance,
    rdt: &'a [OwnedFd],
}

impl Joined<'_> {
    /// Clones the child and waits until it executes its program.
    fn run(&self, home: Option<&core::ffi::CStr>, made: &mut Option<Spawned>) -> Result<Spawned> {
        let report = Pipe::new()?;
        let agent = Agent::connect(self.plan.seccomp.as_ref())?;
        let root = self.root()?;
        let wires = Wires {
            maps: None,
            hooks: None,
            gate: None,
            streams: self.streams.given(),
            console: self.streams.socket(),
            listener: agent.as_ref().map(Agent::op),
            keep_fds: self.options.keep_fds,
        };
        let plan = self.plan;
        let arguments = program::pointers(plan.arguments.iter().map(AsRef::as_ref));
        let environment = plan.environment.iter().map(AsRef::as_ref).chain(home);
        let environment = program::pointers(environment);
        let deny = self.container.state.tare.deny_setgroups;
        let process = program::process_parts(plan, &arguments, &environment, wires.console, false, deny);
        let join = Join {
            plan,
            process: &process,
            entrance: self.entrance,
            rdt: self.rdt,
            container: self.first.as_fd(),
            root: root.as_ref().map(AsFd::as_fd),
            namespaces: self.namespaces() & !self.born_in(),
            in_user: self.namespaces() & Kind::User.flag() != 0,
            wires: &wires,
        };
        let (mut ops, mut inside) = (join.outside(), join.inside());
        // For a user's scope: it may have to be moved in from outside before it does anything.
        let of_user = self.container.cgroup.unit().is_some_and(Unit::is_of_user);
        let moved = of_user.then(Pipe::new).transpose()?;
        if let Some(moved) = &moved {
            ops.insert(0, Op::AwaitByte(moved.read.as_fd()));
        }
        let last = program::last_descriptors(&inside, &report.write, &wires);
        program::close_last(&mut inside, &last);
        let inner = program::keep(program::descriptors(&inside), [&report.write], &wires);
        let outer = program::keep([program::descriptors(&ops), inner.clone()].concat(), [], &wires);
        ops.insert(0, Op::CloseOthers(&outer));
        ops.push(Op::CloseOthers(&inner));
        ops.extend(inside);
        let program = Program { ops: &ops, report: report.write.as_fd(), root: None };
        let (spawned, outside) = match self.spawn(&program, self.entrance.birthplace()) {
            Err(error) if self.container.cgroup.is_across(&error) => (self.spawn(&program, None)?, true),
            spawned => (spawned?, false),
        };
        let spawned = made.insert(spawned);
        drop(report.write);
        if outside {
            self.container.cgroup.attach(spawned.pid)?;
        }
        if let Some(moved) = &moved {
            child::release(&moved.write)?;
        }
        if let Some(agent) = &agent {
            agent.tell(&self.container.state, spawned.pid, ContainerStatus::Running)?;
        }
        let outcome = child::outcome(report.read.as_fd(), self.limit(), "the process to be set up")?;
        match (outcome, made.take()) {
            (Outcome::Executed, Some(spawned)) => Ok(spawned),
            (Outcome::Failed(report), spawned) => {
                *made = spawned;
                let name = plan.arguments[0].to_string_lossy();
                Err(child::failure(OPERATION, &ops, &name, report))
            }
            (_, spawned) => {
                *made = spawned;
                Err(Error::new(ErrorKind::Internal, OPERATION, "", "the process ended during its set-up"))
            }
        }
    }

    /// An ordinary user enters the user namespace first: it is there that it has rights.
    fn born_in(&self) -> u32 {
        let user = if rustix::process::geteuid().is_root() { 0 } else { Kind::User.flag() };
        Kind::Pid.flag() | user
    }

    fn spawn_in_user(&self, program: &Program<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned> {
        let open = |kind: Kind| {
            let path = format!("/proc/{}/ns/{}", self.container.state.init_process_pid, kind.file());
            tare_sys::file::open(&path, rustix::fs::OFlags::RDONLY, 0).during(OPERATION)
        };
        let (user, pid) = (open(Kind::User)?, open(Kind::Pid)?);
        let joined = [(pid.as_fd(), Kind::Pid.flag())];
        let joined = if self.namespaces() & Kind::Pid.flag() != 0 { &joined[..] } else { &[] };
        let foreign = ForeignUser { user: user.as_fd(), joined };
        let request = CloneRequest { namespaces: 0, cgroup };
        tare_launch::spawn_in_user(&foreign, &request, program)
            .map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("clone3", "", errno)))
    }

    fn spawn(&self, program: &Program<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned> {
        if self.namespaces() & self.born_in() & Kind::User.flag() != 0 {
            return self.spawn_in_user(program, cgroup);
        }
        let enters_pid = self.namespaces() & Kind::Pid.flag() != 0;
        let entered = enters_pid
            .then(|| tare_sys::process::PidNamespaceForChildren::enter(self.first).during(OPERATION))
            .transpose()?;
        let spawned = tare_launch::spawn(&CloneRequest { namespaces: 0, cgroup }, program)
            .map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("clone3", "", errno)));
        // Back before anything else happens on this thread, also when the clone failed. Root of a user namespace whose
        // pid namespace is its parent's may not: its further children would be the container's, but an exec has none.
        let left = entered.map_or(Ok(()), |entered| match entered.leave() {
            Err(error) if error.errno() == tare_sys::Errno::PERM => Ok(()),
            left => left.during(OPERATION),
        });
        spawned.and_then(|spawned| left.map(|()| spawned))
    }

    /// A paused container holds the process until it is resumed, which may be whenever.
    fn limit(&self) -> u64 {
        if self.options.ignore_paused { u64::from(u32::MAX) } else { child::SETUP_LIMIT }
    }

    /// The container's root, for one that has no mount namespace of its own.
    fn root(&self) -> Result<Option<OwnedFd>> {
        if self.namespaces() & Kind::Mount.flag() != 0 {
            return Ok(None);
        }
        let path = format!("/proc/{}/root", self.container.state.init_process_pid);
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
        tare_sys::file::open(&path, flags, 0).map(Some).during(OPERATION)
    }

    fn namespaces(&self) -> u32 {
        let names = &self.container.state.tare.namespaces;
        let has = |kind: &Kind| names.iter().any(|name| name == kind.state_name());
        Kind::ALL.iter().filter(|kind| has(kind)).fold(0, |flags, kind| flags | kind.flag())
    }
}
