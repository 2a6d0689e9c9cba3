//! Running a program of the host for what it prints.

use crate::{
    Error, Result,
    child::{self, Pipe},
    plan::c_string,
    program::{array, pointers},
};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    fs::OFlags,
};
use tare_launch::{CloneRequest, Op, Program, ReportKind};
use tare_sys::{Errno, clock};
use tare_types::ErrorKind;

/// Longest output that is taken, in bytes.
const LIMIT: usize = 64 << 20;

/// How long such a program may take, in milliseconds: `ps` waits in the kernel where a process of the host hangs there.
const TIME_LIMIT: u64 = 20_000;

/// Runs the first program of `candidates` (absolute paths) that exists, as `name` with `arguments`, with an empty
/// environment, and gives what it printed on standard output.
///
/// # Errors
/// `NotFound` when there is no such program; `Internal` when it fails, with its exit code; `DeadlineExceeded` when it takes
/// more than 20 seconds, and it is killed then.
pub fn capture(candidates: &[&str], name: &str, arguments: &[String]) -> Result<String> {
    capture_within(candidates, name, arguments, TIME_LIMIT)
}

fn capture_within(candidates: &[&str], name: &str, arguments: &[String], limit: u64) -> Result<String> {
    const OPERATION: &str = "run a program of the host";
    let strings = |text: &str| c_string(name, text);
    let candidates = candidates.iter().map(|path| strings(path)).collect::<Result<Vec<CString>>>()?;
    let candidates: Vec<_> = candidates.iter().map(AsRef::as_ref).collect();
    let words = [name].into_iter().chain(arguments.iter().map(String::as_str));
    let words = words.map(strings).collect::<Result<Vec<CString>>>()?;
    let words = pointers(words.iter().map(AsRef::as_ref));
    let none = pointers([]);
    let (report, output) = (Pipe::new()?, Pipe::new()?);
    let null = tare_sys::file::open("/dev/null", OFlags::RDWR, 0)
        .map_err(|error| Error::system(OPERATION, error))?;
    let ops = [
        Op::Streams([null.as_fd(), output.write.as_fd(), null.as_fd()]),
        Op::CloseOnExecFrom(3),
        Op::FindProgram(&candidates),
        Op::Execute(array(&words), array(&none)),
    ];
    let program = Program { ops: &ops, report: report.write.as_fd(), root: None };
    let spawned = tare_launch::spawn(&CloneRequest { namespaces: 0, cgroup: None }, &program)
        .map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("clone3", name, errno)))?;
    drop(report.write);
    let mut failed = None;
    while let Some(report) =
        child::read_report(report.read.as_fd(), child::SETUP_LIMIT, "a program to start")?
    {
        if report.kind == ReportKind::Failed {
            failed = Some(child::failure(OPERATION, &ops, name, report));
        }
    }
    drop(output.write);
    let deadline = clock::monotonic_millis() + limit;
    let text = read_until(&output.read, deadline);
    let system = |error| Error::system(OPERATION, error);
    let pidfd = spawned.pidfd.as_fd();
    let left = deadline.saturating_sub(clock::monotonic_millis());
    let ended = tare_sys::process::has_ended(pidfd, left).map_err(system)?;
    if !ended {
        tare_sys::process::send_signal(pidfd, 9).map_err(system)?;
    }
    let status = tare_sys::process::reap_within(pidfd, child::KILL_LIMIT).map_err(system)?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    if !ended {
        let detail = format!("it did not end within {limit} ms and was killed");
        return Err(Error::new(ErrorKind::DeadlineExceeded, OPERATION, name, detail));
    }
    let text = text.map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("read", name, errno)))?;
    match status.exit_status() {
        Some(0) => Ok(String::from_utf8_lossy(&text).to_string()),
        code => Err(Error::new(
            ErrorKind::Internal,
            OPERATION,
            name,
            format!("exit status {}", code.unwrap_or(-1)),
        )),
    }
}

/// Reads to the end, but not for longer than until `deadline`, and not more than [`LIMIT`].
fn read_until(fd: &OwnedFd, deadline: u64) -> core::result::Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_sub(clock::monotonic_millis());
        let timeout = Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? == 0 {
            return Err(Errno::TIMEDOUT);
        }
        let count = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut buffer))?;
        if count == 0 {
            return Ok(text);
        }
        if text.len() + count > LIMIT {
            return Err(Errno::FBIG);
        }
        text.extend_from_slice(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_named() {
        let run = |script: &str, limit| {
            capture_within(&["/bin/sh"], "sh", &["-c".to_string(), script.to_string()], limit)
        };
        assert_eq!(run("echo text", 20_000).unwrap(), "text\n");
        for script in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
            let error = run(script, 50).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
            assert!(error.to_string().contains("did not end within 50 ms"), "{error}");
        }
    }
}
