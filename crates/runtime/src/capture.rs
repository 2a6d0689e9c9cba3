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
use rustix::{fd::AsFd, fs::OFlags};
use tare_launch::{CloneRequest, Op, Program, ReportKind};
use tare_types::ErrorKind;

/// Longest output that is taken, in bytes.
const LIMIT: usize = 64 << 20;

/// Runs the first program of `candidates` (absolute paths) that exists, as `name` with `arguments`, with an empty
/// environment, and gives what it printed on standard output.
///
/// # Errors
/// `NotFound` when there is no such program; `Internal` when it fails, with its exit code.
pub fn capture(candidates: &[&str], name: &str, arguments: &[String]) -> Result<String> {
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
    let text = tare_sys::file::read_fd(&output.read, LIMIT);
    let status =
        tare_sys::process::reap(spawned.pidfd.as_fd()).map_err(|error| Error::system(OPERATION, error))?;
    if let Some(failed) = failed {
        return Err(failed);
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
