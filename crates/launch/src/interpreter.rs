//! Walks the list.

use crate::{
    ListenerOp, MountChange, Op, Program, Stage,
    classic::{self, Place},
    console, device, execute, identity, mask, mount, namespace, raw,
    report::{At, Call, Failed, Outcome, Report, ReportKind},
    target,
};
use core::{cell::Cell, ffi::CStr};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    fs::{Mode, OFlags},
    io::Errno,
};

/// What the child has found or made on its way.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    root: Option<BorrowedFd<'a>>,
    report: BorrowedFd<'a>,
    own_root: Option<OwnedFd>,
    program: Option<&'a CStr>,
    pub(crate) dev: Option<OwnedFd>,
    pub(crate) proc: Option<OwnedFd>,
    /// What `/proc` leads to when all is mounted, if that is a procfs; the outer one is for "not looked yet".
    pub(crate) kernel: Option<Option<OwnedFd>>,
    pub(crate) null: Option<OwnedFd>,
    pub(crate) empty: Option<OwnedFd>,
    /// A name in `kernel` that is covered by an empty directory.
    pub(crate) covered: Option<&'a CStr>,
    /// The working directory.
    pub(crate) place: Cell<Place>,
    /// The working directory is entered and checked.
    pub(crate) entered: bool,
}

/// Walks the list to its execve. Returns only when something failed, after reporting it.
pub(crate) fn walk(program: &Program<'_>) {
    let mut child = Child {
        root: program.root,
        report: program.report,
        own_root: None,
        program: None,
        dev: None,
        proc: None,
        kernel: None,
        null: None,
        empty: None,
        covered: None,
        place: Cell::new(Place::Foreign),
        entered: false,
    };
    for (index, op) in program.ops.iter().enumerate() {
        if let Err(failed) = child.step(index as u16, op) {
            let index = match op {
                Op::Hook(hook) if matches!(failed.call, Call::HookExit | Call::HookTimeout) => hook.index,
                _ => index as u16,
            };
            child.tell(ReportKind::Failed, index, Some(failed));
            return;
        }
    }
}

