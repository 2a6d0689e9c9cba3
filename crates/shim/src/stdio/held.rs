//! Streams of processes that another shim runs: this one makes fifos for them, writes their log and serves attach.
//!
//! A daemon that drives a foreign shim starts one of Tare's beside it for this alone: logs and attached clients then
//! survive the daemon, as they do behind Tare's own shim. The other shim gets nothing but paths.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tare_api::status::Status;
use tare_api::tare::shim::v1 as wire;
use tare_types::ErrorKind;
use tare_types::logline::Stream;
use tokio::task::JoinHandle;

use super::copy::{Sink, copy};
use super::hub::{Hub, Terminal};
use super::{files, open};
use crate::log::Log;

/// How long a release waits for output that another process may hold open.
const DRAIN: Duration = Duration::from_secs(2);

/// The streams that are held, by container and exec.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<BTreeMap<(String, String), Streams>>);

#[derive(Debug)]
struct Streams {
    hub: Arc<Hub>,
    copying: Vec<JoinHandle<()>>,
    paths: Vec<PathBuf>,
}

impl Held {
    fn map(&self) -> MutexGuard<'_, BTreeMap<(String, String), Streams>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is held whose process may still write.
    pub(crate) fn is_idle(&self) -> bool {
        self.map().values().all(|streams| streams.hub.is_ended())
    }

    /// The hub of a process, if its streams are held here.
    pub(crate) fn hub(&self, id: &str, exec: &str) -> Option<Arc<Hub>> {
        self.map().get(&(id.to_owned(), exec.to_owned())).map(|streams| Arc::clone(&streams.hub))
    }

    /// Makes the fifos and begins to read them. `told` hears of trouble with the log.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidArgument` for a directory that is not absolute; else the failing step with its path.
    pub(crate) fn hold(
        &self,
        request: &wire::HoldStreamsRequest,
        told: impl Fn(String) + Send + 'static,
    ) -> Result<wire::HoldStreamsResponse, Status> {
        let key = (request.id.clone(), request.exec_id.clone());
        if self.map().contains_key(&key) {
            let message = format!("streams of {:?} {:?}: already held", request.id, request.exec_id);
            return Err(Status::new(ErrorKind::AlreadyExists, message));
        }
        let directory = Path::new(&request.directory);
        check(directory, &request.exec_id)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| failed("make directory", directory, &error))?;
        let name = |stream: &str| {
            let process = if request.exec_id.is_empty() { "init" } else { &request.exec_id };
            directory.join(format!("{process}-{stream}"))
        };
        let mut paths = Paths { all: Vec::new(), keep: request.adopt };
        let place = if request.adopt { found } else { fifo };
        let stdin = match request.stdin_open {
            true => Some(place(&mut paths, name("stdin"))?),
            false => None,
        };
        let stdout = place(&mut paths, name("stdout"))?;
        let stderr = match request.terminal {
            true => None,
            false => Some(place(&mut paths, name("stderr"))?),
        };
        let mut log = request.log.as_ref().map(Log::open).transpose()?.flatten();
        if let Some(log) = &mut log {
            log.tell(told);
        }
        // The reader is kept by the hub: what a client sent is not lost when it closes before the process reads.
        // Where the process has seen the end of its stdin, there is none any more.
        let read = |path: &String| !request.adopt || open(path, OFlags::WRONLY | OFlags::NONBLOCK).is_ok();
        let input = match stdin.as_ref().filter(|path| read(path)) {
            Some(path) => {
                let reader = open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
                let writer = open(path, OFlags::WRONLY | OFlags::NONBLOCK)?;
                Some((files::source(writer)?, reader))
            }
            None => None,
        };
        let terminal = Terminal { is: request.terminal, stdin: false };
        let hub = Arc::new(Hub::new(log, input, terminal, request.stdin_once && !request.terminal));
        let mut copying = Vec::new();
        for (path, stream) in [(Some(&stdout), Stream::Stdout), (stderr.as_ref(), Stream::Stderr)] {
            let Some(path) = path else { continue };
            // Not ready before the other shim has opened it: a fifo is at its end only when a writer has been there.
            let source = files::source(open(path, OFlags::RDONLY | OFlags::NONBLOCK)?)?;
            copying.push(tokio::spawn(copy(
                Arc::new(source),
                Sink::Hub(Arc::clone(&hub), stream),
                Arc::default(),
            )));
        }
        let streams = Streams { hub, copying, paths: std::mem::take(&mut paths.all) };
        self.map().insert(key, streams);
        let text = |path: Option<String>| path.unwrap_or_default();
        Ok(wire::HoldStreamsResponse { stdin: text(stdin), stdout, stderr: text(stderr) })
    }

    /// Waits until all has been read and forgets the streams.
    pub(crate) async fn release(&self, id: &str, exec: &str) {
        let keys: Vec<_> = {
            let map = self.map();
            map.keys().filter(|key| key.0 == id && (exec.is_empty() || key.1 == exec)).cloned().collect()
        };
        let deadline = tokio::time::Instant::now() + DRAIN;
        for key in keys {
            let Some(mut streams) = self.map().remove(&key) else { continue };
            for copying in streams.copying.drain(..) {
                let abort = copying.abort_handle();
                if tokio::time::timeout_at(deadline, copying).await.is_err() {
                    abort.abort();
                }
            }
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.copying.iter().for_each(JoinHandle::abort);
        // What stays goes with the bundle.
        self.paths.iter().for_each(|path| std::fs::remove_file(path).unwrap_or_default());
    }
}

