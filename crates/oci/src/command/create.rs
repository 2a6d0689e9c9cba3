//! `create` and `run`.

use super::{Failure, Outcome, id};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    bundle,
    foreground::{self, Console},
    notify::{self, Notify},
};
use alloc::{format, string::String};
use rustix::fd::{AsFd, OwnedFd};
use tare_runtime::{Container, CreateOptions, Gate, Io, Process, Runtime};
use tare_types::spec::Spec;

const VALUES: &[&str] = &["bundle", "config", "console-socket", "pidfd-socket", "pid-file", "preserve-fds"];

pub(crate) static CREATE: Flags = Flags {
    values: VALUES,
    switches: &["no-pivot", "no-new-keyring", "dry-run", "help"],
    short: &[("b", "bundle"), ("f", "config"), ("h", "help")],
    stop_after: None,
};

pub(crate) static RUN: Flags = Flags {
    values: VALUES,
    switches: &["no-pivot", "no-new-keyring", "detach", "keep", "no-subreaper", "help"],
    short: &[("b", "bundle"), ("d", "detach"), ("f", "config"), ("h", "help")],
    stop_after: None,
};

pub(crate) fn create(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    arguments.expect("create", 1, 1)?;
    let job = Job::new(context, arguments, "create")?;
    if arguments.has("dry-run") {
        let plan = tare_runtime::describe_plan(&job.spec, &job.bundle)?;
        crate::output::print(&plan)?;
        return Ok(0);
    }
    let io = job.detached_io(true)?;
    let created =
        job.create(io.as_ref().map_or(Io::Inherit, |socket| Io::ConsoleSocket(socket.as_fd())), Gate::Fifo);
    let (mut container, process) =
        created.map_err(|failure| failure.prefixed(&format!("{} create failed", context.program)))?;
    job.announce(&mut container, &process)?;
    Ok(0)
}

pub(crate) fn run(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    arguments.expect("run", 1, 1)?;
    let job = Job::new(context, arguments, "run")?;
    let done = if arguments.has("detach") { run_detached(&job) } else { run_foreground(&job) };
    tare_sys::discard(job);
    done.map_err(|failure| failure.prefixed(&format!("{} run failed", context.program)))
}

fn run_detached(job: &Job<'_>) -> Outcome {
    let io = job.detached_io(true)?;
    let io = io.as_ref().map_or(Io::Inherit, |socket| Io::ConsoleSocket(socket.as_fd()));
    if job.is_announced() {
        let (mut container, process) = job.create(io, Gate::Pipe)?;
        job.announce(&mut container, &process)?;
        let notify = job.listen().inspect_err(|_| job.take_back(&mut container, &process))?;
        job.start(&mut container, &process)?;
        notify.map_or(Ok(()), |notify| notify.wait(&container))?;
    } else {
        job.run(io)?;
    }
    Ok(0)
}

fn run_foreground(job: &Job<'_>) -> Outcome {
    let context = job.context;
    job.detached_io(false)?;
    // Before the child exists: no signal and no end of it is missed.
    let signals = foreground::block_signals()?;
    let terminal = job.has_terminal();
    let (mut container, process, console, notify) = if terminal || job.is_announced() {
        job.start_accompanied(if terminal { Io::Console } else { Io::Inherit })?
    } else {
        let (container, process) = job.run(Io::Inherit)?;
        (container, process, None, None)
    };
    let code = foreground::accompany(context, &process, (console, notify), &signals)?;
    if !job.arguments.has("keep") {
        container.delete_reaped()?;
    }
    // The program ends with this: its descriptors close by themselves.
    core::mem::forget((container, process, signals));
    Ok(code)
}

/// A started container in the foreground.
type Accompanied<'a> = (Container, Process, Option<Console>, Option<Notify<'a>>);