impl<'a> Child<'a> {
    /// The directory below which paths are resolved.
    pub(crate) fn root(&self) -> Outcome<BorrowedFd<'_>> {
        let own = self.own_root.as_ref().map(AsFd::as_fd);
        own.or(self.root).ok_or(Failed { call: Call::Openat2, errno: Errno::BADF })
    }

    /// Keeps a mount that later operations work in.
    pub(crate) fn remember(&mut self, kind: &CStr, destination: &CStr, made: OwnedFd) {
        if kind == c"proc" {
            self.proc = Some(made);
        } else if destination == c"/dev" {
            self.dev = Some(made);
        } else {
            target::leave(made);
        }
    }

    /// The child's own `/dev` and the name in it, for a path directly below.
    pub(crate) fn in_dev<'s, 'p>(&'s self, path: &'p CStr) -> Option<(BorrowedFd<'s>, &'p CStr)> {
        let dev = self.dev.as_ref()?;
        let name = path.to_bytes_with_nul().strip_prefix(b"/dev/")?;
        let name = CStr::from_bytes_with_nul(name).ok()?;
        let plain = !name.to_bytes().contains(&b'/') && !matches!(name.to_bytes(), b"" | b"." | b"..");
        plain.then_some((dev.as_fd(), name))
    }

    /// Does something in the directory that holds `path`, with the last name; without a look-up for what is directly
    /// in `/dev`.
    pub(crate) fn in_parent_of(
        &self,
        path: &CStr,
        what: impl FnOnce(BorrowedFd<'_>, &CStr) -> Outcome,
    ) -> Outcome {
        if let Some((dev, name)) = self.in_dev(path) {
            return what(dev, name);
        }
        let (parent, name) = target::open_parent(self.root()?, path)?;
        let done = what(parent.as_fd(), name);
        target::leave(parent);
        done
    }

    fn tell(&self, kind: ReportKind, op: u16, failed: Option<Failed>) {
        // Without a parent nobody is there to hear it; the exit code says the rest.
        let _ = self.try_tell(kind, op, failed);
    }

    fn try_tell(&self, kind: ReportKind, op: u16, failed: Option<Failed>) -> Result<(), Errno> {
        let (call, code) =
            failed.map_or((Call::None, 0), |failed| (failed.call, failed.errno.raw_os_error()));
        let report = Report { kind, op, call, code };
        rustix::io::write(self.report, &report.to_bytes()).map(drop)
    }

    fn step(&mut self, index: u16, op: &Op<'a>) -> Outcome {
        match *op {
            Op::CloseOthers(keep) => self.close_others(keep),
            Op::JoinCgroup(tasks) => rustix::io::write(tasks, b"0").at(Call::Write).map(drop),
            Op::WriteFile(path, text) => write_file(path, text),
            Op::AwaitByte(fd) => await_byte(fd),
            Op::BecomeRoot => namespace::become_root(),
            Op::EnterNamespaces(fd, flags) => namespace::enter(fd, flags),
            Op::TakeRoot => self.take_root(),
            Op::Unshare(flags) => namespace::unshare(flags),
            Op::NewKeyring(name) => namespace::new_keyring(name),
            Op::NewSession => namespace::new_session(),
            Op::Hostname(name) => rustix::system::sethostname(name).at(Call::Sethostname),
            Op::Domainname(name) => rustix::system::setdomainname(name).at(Call::Setdomainname),
            Op::LoopbackUp => namespace::loopback_up(),
            Op::Rendezvous(stage) => self.meet(index, stage),
            Op::Hook(hook) => execute::run_hook(hook),
            Op::FindProgram(candidates) => {
                self.program = candidates.get(execute::find(candidates)?).copied();
                Ok(())
            }
            Op::Execute(arguments, environment) => {
                let path = self.program.ok_or(Failed { call: Call::Execve, errno: Errno::NOENT })?;
                self.tell(ReportKind::Executing, index, None);
                Err(execute::execute(path, arguments, environment))
            }
            _ => self.step_filesystem(op).unwrap_or_else(|| self.step_process(op)),
        }
    }

    fn step_filesystem(&mut self, op: &Op<'a>) -> Option<Outcome> {
        Some(match *op {
            Op::OpenRoot(path, propagation) => self.open_root(path, propagation),
            Op::Propagation(flags) => mount::set_propagation(flags),
            Op::AttachRoot(path) => self.root().and_then(|root| mount::attach_root(root, path)),
            Op::Detach(path) => mount::detach(path),
            Op::PivotRoot => self.root().and_then(mount::pivot).map(|()| self.place.set(Place::Own)),
            Op::ChangeRoot(Some(directory)) => mount::change_root(directory),
            Op::ChangeRoot(None) => self.root().and_then(mount::change_root),
            Op::MoveRoot => self.root().and_then(mount::move_root),
            Op::EnterRoot => self.root().and_then(|root| rustix::process::fchdir(root).at(Call::Fchdir)),
            Op::Mount(mount) => mount::mount(self, mount),
            Op::Device(node) => device::device(self, node),
            Op::Symlink(link, path) => device::symlink(self, link, path),
            Op::MakeDirectory(path) => {
                self.root().and_then(|root| target::make_directory(root, path)).map(drop)
            }
            Op::SetAttributes(path, set, recursive) => mount::set_attributes(self, path, set, recursive),
            Op::Mask(path) => mask::mask(self, path),
            Op::ReadOnly(path) => mask::read_only(self, path),
            Op::Sysctl(path, value) => mask::sysctl(self, path, value),
            _ => return None,
        })
    }

    fn step_process(&mut self, op: &Op<'a>) -> Outcome {
        match *op {
            Op::Console(terminal) => console::console(self, terminal),
            Op::Streams(fds) => console::streams(fds),
            Op::Stdin(fd) => console::stdin(fd),
            Op::WorkingDirectory(path) => rustix::process::chdir(path).at(Call::Chdir),
            Op::StreamsOwner(uid) => console::give_streams(uid),
            Op::Limit(resource, limit) => rustix::process::setrlimit(resource, limit).at(Call::Setrlimit),
            Op::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(mask));
                Ok(())
            }
            Op::Personality(domain) => raw::personality(domain).at(Call::Personality),
            Op::Scheduler(attr) => raw::sched_setattr(attr).at(Call::SchedSetattr),
            Op::IoPriority(value) => raw::ioprio_set(value).at(Call::IoprioSet),
            Op::Affinity(mask, must) => {
                let set = raw::sched_setaffinity(mask).at(Call::SchedSetaffinity);
                if must { set } else { Ok(()) }
            }
            Op::MemoryPolicy(mode, nodes) => raw::set_mempolicy(mode, nodes).at(Call::SetMempolicy),
            Op::Directory(path) => {
                self.entered = identity::enter_directory(path)?;
                if self.entered { Ok(()) } else { classic::leave(self) }
            }
            Op::Identity(who) => identity::assume(who, self.entered),
            Op::NoNewPrivileges => rustix::thread::set_no_new_privs(true).at(Call::Prctl),
            Op::Seccomp(filter, flags, listener) => seccomp(filter, flags, listener),
            Op::CloseOnExecFrom(first) => raw::close_range(first, u32::MAX, true).at(Call::CloseRange),
            Op::KeepOnExec(fd) => rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).at(Call::Fcntl),
            _ => Err(Failed { call: Call::None, errno: Errno::NOSYS }),
        }
    }

    /// What the child itself holds is closed with the rest, and not again afterwards.
    fn close_others(&mut self, keep: &[RawFd]) -> Outcome {
        use rustix::fd::IntoRawFd;
        let held =
            [self.own_root.take(), self.dev.take(), self.proc.take(), self.null.take(), self.empty.take()];
        for fd in held.into_iter().chain([self.kernel.take().flatten()]).flatten() {
            let _ = fd.into_raw_fd();
        }
        close_others(keep)
    }

    fn open_root(&mut self, path: &CStr, propagation: u64) -> Outcome {
        let change = MountChange { set: 0, clear: 0, propagation, recursive: true };
        self.own_root = Some(mount::copy_path(path, true, &[change])?);
        Ok(())
    }

    fn take_root(&mut self) -> Outcome {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.own_root = Some(rustix::fs::open(c"/", flags, Mode::empty()).at(Call::Open)?);
        Ok(())
    }

    fn meet(&mut self, index: u16, stage: Stage<'a>) -> Outcome {
        match stage {
            Stage::Hooks(wait) => {
                self.tell(ReportKind::Hooks, index, None);
                await_byte(wait)
            }
            Stage::Gate(wait, report) => {
                raw::end_on_signals().at(Call::Sigaction)?;
                // The gate may be a fifo that is never closed: a child whose parent is gone would wait for ever.
                self.try_tell(ReportKind::Ready, index, None).at(Call::Write)?;
                await_byte(wait)?;
                self.report = report.unwrap_or(self.report);
                Ok(())
            }
        }
    }
}

