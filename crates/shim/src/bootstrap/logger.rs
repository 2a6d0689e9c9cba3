//! Log programs (`binary://`): the shim's own binary stands between, to give the program its descriptors.
//!
//! containerd's contract: descriptor 3 is the container's standard output, 4 its standard error, 5 a pipe that the
//! program closes (or writes to) when it is ready. A fresh process has these numbers free, so standard input,
//! output and error become 3, 4 and 5 here and no number is ever forced in the shim itself.

use rustix::io::FdFlags;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Becomes the log program; returns only on failure.
///
/// # Errors
/// A sentence that nobody reads but strace: the ready pipe's end tells the shim.
pub(crate) fn exec(command: &[OsString]) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no log program given")?;
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut held = Vec::new();
    for (number, stream) in [(3, streams.0.as_fd()), (4, streams.1.as_fd()), (5, streams.2.as_fd())] {
        let fd = rustix::io::fcntl_dupfd_cloexec(stream, number).map_err(|error| format!("dup: {error}"))?;
        if fd.as_raw_fd() != number {
            return Err(format!("descriptor {number} is taken"));
        }
        rustix::io::fcntl_setfd(&fd, FdFlags::empty()).map_err(|error| format!("fcntl: {error}"))?;
        held.push(fd);
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Err(format!("execute {}: {}", program.display(), command.exec()))
}
