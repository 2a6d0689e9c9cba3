//! Making a container up to the point where only its program is missing.

mod scope;

use crate::{
    Container, During, Error, Io, Process, Result, Runtime,
    agent::Agent,
    cgroup::{Cgroup, CgroupOptions, systemd::Occupant},
    child::{self, Outcome, Pipe},
    hooks::{self, HookStrings},
    interfaces, labels,
    plan::{Kind, Plan, c_string},
    prepare::Prepared,
    process::{GatePipes, Streams},
    program::{self, Parts, Wires},
    rdt::RdtGroup,
    state::{
        self, BegunState, Config, ConfigCgroups, ConfigNamespace, Extension, GATE_FIFO, StateDir, StateFile,
    },
    userns,
};
use alloc::{format, string::String, vec::Vec};
use core::cell::Cell;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::OFlags,
};
use tare_launch::{CloneRequest, ForeignUser, HookOp, Op, Pointer, Program, ReportKind, Spawned, Stage};
use tare_types::{
    ErrorKind, Timestamp,
    spec::{ContainerStatus, Hooks, Spec, State},
};

/// How `start` reaches the waiting first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Not at all: the program is executed as soon as the state is stored. Where hooks of the container must run
    /// before, it is as with `Pipe`. For [`crate::Runtime::run`].
    Open,
    /// A pipe held by the returned [`crate::Container`]: only that object can start the container, and
    /// the first process ends if it is dropped before. For callers that stay (the shim, `run`).
    Pipe,
    /// A fifo in the state directory: any process may start the container (`tare-oci create`).
    Fifo,
}

/// What to create.
#[derive(Debug, Clone, Copy)]
pub struct CreateOptions<'a> {
    /// Identifier, runc's alphabet: letters, digits, `_`, `+`, `-`, `.`; not `.` or `..`; at most 1024.
    pub id: &'a str,
    /// Absolute path of the bundle directory; relative paths of the configuration start there.
    pub bundle: &'a str,
    /// The configuration.
    pub spec: &'a Spec,
    /// Streams of the first process.
    pub io: Io<'a>,
    /// How the container is started.
    pub gate: Gate,
    /// How many of the caller's descriptors from 3 on the process keeps (`--preserve-fds`).
    pub keep_fds: u32,
    /// MS_MOVE and chroot instead of pivot_root, for hosts that run from an initramfs.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Make the directory of [`crate::Runtime::notify_directory`], which the configuration may have as a source.
    pub notify: bool,
    /// Leave the container in the cgroups of the caller, without limits.
    pub no_cgroups: bool,
}

const OPERATION: &str = "unable to start container process";

/// What exists so far, for the way back.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) dir: Option<StateDir>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) rdt: RdtGroup,
    pub(crate) child: Option<Spawned>,
}

impl Made {
    pub(crate) fn undo(self) {
        // The first error is what the caller must see. What stays behind here (a cgroup that is still
        // busy) has the container's name and is found by it.
        if let Some(spawned) = &self.child {
            let _ = tare_sys::process::send_signal(spawned.pidfd.as_fd(), 9);
            let _ = tare_sys::process::reap_within(spawned.pidfd.as_fd(), child::KILL_LIMIT);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.remove();
        }
        let _ = self.rdt.remove();
        if let Some(dir) = &self.dir {
            let _ = dir.remove();
        }
    }
}

pub(crate) fn create(runtime: &Runtime, options: &CreateOptions<'_>) -> Result<(Container, Process)> {
    state::check_id(options.id)?;
    if !options.bundle.starts_with('/') {
        return Err(Error::invalid("bundle", format!("{:?} is not absolute", options.bundle)));
    }
    let mut plan = Plan::new(options.spec, options.bundle)?;
    plan.set_caller(runtime.caller())?;
    if options.no_pivot && !plan.namespaces.has(Kind::Mount) {
        return Err(Error::invalid("no-pivot", "there is no mount namespace whose root could be moved"));
    }
    labels::check(&plan.process, plan.mount_label.as_deref())?;
    let streams = Streams::prepare(options.io, plan.process.terminal)?;
    let mut made = Made::default();
    let created = create_all(runtime, options, &plan, streams, &mut made);
    tare_sys::discard(plan);
    created.inspect_err(|_| made.undo())
}