/// What ends a child that waits: for a gate that never reads as ended.
pub const ABANDON: u8 = b'x';

/// End of file means that the parent is gone or gave up: the child ends without a word.
fn await_byte(fd: BorrowedFd<'_>) -> Outcome {
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut byte)).at(Call::Read)? {
        1 if byte[0] != ABANDON => Ok(()),
        _ => Err(Failed { call: Call::Read, errno: Errno::PIPE }),
    }
}

fn write_file(path: &CStr, text: &[u8]) -> Outcome {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(Call::Open)?;
    rustix::io::write(&file, text).at(Call::Write).map(drop)
}

fn close_others(keep: &[RawFd]) -> Outcome {
    let mut first = 0;
    for fd in keep.iter().map(|fd| *fd as u32) {
        if fd > first {
            raw::close_range(first, fd - 1, false).at(Call::CloseRange)?;
        }
        first = fd + 1;
    }
    raw::close_range(first, u32::MAX, false).at(Call::CloseRange)
}

/// Longest message to a seccomp agent, in bytes: it is read into the stack of the child.
pub const MESSAGE: usize = 32 << 10;

#[inline(never)]
fn seccomp(filter: &[crate::SockFilter], flags: u32, listener: Option<ListenerOp<'_>>) -> Outcome {
    let Some(agent) = listener else { return raw::seccomp(filter, flags).at(Call::Seccomp).map(drop) };
    // Before the filter is in force: it may forbid what is needed to read.
    await_byte(agent.written)?;
    let mut text = [0; MESSAGE];
    let length = rustix::io::pread(agent.message, &mut text, 0).at(Call::Read)?;
    match raw::seccomp(filter, flags).at(Call::Seccomp)? {
        Some(made) => console::send(agent.socket, made.as_fd(), text.get(..length).unwrap_or_default()),
        None => Ok(()),
    }
}