/// What `create`, `run` and `restore` have in common.
pub(super) struct Job<'a> {
    pub(super) context: &'a Context<'a>,
    arguments: &'a Arguments,
    pub(super) runtime: Runtime,
    id: &'a str,
    bundle: String,
    spec: Spec,
    keep_fds: u32,
    /// Whom to tell when the program is ready.
    notify: Option<&'a str>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        arguments: &'a Arguments,
        name: &str,
    ) -> Result<Self, Failure> {
        let id = id(name, arguments)?;
        foreground::prepare_process(true)?;
        let bundle = bundle::absolute(arguments.value("bundle").unwrap_or("."))?;
        let mut spec = bundle::load_from(&bundle, arguments.value("config").unwrap_or("config.json"))?;
        if let Some(process) = &spec.process {
            tell_capabilities(context, process);
        }
        let keep_fds = keep_fds(context, arguments)?;
        // Socket activation (sd_listen_fds(3)): the descriptors keep their numbers, the process is number 1.
        if let (Some(count), Some(process)) = (context.variable("LISTEN_FDS"), spec.process.as_mut()) {
            process.env.push(format!("LISTEN_FDS={count}"));
            process.env.push("LISTEN_PID=1".into());
        }
        // The image of a container that is restored has no such socket.
        let (runtime, notify) = (context.runtime(), context.notify().filter(|_| name != "restore"));
        if notify.is_some() {
            notify::add(&mut spec, runtime.notify_directory(id));
        }
        Ok(Self { context, arguments, runtime, id, bundle, spec, keep_fds, notify })
    }

    pub(super) fn options<'o>(&'o self, io: Io<'o>, gate: Gate) -> CreateOptions<'o> {
        CreateOptions {
            id: self.id,
            bundle: &self.bundle,
            spec: &self.spec,
            io,
            gate,
            keep_fds: self.keep_fds,
            no_pivot: self.arguments.has("no-pivot"),
            no_new_keyring: self.arguments.has("no-new-keyring"),
            notify: self.notify.is_some(),
            no_cgroups: self.context.no_cgroups,
        }
    }

    fn create(&self, io: Io<'_>, gate: Gate) -> Result<(Container, Process), Failure> {
        self.log_creation();
        let created = self.runtime.create(&self.options(io, gate))?;
        self.context.log.debug(&format!("child process in init(): {} is set up and waits", created.1.pid));
        self.warn_of_strays(&created.0);
        Ok(created)
    }

    /// Creates and starts at once.
    fn run(&self, io: Io<'_>) -> Result<(Container, Process), Failure> {
        self.log_creation();
        let started = self.runtime.run(&self.options(io, Gate::Open)).map_err(start_failure)?;
        let log = &self.context.log;
        log.debug(&format!("child process in init(): {} is set up", started.1.pid));
        log.debug(STARTED);
        self.warn_of_strays(&started.0);
        Ok(started)
    }

    fn warn_of_strays(&self, container: &Container) {
        if container.cgroup().paths().is_empty() && !has_own_pids(&self.spec) {
            // runc's words.
            self.context.log.warning(
                "creating a rootless container with no cgroup and no private pid namespace. Such configuration is \
                 strongly discouraged (as it is impossible to properly kill all container's processes)",
            );
        }
    }

    /// What is done has runc's words, for whoever looks for them in the log.
    fn log_creation(&self) {
        let log = &self.context.log;
        log.debug("nsexec container setup: cloning the first process into its namespaces");
        if log.is_debug() {
            tell_filter(self.context, &self.spec);
        }
    }

    /// Creates, tells who is to know, and starts, with the terminal in hand.
    fn start_accompanied(&self, io: Io<'_>) -> Result<Accompanied<'a>, Failure> {
        let (mut container, mut process) = self.create(io, Gate::Pipe)?;
        self.announce(&mut container, &process)?;
        let console = process.console.take().map(Console::attach).transpose()?;
        let notify = self.listen().inspect_err(|_| self.take_back(&mut container, &process))?;
        if let Err(failure) = self.start(&mut container, &process) {
            // What a hook has said on the terminal is often the reason.
            console.iter().for_each(Console::drain);
            return Err(failure);
        }
        Ok((container, process, console, notify))
    }

    /// Whether somebody is to hear of the container before it starts.
    fn is_announced(&self) -> bool {
        self.notify.is_some() || ["pid-file", "pidfd-socket"].iter().any(|flag| self.arguments.has(flag))
    }

    /// The socket by which the program says that it is ready; there before the program is.
    fn listen(&self) -> Result<Option<Notify<'a>>, Failure> {
        let listen = |host| Notify::listen(host, &self.runtime.notify_directory(self.id));
        Ok(self.notify.map(listen).transpose()?.flatten())
    }

    /// Whether the first process has a terminal of its own.
    pub(super) fn has_terminal(&self) -> bool {
        self.spec.process.as_ref().is_some_and(|process| process.terminal)
    }

    /// Checks that terminal, socket and detaching fit together; connects to the console socket.
    pub(super) fn detached_io(&self, detached: bool) -> Result<Option<OwnedFd>, Failure> {
        let terminal = self.has_terminal();
        let socket = self.arguments.value("console-socket").filter(|path| !path.is_empty());
        let program = self.context.program;
        match (detached && terminal, socket) {
            (true, None) => {
                Err(format!("cannot allocate tty if {program} will detach without setting console socket")
                    .into())
            }
            (false, Some(_)) => {
                Err(format!("cannot use console socket if {program} will not detach or allocate tty").into())
            }
            (true, Some(path)) => Ok(Some(tare_sys::socket::connect(path)?)),
            (false, None) => Ok(None),
        }
    }

    /// Sends the pidfd and writes the pid file; a container nobody can be told about is taken back.
    pub(super) fn announce(&self, container: &mut Container, process: &Process) -> Result<(), Failure> {
        let file = self.arguments.value("pid-file");
        let told = send_pidfd(self.arguments, process).and_then(|()| {
            file.map_or(Ok(()), |path| bundle::write_pid_file(path, process.pid)).map_err(Failure::from)
        });
        told.inspect_err(|_| self.take_back(container, process))
    }

    fn start(&self, container: &mut Container, process: &Process) -> Result<(), Failure> {
        container.start().map_err(|error| {
            self.take_back(container, process);
            start_failure(error)
        })?;
        self.context.log.debug(STARTED);
        Ok(())
    }

    fn take_back(&self, container: &mut Container, process: &Process) {
        // The first error is reported; what these leave is found and removed by `delete --force`.
        let _ = container.kill(9);
        let _ = process.wait();
        let _ = container.delete(true);
    }
}