/// What the child waits at.
enum Gates {
    /// For a byte that is there as soon as the state is.
    Open(Pipe),
    Pipe(Pipe),
    Fifo(OwnedFd),
}

impl Gates {
    fn new(gate: Gate, plan: &Plan, dir: &StateDir) -> Result<Self> {
        match gate {
            Gate::Open if !plan.has_early_hooks() && plan.hooks.start_container.is_empty() => {
                Pipe::new().map(Self::Open)
            }
            Gate::Open | Gate::Pipe => Pipe::new().map(Self::Pipe),
            Gate::Fifo => {
                dir.make_fifo(GATE_FIFO)?;
                // Open for both directions: the open does not wait, the fifo never seems closed to the child, and what
                // becomes of the program goes back by it.
                dir.open_file(GATE_FIFO, OFlags::RDWR).during("make the gate").map(Self::Fifo)
            }
        }
    }

    fn op(&self) -> Op<'_> {
        match self {
            Self::Open(pipe) => Op::AwaitByte(pipe.read.as_fd()),
            Self::Pipe(pipe) => Op::Rendezvous(Stage::Gate(pipe.read.as_fd(), None)),
            Self::Fifo(gate) => Op::Rendezvous(Stage::Gate(gate.as_fd(), Some(gate.as_fd()))),
        }
    }
}

/// Closes what only the launch needed, together; what is left is for the start.
fn close(prepared: Prepared, gate: Gates, reports: OwnedFd) -> Option<GatePipes> {
    let mut fds = prepared.into_descriptors();
    let left = match gate {
        Gates::Open(pipe) => {
            fds.extend([reports, pipe.read, pipe.write]);
            None
        }
        Gates::Pipe(gate) => Some(GatePipes { gate, reports }),
        Gates::Fifo(gate) => {
            fds.extend([reports, gate]);
            None
        }
    };
    tare_sys::file::close_all(fds);
    left
}

fn create_all(
    runtime: &Runtime,
    options: &CreateOptions<'_>,
    plan: &Plan,
    streams: Streams<'_>,
    made: &mut Made,
) -> Result<(Container, Process)> {
    let dir = made.dir.insert(StateDir::create(&runtime.options().root, options.id)?);
    if options.notify {
        dir.make_notify()?;
    }
    let wanted = CgroupOptions {
        path: &plan.cgroups_path,
        id: options.id,
        resources: Some(&plan.resources),
        rootless: runtime.is_rootless(),
    };
    let (cgroup, scope, begun) = scope::make_cgroup(runtime, options, &wanted, dir)?;
    let cgroup = made.cgroup.insert(cgroup);
    if let Some(rdt) = &plan.rdt {
        made.rdt = RdtGroup::make(rdt, options.id)?;
    }
    let rdt = &made.rdt;
    let mut prepared = Prepared::new(plan, cgroup, options.no_pivot)?;
    prepared.rdt = rdt.tasks()?;
    if let Some(filter) = &plan.process.seccomp {
        dir.store_seccomp(filter.flags, &filter.filter)?;
    }
    // The first pipe's write end and the second one's read end are the child's, in a row: it closes the others in two
    // calls.
    let reports = Pipe::new()?;
    let gate = Gates::new(options.gate, plan, dir)?;
    let launch = Launch {
        options,
        plan,
        prepared: &prepared,
        streams: &streams,
        gate: &gate,
        begun,
        cgroup,
        rdt,
        scope: Cell::new(scope),
        staying: Cell::new(None),
    };
    let state = launch.run(reports.read.as_fd(), reports.write, &mut made.child)?;
    let pipes = close(prepared, gate, reports.read);
    let console = streams.receive()?;
    let spawned = made.child.take().expect("invariant: a launch that succeeded has stored its child");
    let dir = made.dir.take().expect("invariant: the directory was made above");
    let cgroup = made.cgroup.take().expect("invariant: the cgroup was made above");
    let process = Process { pid: spawned.pid, pidfd: spawned.pidfd, console };
    Ok((Container::new(dir, state, cgroup, pipes), process))
}

