//! Hooks of the runtime's side: programs of the host with the container's state on their standard input.

use crate::{
    Error, Result,
    child::{self, Pipe},
    plan::c_string,
    program::{array, pointers},
};
use alloc::{ffi::CString, format, string::ToString, vec::Vec};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::MemfdFlags,
};
use tare_launch::{CloneRequest, HookOp, Op, Pointer, Program};
use tare_types::{
    ErrorKind,
    spec::{Hook, State},
};

/// A hook's strings as the kernel wants them.
#[derive(Debug)]
pub(crate) struct HookStrings {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Milliseconds.
    timeout: u32,
}

impl HookStrings {
    pub(crate) fn new(hook: &Hook) -> Result<Self> {
        let strings = |texts: &[alloc::string::String]| {
            texts.iter().map(|text| c_string("hooks", text)).collect::<Result<Vec<_>>>()
        };
        let path = c_string("hooks", &hook.path)?;
        let mut arguments = strings(&hook.args)?;
        if arguments.is_empty() {
            arguments.push(path.clone());
        }
        Ok(Self { path, arguments, environment: strings(&hook.env)?, timeout: milliseconds(hook) })
    }

    pub(crate) fn all(hooks: &[Hook]) -> Result<Vec<Self>> {
        hooks.iter().map(Self::new).collect()
    }

    pub(crate) fn pointers(&self) -> (Vec<Pointer<'_>>, Vec<Pointer<'_>>) {
        (
            pointers(self.arguments.iter().map(AsRef::as_ref)),
            pointers(self.environment.iter().map(AsRef::as_ref)),
        )
    }

    /// The same; a hook without an environment of its own gets this one.
    pub(crate) fn pointers_or<'a>(&'a self, default: &[Pointer<'a>]) -> (Vec<Pointer<'a>>, Vec<Pointer<'a>>) {
        let (arguments, own) = self.pointers();
        (arguments, if self.environment.is_empty() { default.to_vec() } else { own })
    }

    /// The operation for a hook that the child runs.
    pub(crate) fn op<'a>(
        &'a self,
        index: usize,
        pointers: &'a (Vec<Pointer<'a>>, Vec<Pointer<'a>>),
        stdin: &'a OwnedFd,
    ) -> HookOp<'a> {
        HookOp {
            path: &self.path,
            arguments: array(&pointers.0),
            environment: array(&pointers.1),
            stdin: stdin.as_fd(),
            timeout: self.timeout,
            index: index as u16,
        }
    }
}

/// How long hooks without a timeout of their own may take, in milliseconds.
const DEFAULT_LIMIT: u32 = 600_000;

/// The longest that hooks may take together, in milliseconds.
pub(crate) fn limit(hooks: &[Hook]) -> u64 {
    hooks.iter().map(|hook| u64::from(milliseconds(hook))).sum()
}

fn milliseconds(hook: &Hook) -> u32 {
    hook.timeout.map_or(DEFAULT_LIMIT, |seconds| seconds.clamp(1, 1_000_000) as u32 * 1000)
}

/// A memory file for a state that is written later.
pub(crate) fn state_file() -> Result<OwnedFd> {
    rustix::fs::memfd_create(c"state", MemfdFlags::CLOEXEC)
        .map_err(|errno| Error::system("prepare hooks", tare_sys::Error::new("memfd_create", "", errno)))
}

/// Writes the state.
pub(crate) fn write_state(file: &OwnedFd, state: &State) -> Result<()> {
    let text = serde_json::to_vec(state)
        .map_err(|error| Error::new(ErrorKind::Internal, "prepare hooks", "", error.to_string()))?;
    tare_sys::file::write_fd(file, &text)
        .map_err(|errno| Error::system("prepare hooks", tare_sys::Error::new("write", "state", errno)))
}

/// Runs hooks one after the other; the first failure ends it.
pub(crate) fn run(name: &'static str, hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let stdin = state_file()?;
    write_state(&stdin, state)?;
    for (index, hook) in hooks.iter().enumerate() {
        run_one(&HookStrings::new(hook)?, &stdin, &state.bundle).map_err(|reason| {
            Error::new(ErrorKind::Internal, "", format!("error running {name} hook #{index}"), reason)
        })?;
    }
    Ok(())
}

fn run_one(
    hook: &HookStrings,
    stdin: &OwnedFd,
    bundle: &str,
) -> core::result::Result<(), alloc::string::String> {
    let report = Pipe::new().map_err(|error| error.to_string())?;
    let bundle = CString::new(bundle).map_err(|_| "the bundle's path holds a NUL byte".to_string())?;
    let candidates = [hook.path.as_c_str()];
    let (arguments, environment) = hook.pointers();
    let ops = [
        Op::Stdin(stdin.as_fd()),
        Op::WorkingDirectory(&bundle),
        Op::CloseOnExecFrom(3),
        Op::FindProgram(&candidates),
        Op::Execute(array(&arguments), array(&environment)),
    ];
    let program = Program { ops: &ops, report: report.write.as_fd(), root: None };
    let request = CloneRequest { namespaces: 0, cgroup: None };
    let spawned = tare_launch::spawn(&request, &program)
        .map_err(|errno| format!("clone3: {}", tare_sys::errno::describe(errno)))?;
    drop(report.write);
    let mut failure = None;
    let next = || child::read_report(report.read.as_fd(), child::SETUP_LIMIT, "the hook's program to start");
    while let Some(report) = next().map_err(|error| error.to_string())? {
        if report.kind == tare_launch::ReportKind::Failed {
            failure = Some(child::failure("", &ops, &hook.path.to_string_lossy(), report).to_string());
        }
    }
    let pidfd = spawned.pidfd.as_fd();
    let limit = u64::from(hook.timeout);
    let ended = tare_sys::process::has_ended(pidfd, limit).map_err(|error| error.to_string())?;
    if !ended {
        tare_sys::process::send_signal(pidfd, 9).map_err(|error| error.to_string())?;
    }
    let status =
        tare_sys::process::reap_within(pidfd, child::KILL_LIMIT).map_err(|error| error.to_string())?;
    match (failure, ended, status.exit_status()) {
        (Some(failure), ..) => Err(failure),
        (None, false, _) => Err(format!("{:?} did not end within {} ms", hook.path, hook.timeout)),
        (None, true, Some(0)) => Ok(()),
        (None, true, Some(code)) => Err(format!("exit status {code}")),
        (None, true, None) => Err(format!("killed by signal {}", status.terminating_signal().unwrap_or(0))),
    }
}