const STARTED: &str = "init: closing the pipe to signal completion: the program runs";

/// The words of execve(2) itself are a shell's: nothing before them, as in runc.
fn start_failure(error: tare_runtime::Error) -> Failure {
    let failure = Failure::from(error);
    match failure.text.strip_prefix("unable to start container process: ") {
        Some(reason) if reason.starts_with("exec /") => Failure { text: reason.into(), code: 1, bare: true },
        _ => failure,
    }
}

/// `--pidfd-socket`: hands out a descriptor of the process.
pub(crate) fn send_pidfd(arguments: &Arguments, process: &Process) -> Result<(), Failure> {
    let Some(path) = arguments.value("pidfd-socket").filter(|path| !path.is_empty()) else { return Ok(()) };
    let socket = tare_sys::socket::connect(path)?;
    Ok(tare_sys::socket::send_fd(&socket, b"pidfd", process.pidfd.as_fd())?)
}

/// Capabilities that the process does not get. The kernel makes a capability ambient only if it is permitted and inheritable too; others are left out. Many
/// callers ask for more, so that this is no warning.
pub(crate) fn tell_capabilities(context: &Context<'_>, process: &tare_types::spec::Process) {
    let Some(sets) = &process.capabilities else { return };
    let all = [&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient];
    let unknown = all.into_iter().flatten().filter(|name| tare_sys::capability::parse(name).is_none());
    let mut unknown: alloc::vec::Vec<&str> = unknown.map(String::as_str).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        let names = unknown.join(" ");
        context.log.warning(&format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
    for name in &sets.ambient {
        if !(sets.permitted.contains(name) && sets.inheritable.contains(name)) {
            let reason = "it is not permitted and inheritable";
            context.log.debug(&format!("can't raise ambient capability {name}: {reason}"));
        }
    }
}

/// Which flags the filter is installed with.
fn tell_filter(context: &Context<'_>, spec: &Spec) {
    use tare_runtime::seccomp::{Arch, compile};
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    // One that does not compile is refused by the creation that follows.
    if let Some(Ok(Some(program))) = profile.map(|profile| compile(profile, Arch::NATIVE)) {
        context.log.debug(&format!("seccomp filter flags: {}", program.flags));
    }
}

fn has_own_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.into_iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
}

/// `--preserve-fds` and the descriptors of socket activation.
pub(crate) fn keep_fds(context: &Context<'_>, arguments: &Arguments) -> Result<u32, Failure> {
    let asked = arguments.number::<u32>("preserve-fds")?.unwrap_or(0);
    let listening = context.variable("LISTEN_FDS").and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    let count = asked.saturating_add(listening).min(1 << 16);
    for number in 3..3 + count {
        if !tare_sys::file::is_open(number as i32) {
            return Err(format!("please check that preserved-fd {number} (of {count}) is present").into());
        }
    }
    Ok(count)
}