/// Everything the launch reads.
struct Launch<'a> {
    options: &'a CreateOptions<'a>,
    plan: &'a Plan,
    prepared: &'a Prepared,
    streams: &'a Streams<'a>,
    gate: &'a Gates,
    begun: BegunState,
    cgroup: &'a Cgroup,
    rdt: &'a RdtGroup,
    scope: Cell<Option<scope::Scope>>,
    /// For version 1: keeps the scope until the first process is in.
    staying: Cell<Option<Occupant>>,
}

impl Launch<'_> {
    /// Clones the child and accompanies it to the gate. The child is stored as soon as it exists.
    fn run(&self, reports: BorrowedFd<'_>, report: OwnedFd, made: &mut Option<Spawned>) -> Result<StateFile> {
        let plan = self.plan;
        let maps = plan.namespaces.is_new(Kind::User).then(Pipe::new).transpose()?;
        let hook_wait = plan.has_early_hooks().then(Pipe::new).transpose()?;
        let agent = Agent::connect(plan.process.seccomp.as_ref())?;
        let hook_files = HookFiles::new(plan)?;
        let wires = Wires {
            maps: maps.as_ref().map(|pipe| pipe.read.as_fd()),
            hooks: hook_wait.as_ref().map(|pipe| pipe.read.as_fd()),
            gate: Some(self.gate.op()),
            streams: self.streams.given(),
            console: self.streams.socket(),
            listener: agent.as_ref().map(Agent::op),
            keep_fds: self.options.keep_fds,
        };
        let denied = self.denies_groups()?;
        let options = program::options(plan);
        let cgroup_lists = program::cgroup_lists(self.prepared);
        let cgroups = program::cgroups(plan, &cgroup_lists);
        let container_strings = HookStrings::all(&plan.hooks.create_container)?;
        let start_strings = HookStrings::all(&plan.hooks.start_container)?;
        let container_pointers: Vec<_> = container_strings.iter().map(HookStrings::pointers).collect();
        let arguments = program::pointers(plan.process.arguments.iter().map(AsRef::as_ref));
        let environment = plan.process.environment.iter().chain(&self.prepared.home);
        let environment = program::pointers(environment.map(AsRef::as_ref));
        let start_pointers: Vec<_> =
            start_strings.iter().map(|strings| strings.pointers_or(&environment)).collect();
        let parts = Parts {
            mounts: program::mounts(plan, self.prepared, &options, &cgroups),
            devices: program::devices(plan, self.prepared),
            container_hooks: hook_files.ops(&container_strings, &container_pointers, 0),
            start_hooks: hook_files.ops(&start_strings, &start_pointers, 1),
        };
        let process =
            program::process_parts(&plan.process, &arguments, &environment, wires.console, true, denied);
        let keyring =
            (!self.options.no_new_keyring).then(|| c_string("id", &format!("_ses.{}", self.options.id)));
        let keyring = keyring.transpose()?;
        let shape =
            program::Init { plan, prepared: self.prepared, parts: &parts, process: &process, wires: &wires };
        let mut ops = shape.ops(keyring.as_deref(), self.options.no_pivot);
        let last = program::last_descriptors(&ops, &report, &wires);
        program::close_last(&mut ops, &last);
        let keep = program::keep(program::descriptors(&ops), [&report, &self.prepared.root], &wires);
        // In a pid namespace of its own nobody is there to look, and nothing is executed that would inherit; but a
        // child that waits must not itself hold the other end of what it waits at.
        if !plan.namespaces.is_new(Kind::Pid) || wires.maps.is_some() || plan.has_early_hooks() {
            ops.insert(0, Op::CloseOthers(&keep));
        }

        let program = Program { ops: &ops, report: report.as_fd(), root: Some(self.prepared.root.as_fd()) };
        let scope = self.give_birth(&program, maps.is_some(), made)?;
        let spawned = made.as_ref().expect("invariant: the child was just stored");
        drop(report);
        if let Some(maps) = &maps {
            self.write_maps(spawned.pid)?;
            child::release(&maps.write)?;
        }
        if !plan.interfaces.is_empty() {
            interfaces::move_all(&plan.interfaces, spawned.pid, self.prepared)?;
        }
        let mut state = new_state(self.options, plan, self.cgroup, self.rdt, spawned.pid, denied)?;
        if let Some(scope) = scope {
            state.config.cgroups = scope;
        }
        self.begun.complete(&state)?;
        hook_files.write(&state)?;
        if let Some(agent) = &agent {
            agent.tell(&state, spawned.pid, ContainerStatus::Creating)?;
        }
        let failed = |report: tare_launch::Report| {
            if is_deadline_refused(plan, &ops, &report) {
                let text = "process scheduler can't be used together with AllowedCPUs";
                return Error::new(ErrorKind::InvalidArgument, OPERATION, text, "");
            }
            let name = plan.process.arguments[0].to_string_lossy();
            child::failure(OPERATION, &ops, &name, report)
        };
        if let Gates::Open(gate) = self.gate {
            child::release(&gate.write)?;
            return match child::outcome(reports, child::SETUP_LIMIT, "the program to start")? {
                Outcome::Executed => Ok(state),
                Outcome::Failed(report) => Err(failed(report)),
                Outcome::Vanished => Err(self.vanished(spawned)),
            };
        }
        // Hooks of the child's side run within one wait.
        let limit = child::SETUP_LIMIT + hooks::limit(&plan.hooks.create_container);
        loop {
            match child::read_report(reports, limit, "the first process to be set up")? {
                Some(report) if report.kind == ReportKind::Ready => return Ok(state),
                Some(report) if report.kind == ReportKind::Hooks => {
                    self.run_hooks(&state)?;
                    if let Some(wait) = &hook_wait {
                        child::release(&wait.write)?;
                    }
                }
                Some(report) if child::is_of_hook(&report) => {
                    return Err(child::hook_failure(OPERATION, "createContainer", &report));
                }
                Some(report) => return Err(failed(report)),
                None => return Err(self.vanished(spawned)),
            }
        }
    }

    /// Clones the child into its cgroups; what the state says of its scope, if systemd made one.
    ///
    /// `waits` is whether it waits for its maps, and can be moved meanwhile.
    fn give_birth(
        &self,
        program: &Program<'_>,
        waits: bool,
        made: &mut Option<Spawned>,
    ) -> Result<Option<ConfigCgroups>> {
        let (spawned, outside) = match self.spawn(program, self.prepared.entrance.birthplace()) {
            Err(error) if waits && self.cgroup.is_across(&error) => (self.spawn(program, None)?, true),
            spawned => (spawned?, false),
        };
        let spawned = made.insert(spawned);
        if outside {
            self.cgroup.attach(spawned.pid)?;
        }
        self.scope.take().map(|scope| scope.leave(self.cgroup, &self.staying)).transpose()
    }

    fn write_maps(&self, pid: i32) -> Result<()> {
        let mapping = &self.plan.namespaces.mapping;
        if self.plan.caller.ordinary {
            userns::write_own_maps(pid, mapping)
        } else {
            userns::write_maps(pid, mapping)
        }
    }

    /// Hooks of the runtime's side.
    fn run_hooks(&self, state: &StateFile) -> Result<()> {
        // `prestart` is from before there was the word "creating".
        let now = oci_state(state, ContainerStatus::Created);
        hooks::run("prestart", &self.plan.hooks.prestart, &now)?;
        let now = oci_state(state, ContainerStatus::Creating);
        hooks::run("createRuntime", &self.plan.hooks.create_runtime, &now)
    }

    fn spawn(&self, program: &Program<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Spawned> {
        let request = CloneRequest { namespaces: self.plan.namespaces.clone_flags(), cgroup };
        let system = |errno| Error::system(OPERATION, tare_sys::Error::new("clone3", "", errno));
        if let Some((_, user)) = self.prepared.namespaces.iter().find(|(kind, _)| *kind == Kind::User) {
            let others = self.prepared.namespaces.iter().filter(|(kind, _)| *kind != Kind::User);
            let joined: Vec<_> = others.map(|(kind, fd)| (fd.as_fd(), kind.flag())).collect();
            let foreign = ForeignUser { user: user.as_fd(), joined: &joined };
            return tare_launch::spawn_in_user(&foreign, &request, program).map_err(system);
        }
        let joined_pid = self.prepared.namespaces.iter().find(|(kind, _)| *kind == Kind::Pid);
        let entered = joined_pid
            .map(|(_, fd)| tare_sys::process::PidNamespaceForChildren::enter(fd).during("join pid namespace"))
            .transpose()?;
        let spawned = tare_launch::spawn(&request, program).map_err(system);
        // Back before anything else happens on this thread, also when the clone failed.
        // Root of a user namespace whose pid namespace is its parent's may not, and need not without hooks to run.
        let left = entered.map_or(Ok(()), |entered| match entered.leave() {
            Err(error) if error.errno() == tare_sys::Errno::PERM && self.plan.hooks == Hooks::default() => {
                Ok(())
            }
            left => left.during("leave pid namespace"),
        });
        spawned.and_then(|spawned| left.map(|()| spawned))
    }

    /// The child ended without a word: something killed it.
    fn vanished(&self, spawned: &Spawned) -> Error {
        let how = match tare_sys::process::reap_within(spawned.pidfd.as_fd(), child::KILL_LIMIT) {
            Ok(status) => match status.terminating_signal() {
                Some(9) if self.cgroup.oom_kills().is_ok_and(|kills| kills > 0) => {
                    String::from("it was killed for lack of memory (memory limit too low?)")
                }
                Some(signal) => format!("it was killed by signal {signal}"),
                None => format!("it exited with {}", status.exit_status().unwrap_or(-1)),
            },
            Err(error) => format!("{error}"),
        };
        Error::new(ErrorKind::Internal, OPERATION, "the first process ended during its set-up", how)
    }

    /// Whether setgroups(2) is denied in the container's user namespace.
    fn denies_groups(&self) -> Result<bool> {
        let plan = self.plan;
        if !plan.caller.confined {
            return Ok(false);
        }
        // One that somebody else made: most are made by such users, for whom the kernel denies it.
        let joined = plan.namespaces.joins(Kind::User);
        let own = plan.caller.ordinary && (joined || plan.namespaces.mapping.is_own());
        let text = || tare_sys::file::read_text("/proc/self/setgroups", 16).unwrap_or_default();
        let denied = own || text().starts_with("deny");
        if denied && !plan.process.identity.groups.is_empty() {
            let text = "cannot set any additional groups in a rootless container";
            return Err(Error::invalid("process.user.additionalGids", text));
        }
        Ok(denied)
    }
}

