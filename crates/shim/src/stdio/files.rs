//! Fifos, files and `/dev/null` as streams. Opening never waits for the other side; copying to a fifo does, for a while.

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tare_api::status::Status;
use tare_types::ErrorKind;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::copy::{Sink, Source};
use super::open;

/// `/dev/null`, checked to be the device: the host's, but checking is cheap.
pub(super) fn null() -> Result<OwnedFd, Status> {
    open("/dev/null", OFlags::RDWR)
}

/// A descriptor as a source or sink of copying; it is made non-blocking.
pub(super) fn source(fd: OwnedFd) -> Result<Source, Status> {
    let failed =
        |error: &dyn std::fmt::Display| Status::new(ErrorKind::Internal, format!("watch stream: {error}"));
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(|error| failed(&error))?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|error| failed(&error))?;
    #[expect(
        deprecated,
        reason = "the new form is unsafe; an OwnedFd keeps its descriptor until it is dropped"
    )]
    AsyncFd::new(fd).map_err(|error| failed(&error))
}

/// Opens a fifo for reading, and a writing end of the shim's own that keeps it from being at its end.
pub(super) fn open_input(path: &str) -> Result<(Source, OwnedFd), Status> {
    let path = path.strip_prefix("fifo://").unwrap_or(path);
    let reader = open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if !is(&reader, FileType::Fifo) {
        let message = format!("stdin {path} must be a fifo");
        return Err(Status::new(ErrorKind::InvalidArgument, message));
    }
    // There is a reader, so this does not wait.
    let holder = open(path, OFlags::WRONLY | OFlags::NONBLOCK)?;
    Ok((source(reader)?, holder))
}

/// How long a client may take to open its end of a fifo.
const READER: Duration = Duration::from_secs(4);

/// Opens what output is copied to.
pub(super) fn open_output(name: &str) -> Result<Sink, Status> {
    if let Some(path) = name.strip_prefix("file://") {
        return open_file(path);
    }
    let path = name.strip_prefix("fifo://").unwrap_or(name);
    if !path.starts_with('/') {
        let message =
            format!("stream {name:?}: neither a path nor a known scheme (fifo, file, binary, tare)");
        return Err(Status::new(ErrorKind::InvalidArgument, message));
    }
    let place = open(path, OFlags::PATH)?;
    if is(&place, FileType::Fifo) { Ok(Sink::Fifo(place)) } else { open_file(path) }
}

/// Waits until a client has opened a fifo for reading, or is about to: the kernel counts it from then on, and what is
/// written stays for it whatever becomes of the other end. Go's clients open their end on a thread of their own, which
/// may come later than their request and than the end of a short process; Go's shim waits for it without a limit.
///
/// # Errors
/// The fifo cannot be opened.
pub(super) async fn meet(place: &OwnedFd) -> Result<Sink, Status> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let deadline = Instant::now() + READER;
    let mut pause = Duration::from_millis(1);
    let reader = loop {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(writer) => break Some(writer),
            Err(Errno::NXIO) if Instant::now() < deadline => {}
            // It gets nobody's output until it comes.
            Err(_) => break None,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    // Reading and writing: the fifo keeps a reader when the client goes (no SIGPIPE, no EPIPE). Opened while `reader` is:
    // a client that has seen one writer go takes that for the end.
    let fifo = source(open(&path, OFlags::RDWR | OFlags::NONBLOCK)?)?;
    Ok(if reader.is_some() { Sink::Pipe(fifo) } else { Sink::Unread(fifo) })
}

fn open_file(path: &str) -> Result<Sink, Status> {
    if !path.starts_with('/') {
        let message = format!("log file {path:?}: the path must be absolute");
        return Err(Status::new(ErrorKind::InvalidArgument, message));
    }
    if let Some(dir) = Path::new(path).parent() {
        std::fs::create_dir_all(dir).map_err(|error| {
            Status::new(ErrorKind::Internal, format!("make directory {}: {error}", dir.display()))
        })?;
    }
    open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND).map(|fd| Sink::File(File::from(fd)))
}

pub(super) fn is(fd: &OwnedFd, kind: FileType) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}
