//! The parent's end of a child: its pipes, its reports, and what a report means in words.

use crate::{Error, Result};
use alloc::{
    format,
    string::{String, ToString},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    pipe::PipeFlags,
};
use tare_launch::{Call, MountSource, Op, Report, ReportKind};
use tare_sys::{Context, Errno};
use tare_types::ErrorKind;

/// A close-on-exec pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .on("pipe2", || "")
            .map_err(|error| Error::system("make a pipe", error))?;
        Ok(Self { read, write })
    }
}

/// How a child's set-up ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The program runs, or has run.
    Executed,
    Failed(Report),
    /// Without a word: something killed it.
    Vanished,
}

/// Waits until the child executes its program or ends, which both close its end of the pipe, and then reads what it
/// said meanwhile: two calls for all.
///
/// `what` names what is waited for, at most `limit` milliseconds.
pub(crate) fn outcome(fd: BorrowedFd<'_>, limit: u64, what: &str) -> Result<Outcome> {
    let closed = tare_sys::process::is_closed(fd, limit);
    if !closed.map_err(|error| Error::system("wait for the child", error))? {
        return Err(too_late(limit, what));
    }
    let mut outcome = Outcome::Vanished;
    let mut bytes = [0; 8 * Report::SIZE];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut bytes)).map_err(unreadable)?;
    // Of a gate it is the other end too: what was written there and nobody has read comes first.
    let (records, _) = bytes[length % Report::SIZE..length].as_chunks();
    for record in records {
        let report = Report::from_bytes(*record).ok_or_else(|| unreadable(Errno::BADMSG))?;
        outcome = match report.kind {
            ReportKind::Failed => Outcome::Failed(report),
            _ => Outcome::Executed,
        };
    }
    Ok(outcome)
}

fn too_late(limit: u64, what: &str) -> Error {
    let text = format!("waited {limit} ms for {what}");
    Error::new(ErrorKind::DeadlineExceeded, "wait for the child", text, "")
}

fn unreadable(errno: Errno) -> Error {
    Error::system("wait for the first process", tare_sys::Error::new("read", "report", errno))
}

/// How long a child may take from one report to the next, in milliseconds: mounts of slow servers included.
pub(crate) const SETUP_LIMIT: u64 = 120_000;

/// How long a killed child may take to end, in milliseconds.
pub(crate) const KILL_LIMIT: u64 = 10_000;

/// How long a process that ends may still be in its cgroup, in milliseconds: it leaves it after its descriptors.
pub(crate) const LEAVE_LIMIT: u64 = 2_000;

/// Reads the next report; `None` when the child has closed its end.
///
/// `what` names what is waited for, at most `limit` milliseconds.
pub(crate) fn read_report(fd: BorrowedFd<'_>, limit: u64, what: &str) -> Result<Option<Report>> {
    if !tare_sys::process::has_ended(fd, limit).map_err(|error| Error::system("wait for the child", error))? {
        return Err(too_late(limit, what));
    }
    let mut bytes = [0; Report::SIZE];
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut bytes)).map_err(unreadable)? {
        0 => Ok(None),
        Report::SIZE => Report::from_bytes(bytes).map(Some).ok_or_else(|| unreadable(Errno::BADMSG)),
        _ => Err(unreadable(Errno::BADMSG)),
    }
}

/// Lets a waiting child go on.
pub(crate) fn release(fd: impl AsFd) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, b"0"))
        .on("write", || "gate")
        .map(drop)
        .map_err(|error| Error::system("release the first process", error))
}

/// What runc says before the reason of a failure in the child.
const INIT: &str = "error during container init: ";