/// The state of a container whose first process has just come to be.
pub(crate) fn new_state(
    options: &CreateOptions<'_>,
    plan: &Plan,
    cgroup: &Cgroup,
    rdt: &RdtGroup,
    pid: i32,
    deny_setgroups: bool,
) -> Result<StateFile> {
    let start = tare_sys::process::stat(pid).during("read the first process")?;
    let (seconds, nanos) = tare_sys::clock::realtime();
    let mut labels = alloc::vec![format!("bundle={}", options.bundle)];
    labels.extend(options.spec.annotations.iter().map(|(key, value)| format!("{key}={value}")));
    let linux = options.spec.linux.as_ref();
    let namespaces = linux.iter().flat_map(|linux| &linux.namespaces);
    let config = Config {
        rootfs: plan.rootfs.clone(),
        readonlyfs: plan.readonly_root,
        hostname: options.spec.hostname.clone(),
        namespaces: namespaces
            .map(|namespace| ConfigNamespace {
                kind: state_name(&namespace.kind),
                path: namespace.path.clone(),
            })
            .collect(),
        cgroups: ConfigCgroups {
            name: options.id.into(),
            path: plan.cgroups_path.clone(),
            ..Default::default()
        },
        labels,
        no_new_keyring: options.no_new_keyring,
        rootless_euid: plan.caller.ordinary,
        version: options.spec.version.clone(),
    };
    let path = |kind: Kind| (kind.state_name().into(), format!("/proc/{pid}/ns/{}", kind.file()));
    Ok(StateFile {
        id: options.id.into(),
        init_process_pid: pid,
        init_process_start: start.map_or(0, |(start, _)| start),
        created: Timestamp::new(seconds, nanos),
        config,
        rootless: plan.caller.confined,
        cgroup_paths: cgroup.paths().clone(),
        namespace_paths: Kind::ALL.into_iter().map(path).collect(),
        external_descriptors: Vec::new(),
        intel_rdt_path: rdt.joined.first().cloned().unwrap_or_default(),
        tare: Extension {
            version: 1,
            unit: cgroup.unit().map_or_else(String::new, |unit| unit.name().into()),
            bundle: options.bundle.into(),
            program: plan.process.arguments[0].to_string_lossy().into_owned(),
            annotations: options.spec.annotations.clone(),
            namespaces: plan.namespaces.kinds().map(|kind| kind.state_name().into()).collect(),
            deny_setgroups,
            personality: linux.and_then(|linux| linux.personality.clone()),
            memory_policy: linux.and_then(|linux| linux.memory_policy.clone()),
            listener: plan.process.seccomp.as_ref().and_then(|filter| filter.listener.clone()),
            rdt_joined: rdt.joined.clone(),
            rdt_made: rdt.made.clone(),
            start_limit: hooks::limit(&plan.hooks.start_container),
            poststart: plan.hooks.poststart.clone(),
            poststop: plan.hooks.poststop.clone(),
        },
    })
}