/// Fifos that are removed again when not all of them can be made.
struct Paths {
    all: Vec<PathBuf>,
    /// They were there before.
    keep: bool,
}

impl Drop for Paths {
    fn drop(&mut self) {
        if !self.keep {
            self.all.iter().for_each(|path| std::fs::remove_file(path).unwrap_or_default());
        }
    }
}

fn check(directory: &Path, exec: &str) -> Result<(), Status> {
    let is_name = exec.is_empty() || tare_types::ExecId::new(exec).is_ok();
    if directory.is_absolute() && is_name {
        return Ok(());
    }
    let message = format!("streams in {} of {exec:?}: not an absolute path and an id", directory.display());
    Err(Status::new(ErrorKind::InvalidArgument, message))
}

fn fifo(paths: &mut Paths, path: PathBuf) -> Result<String, Status> {
    // Left by a run whose daemon died before it was told of these streams.
    std::fs::remove_file(&path).unwrap_or_default();
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(|error| failed("make fifo", &path, &error))?;
    let text = path.to_string_lossy().into_owned();
    paths.all.push(path);
    Ok(text)
}

/// A fifo that is there: another process has it open, and what it wrote waits in it.
fn found(paths: &mut Paths, path: PathBuf) -> Result<String, Status> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    if !files::is(&open(&path.to_string_lossy(), flags)?, FileType::Fifo) {
        return Err(failed("read on from", &path, &"it is no fifo"));
    }
    let text = path.to_string_lossy().into_owned();
    paths.all.push(path);
    Ok(text)
}

fn failed(step: &str, path: &Path, error: &dyn std::fmt::Display) -> Status {
    Status::new(ErrorKind::Internal, format!("{step} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn request(directory: &Path) -> wire::HoldStreamsRequest {
        let directory = directory.to_string_lossy().into_owned();
        wire::HoldStreamsRequest { id: "a".into(), directory, stdin_open: true, ..Default::default() }
    }

    #[tokio::test]
    async fn what_another_shim_writes_reaches_clients_and_what_they_send_reaches_it() {
        let directory = tempfile::tempdir().unwrap();
        let held = Held::default();
        let names = held.hold(&request(directory.path()), drop).unwrap();
        assert_eq!(held.hold(&request(directory.path()), drop).unwrap_err().kind, ErrorKind::AlreadyExists);
        let hub = held.hub("a", "").unwrap();
        assert!(!held.is_idle());
        let mut client = hub.attach(true, true, true);
        // The client is done before the process exists.
        hub.write_stdin(b"in").await;
        hub.close_stdin();
        let (stdin, stdout, stderr) = (names.stdin, names.stdout, names.stderr);
        let other = tokio::task::spawn_blocking(move || {
            let write = |path: &str| std::fs::File::options().write(true).open(path).unwrap();
            let (mut out, error) = (write(&stdout), write(&stderr));
            let mut text = String::new();
            // As Go's shim opens it: all clients have closed it before.
            let stdin = open(&stdin, OFlags::RDONLY | OFlags::NONBLOCK).unwrap();
            std::fs::File::from(stdin).read_to_string(&mut text).unwrap();
            out.write_all(text.to_uppercase().as_bytes()).unwrap();
            drop((out, error));
        });
        let (stream, bytes) = client.next().await.unwrap();
        assert_eq!((stream, bytes.as_slice()), (Stream::Stdout, &b"IN"[..]));
        assert!(client.next().await.is_none());
        other.await.unwrap();
        assert!(held.is_idle());
        held.release("a", "").await;
        assert!(held.hub("a", "").is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn paths_and_ids_are_checked() {
        let held = Held::default();
        for bad in [
            wire::HoldStreamsRequest { directory: "rel".into(), ..Default::default() },
            wire::HoldStreamsRequest {
                directory: "/tmp".into(),
                exec_id: "../a".into(),
                ..Default::default()
            },
        ] {
            assert_eq!(held.hold(&bad, drop).unwrap_err().kind, ErrorKind::InvalidArgument);
        }
    }
}
