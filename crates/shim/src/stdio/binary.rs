//! `binary://PATH?key=value`: a program of the host takes the container's output.
//!
//! The contract is containerd's (runtime v2 logging): the program gets stdout, stderr and a ready pipe as
//! descriptors 3, 4 and 5, CONTAINER_ID and CONTAINER_NAMESPACE in its environment, and the query as arguments.
//! The shim's own binary stands between (`logger`), see there.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;
use tare_api::status::Status;
use tare_types::ErrorKind;

use super::{Owner, files, pipe};

/// How long a log program may take until it is ready, as in containerd.
const READY: Duration = Duration::from_secs(10);

/// A log program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogProgram {
    path: String,
    args: Vec<String>,
}

/// Reads a `binary://` name; `None` for a name of another kind.
///
/// # Errors
/// `InvalidArgument` for a path that is not absolute or a broken query.
pub(super) fn parse(name: &str) -> Result<Option<LogProgram>, Status> {
    let Some(rest) = name.strip_prefix("binary://") else { return Ok(None) };
    let invalid = || Status::new(ErrorKind::InvalidArgument, format!("log program {name:?} cannot be used"));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path, false).ok_or_else(invalid)?;
    if !path.starts_with('/') {
        return Err(invalid());
    }
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        args.push(decode(key, true).ok_or_else(invalid)?);
        if !value.is_empty() {
            args.push(decode(value, true).ok_or_else(invalid)?);
        }
    }
    Ok(Some(LogProgram { path, args }))
}

fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Starts the program and waits until it is ready; gives back the writing ends for stdout and stderr.
///
/// # Errors
/// `NotFound` for a missing program, `DeadlineExceeded` when it is not ready in time.
pub(super) async fn spawn(program: &LogProgram, owner: Owner<'_>) -> Result<(OwnedFd, OwnedFd), Status> {
    if !std::path::Path::new(&program.path).is_file() {
        return Err(Status::new(ErrorKind::NotFound, format!("log program {} does not exist", program.path)));
    }
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(ErrorKind::Internal, format!("start log program {}: {error}", program.path))
    };
    let (out_reader, out_writer) = pipe()?;
    let (err_reader, err_writer) = pipe()?;
    let (ready_reader, ready_writer) = pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["logger", "--", &program.path]).args(&program.args);
    command.env("CONTAINER_ID", owner.id).env("CONTAINER_NAMESPACE", owner.namespace);
    command.stdin(Stdio::from(out_reader)).stdout(Stdio::from(err_reader)).stderr(Stdio::from(ready_writer));
    // Reaped with all other children of the shim.
    command.spawn().map(drop).map_err(|error| failed(&error))?;
    drop(command);
    let ready = files::source(ready_reader)?;
    let wait = async {
        let mut guard = ready.readable().await?;
        // One byte or the end of file: both mean ready.
        let mut byte = [0; 1];
        match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut byte)?)) {
            Ok(result) => result.map(drop),
            Err(_would_block) => Ok(()),
        }
    };
    match tokio::time::timeout(READY, wait).await {
        Ok(result) => result.map_err(|error: std::io::Error| failed(&error))?,
        Err(_) => {
            let message = format!("log program {} was not ready within {READY:?}", program.path);
            return Err(Status::new(ErrorKind::DeadlineExceeded, message));
        }
    }
    Ok((out_writer, err_writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_becomes_arguments() {
        let program = parse("binary:///usr/bin/log?id=a%20b&flag&x=1+2").unwrap().unwrap();
        assert_eq!(program.path, "/usr/bin/log");
        assert_eq!(program.args, ["id", "a b", "flag", "x", "1 2"]);
        assert!(parse("/run/fifo").unwrap().is_none());
        for bad in ["binary://rel", "binary:///a?x=%zz", "binary:///a%00", "binary://"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