/// The kernel takes some policies only from a thread that may run on every processor (sched_setattr(2), EPERM).
fn is_deadline_refused(plan: &Plan, ops: &[Op<'_>], report: &tare_launch::Report) -> bool {
    let limited = plan.resources.cpu.as_ref().is_some_and(|cpu| !cpu.cpus.is_empty());
    let scheduler = matches!(ops.get(usize::from(report.op)), Some(Op::Scheduler(_)));
    limited && scheduler && report.code == tare_sys::Errno::PERM.raw_os_error()
}

/// States for the hooks that the child runs; written when there is a process to name in them.
struct HookFiles([Option<OwnedFd>; 2]);

impl HookFiles {
    fn new(plan: &Plan) -> Result<Self> {
        let file = |hooks: &[tare_types::spec::Hook]| (!hooks.is_empty()).then(hooks::state_file).transpose();
        Ok(Self([file(&plan.hooks.create_container)?, file(&plan.hooks.start_container)?]))
    }

    fn ops<'a>(
        &'a self,
        strings: &'a [HookStrings],
        pointers: &'a [(Vec<Pointer<'a>>, Vec<Pointer<'a>>)],
        file: usize,
    ) -> Vec<HookOp<'a>> {
        let Some(file) = &self.0[file] else { return Vec::new() };
        let hooks = strings.iter().zip(pointers).enumerate();
        hooks.map(|(index, (hook, pointers))| hook.op(index, pointers, file)).collect()
    }

    fn write(&self, state: &StateFile) -> Result<()> {
        for (file, status) in self.0.iter().zip([ContainerStatus::Creating, ContainerStatus::Created]) {
            if let Some(file) = file {
                hooks::write_state(file, &oci_state(state, status))?;
            }
        }
        Ok(())
    }
}

/// The specification's state document.
pub(crate) fn oci_state(state: &StateFile, status: ContainerStatus) -> State {
    State {
        version: state.config.version.clone(),
        id: state.id.clone(),
        status,
        pid: if status == ContainerStatus::Stopped { 0 } else { state.init_process_pid },
        bundle: state.tare.bundle.clone(),
        annotations: state.tare.annotations.clone(),
    }
}

fn state_name(kind: &str) -> String {
    let name = match kind {
        "pid" => "NEWPID",
        "network" => "NEWNET",
        "mount" => "NEWNS",
        "ipc" => "NEWIPC",
        "uts" => "NEWUTS",
        "user" => "NEWUSER",
        "cgroup" => "NEWCGROUP",
        "time" => "NEWTIME",
        other => other,
    };
    name.into()
}