/// The message for a failed operation. `operation` is what the caller was about.
pub(crate) fn failure(operation: &'static str, ops: &[Op<'_>], name: &str, report: Report) -> Error {
    let errno = Errno::from_raw_os_error(report.code.clamp(1, 4095));
    let words = tare_sys::errno::describe(errno);
    let op = ops.get(usize::from(report.op));
    match op {
        Some(Op::FindProgram(_)) => return not_found(operation, name, errno),
        Some(Op::Execute(..)) => {
            return Error::new(kind(errno), operation, format!("exec {name}"), words);
        }
        Some(Op::Hook(hook)) => {
            let object = format!("error running hook {:?}", hook.path.to_string_lossy());
            return Error::new(ErrorKind::Internal, operation, object, words);
        }
        Some(Op::Mount(mount)) if mount.strict && matches!(errno, Errno::LOOP | Errno::NOTDIR) => {
            let destination = mount.destination.to_string_lossy();
            let text = format!(
                "filesystem {:?} must be mounted on ordinary directory",
                destination.trim_start_matches('/')
            );
            let object = format!("{INIT}{}", describe(&Op::Mount(mount)));
            return Error::new(ErrorKind::InvalidArgument, operation, object, text);
        }
        _ => {}
    }
    let object = op.map(|op| format!("{INIT}{}", describe(op))).unwrap_or_default();
    Error::new(kind(errno), operation, object, format!("{}: {words}", report.call.name()))
}

/// Whether a report is about the end of a hook.
pub(crate) fn is_of_hook(report: &Report) -> bool {
    matches!(report.call, Call::HookExit | Call::HookTimeout)
}

/// The message for a hook that the child ran; a report of one carries its place among its kind.
pub(crate) fn hook_failure(operation: &'static str, kind: &str, report: &Report) -> Error {
    let object = format!("error running {kind} hook #{}", report.op);
    Error::new(ErrorKind::Internal, operation, object, hook_reason(report))
}

/// The end of a hook in Go's words.
pub(crate) fn hook_reason(report: &Report) -> String {
    match (report.call, report.code) {
        (Call::HookExit, code) if code == 256 + 31 => String::from("signal: bad system call"),
        (Call::HookExit, code) if code == 256 + 9 => String::from("signal: killed"),
        (Call::HookExit, code @ 257..) => format!("signal {}", code - 256),
        (Call::HookExit, code) => format!("exit status {code}"),
        (Call::HookTimeout, _) => String::from("it did not end within its timeout"),
        (call, code) => {
            let errno = Errno::from_raw_os_error(code.clamp(1, 4095));
            format!("{}: {}", call.name(), tare_sys::errno::describe(errno))
        }
    }
}

/// runc's texts, which are those of Go's exec.LookPath; dockerd derives exit codes 127 and 126 from them.
fn not_found(operation: &'static str, name: &str, errno: Errno) -> Error {
    let object = format!("exec: {name:?}");
    if !name.contains('/') {
        return Error::new(ErrorKind::NotFound, operation, object, "executable file not found in $PATH");
    }
    match errno {
        Errno::ACCESS | Errno::ISDIR => {
            Error::new(ErrorKind::PermissionDenied, operation, object, "permission denied")
        }
        errno => {
            let words = tare_sys::errno::describe(errno);
            Error::new(kind(errno), operation, object, format!("stat {name}: {words}"))
        }
    }
}

fn describe(op: &Op<'_>) -> String {
    match op {
        Op::CloseOthers(_) | Op::CloseOnExecFrom(_) | Op::KeepOnExec(_) => "close descriptors".to_string(),
        Op::JoinCgroup(_) => "join the cgroup".to_string(),
        Op::WriteFile(path, _) if *path == crate::program::LABEL => {
            "apply the AppArmor profile (is it loaded, and AppArmor enabled on this host?) or SELinux label"
                .to_string()
        }
        Op::WriteFile(path, _) => format!("write {}", path.to_string_lossy()),
        Op::AwaitByte(_) | Op::Rendezvous(_) => "wait for the runtime".to_string(),
        Op::BecomeRoot => "become root of the user namespace".to_string(),
        Op::EnterNamespaces(_, flags) => format!("join namespaces {flags:#x}"),
        Op::TakeRoot => "open the container's root".to_string(),
        Op::Unshare(flags) => format!("make namespaces {flags:#x}"),
        Op::NewKeyring(_) => "make a session keyring".to_string(),
        Op::NewSession => "make a session".to_string(),
        Op::OpenRoot(path, _) => format!("open the root file system {:?}", path.to_string_lossy()),
        Op::Propagation(_) => "set the propagation of the root".to_string(),
        Op::AttachRoot(_) => "attach the root file system".to_string(),
        Op::Detach(path) => format!("detach {}", path.to_string_lossy()),
        Op::PivotRoot | Op::MoveRoot | Op::ChangeRoot(_) => "change the root".to_string(),
        Op::Mount(mount) => {
            let destination = mount.destination.to_string_lossy();
            match mount.source {
                MountSource::Cgroups(_) => format!("error mounting \"cgroup\" to rootfs at {destination:?}"),
                MountSource::Path(source) => {
                    let source = source.path.to_string_lossy();
                    format!("error mounting {source:?} to rootfs at {destination:?}")
                }
                MountSource::Tree(_) => format!("error mounting to rootfs at {destination:?}"),
                MountSource::Filesystem(kind, ..) => {
                    format!("error mounting {:?} to rootfs at {destination:?}", kind.to_string_lossy())
                }
            }
        }
        Op::Device(device) => format!("make device {:?}", device.path.to_string_lossy()),
        Op::Symlink(_, path) => format!("make link {:?}", path.to_string_lossy()),
        Op::EnterRoot => "enter the root file system".to_string(),
        Op::MakeDirectory(path) => format!("make directory {:?}", path.to_string_lossy()),
        Op::SetAttributes(path, ..) => format!("remount {:?}", path.to_string_lossy()),
        Op::Mask(path) => format!("mask path {:?}", path.to_string_lossy()),
        Op::ReadOnly(path) => format!("make {:?} read-only", path.to_string_lossy()),
        Op::Sysctl(path, _) => format!("write sysctl /proc/{}", path.to_string_lossy()),
        Op::Hostname(_) => "set the host name".to_string(),
        Op::Domainname(_) => "set the domain name".to_string(),
        Op::LoopbackUp => "bring the loopback interface up".to_string(),
        Op::Console(_) => "open the console".to_string(),
        Op::Stdin(_) | Op::Streams(_) | Op::StreamsOwner(_) => "set up the standard streams".to_string(),
        Op::Limit(resource, _) => format!("error setting rlimit {resource:?}"),
        Op::Umask(_) => "set the umask".to_string(),
        Op::Personality(_) => "set the personality".to_string(),
        Op::Scheduler(_) => "set the scheduler".to_string(),
        Op::Affinity(..) => "set the CPU affinity".to_string(),
        Op::MemoryPolicy(..) => "set the memory policy".to_string(),
        Op::Directory(path) => {
            format!("chdir to cwd ({:?}) set in config.json failed", path.to_string_lossy())
        }
        Op::IoPriority(_) => "set the I/O priority".to_string(),
        Op::WorkingDirectory(path) => format!("chdir to {:?}", path.to_string_lossy()),
        Op::Identity(who) => {
            format!("become user {}:{} in cwd ({:?})", who.uid, who.gid, who.cwd.to_string_lossy())
        }
        Op::NoNewPrivileges => "set no_new_privs".to_string(),
        Op::Seccomp(..) => "error loading the seccomp filter".to_string(),
        Op::Hook(_) | Op::FindProgram(_) | Op::Execute(..) => String::new(),
    }
}

fn kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::NOTDIR => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::PermissionDenied,
        Errno::INVAL | Errno::LOOP | Errno::NOEXEC | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
        Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_callers_search_for() {
        let candidates: [&core::ffi::CStr; 0] = [];
        let ops = [Op::FindProgram(&candidates)];
        let text = |name: &str, code| {
            let report = Report { kind: ReportKind::Failed, op: 0, call: Call::Lookup, code };
            failure("unable to start container process", &ops, name, report).to_string()
        };
        let prefix = "unable to start container process: exec:";
        assert_eq!(text("foo", 2), format!("{prefix} \"foo\": executable file not found in $PATH"));
        assert_eq!(text("/foo", 2), format!("{prefix} \"/foo\": stat /foo: no such file or directory"));
        assert_eq!(text("/foo", 13), format!("{prefix} \"/foo\": permission denied"));
    }
}
