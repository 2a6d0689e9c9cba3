//! Network namespaces made ahead of time: loopback up, with a netlink socket in them.
//!
//! Making one takes the kernel about half a millisecond; a container that starts takes one that is ready. One
//! thread of its own makes them, since to make one it must enter it. A namespace is used once. Until it is taken
//! nothing but a descriptor keeps it: it costs the host's other processes no mount and dies with the daemon.

use crate::{Error, Result, journal::SandboxNumber};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat},
    io::Errno,
    mount::{UnmountFlags, mount_bind, unmount},
};
use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tare_sys::{
    netlink::{Batch, Family, Socket, route},
    netns,
};
use tare_types::ErrorKind;

/// How long a replacement waits after one was taken: the container that took it is starting right then, and both
/// would wait for the kernel's lock over all links.
const PAUSE: Duration = Duration::from_millis(5);
/// The longest wait for a namespace to be made; it takes about a millisecond.
const DEADLINE: Duration = Duration::from_secs(10);

/// A network namespace nobody uses yet.
#[derive(Debug)]
pub(crate) struct ReadyNamespace {
    /// Names the file and the interfaces.
    pub(crate) number: SandboxNumber,
    /// The file that is to keep it, see [`ReadyNamespace::pin`].
    pub(crate) path: PathBuf,
    /// The namespace itself.
    pub(crate) namespace: OwnedFd,
    /// A socket inside.
    pub(crate) socket: Socket,
    /// The number the next interface in it gets.
    pub(crate) next_index: u32,
}

#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    target: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<ReadyNamespace>,
    /// Who waits for one now.
    waiting: usize,
    /// What went wrong, for those who wait.
    failures: VecDeque<Error>,
    /// A namespace was taken since the thread last looked.
    taken: bool,
    next: SandboxNumber,
    stop: bool,
}

impl State {
    fn reserve_number(&mut self) -> SandboxNumber {
        let number = self.next;
        self.next = number % 0xff_ffff + 1;
        number
    }
}

/// The file of a namespace.
pub(crate) fn path_of(directory: &Path, number: SandboxNumber) -> PathBuf {
    directory.join(format!("{number:06x}"))
}

impl Pool {
    /// Starts the thread; `next` is the first number nobody has.
    pub(crate) fn start(directory: PathBuf, target: usize, next: SandboxNumber) -> Result<Self> {
        let state = State {
            ready: VecDeque::new(),
            waiting: 0,
            failures: VecDeque::new(),
            taken: false,
            next,
            stop: false,
        };
        let shared =
            Arc::new(Shared { directory, target, state: Mutex::new(state), changed: Condvar::new() });
        let run = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tare-netns".to_owned())
            .spawn(move || run.work())
            .map_err(|e| Error::caused("start thread", "tare-netns", e))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A number for a sandbox without a namespace.
    pub(crate) fn reserve_number(&self) -> SandboxNumber {
        self.shared.lock().reserve_number()
    }

    /// Takes a ready namespace, or waits until one is made.
    pub(crate) fn take(&self) -> Result<ReadyNamespace> {
        let mut state = self.shared.lock();
        if state.ready.is_empty() {
            state.waiting += 1;
            self.shared.changed.notify_all();
            let done = |s: &mut State| s.ready.is_empty() && s.failures.is_empty() && !s.stop;
            let (after, _) = self
                .shared
                .changed
                .wait_timeout_while(state, DEADLINE, done)
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.waiting -= 1;
        }
        if let Some(ready) = state.ready.pop_front() {
            state.taken = true;
            drop(state);
            self.shared.changed.notify_all();
            return Ok(ready);
        }
        let waited = || {
            Error::new(ErrorKind::DeadlineExceeded, "make network namespace", "within 10 s")
                .with_hint("the thread tare-netns did not answer; the kernel's lock over links may be held")
        };
        Err(state.failures.pop_front().unwrap_or_else(waited))
    }

    /// Ends the thread and lets go of the namespaces nobody took; idempotent.
    pub(crate) fn close(&self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread is not ours to continue; what it left is found at the next start.
            let _joined = thread.join();
        }
        self.shared.lock().ready.clear();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The lists are whole at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(number) = self.wait_for_work() {
            let made = make(&self.directory, number);
            let mut state = self.lock();
            match made {
                Ok(ready) => state.ready.push_back(ready),
                Err(error) if state.waiting > state.failures.len() => state.failures.push_back(error),
                // Nobody waits: the next who takes one tries again and hears of it.
                Err(_) => {
                    drop(self.changed.wait_while(state, |s| s.waiting == 0 && !s.stop));
                }
            }
            self.changed.notify_all();
        }
    }

    /// The number of the next namespace to make, `None` at the end.
    fn wait_for_work(&self) -> Option<SandboxNumber> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            let urgent = state.waiting > state.ready.len() + state.failures.len();
            if urgent || (state.ready.len() < self.target && !state.taken) {
                return Some(state.reserve_number());
            }
            state = if state.taken {
                state.taken = false;
                let pause = self.changed.wait_timeout_while(state, PAUSE, |s| s.waiting == 0 && !s.stop);
                pause.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

impl ReadyNamespace {
    /// Binds the namespace to its file: it lives on without this process, and has a path to be joined by.
    pub(crate) fn pin(&self) -> Result<()> {
        let failed = |what| move |errno: Errno| Error::caused(what, self.path.display().to_string(), errno);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(CWD, &self.path, flags, Mode::RUSR).map_err(failed("make namespace file"))?;
        let source = format!("/proc/self/fd/{}", self.namespace.as_raw_fd());
        mount_bind(source, &self.path).map_err(failed("pin network namespace"))
    }
}

/// Makes a namespace: loopback up, IPv6 off for interfaces to come.
fn make(directory: &Path, number: SandboxNumber) -> Result<ReadyNamespace> {
    let failed = |what| move |errno: Errno| Error::caused(what, "for a container", errno);
    let stay = netns::Stay::in_new().map_err(failed("make network namespace"))?;
    let made = netns::current().map_err(failed("open network namespace")).and_then(|namespace| {
        let socket = Socket::open(Family::Route).and_then(|mut socket| Ok((set_up(&mut socket)?, socket)));
        let (next_index, socket) =
            socket.map_err(|e| Error::caused("set up network namespace", "for a container", e))?;
        Ok(ReadyNamespace { number, path: path_of(directory, number), namespace, socket, next_index })
    });
    stay.leave().expect("invariant: a thread may return to the namespace it came from");
    made
}

/// Loopback up; returns the number the next interface gets.
fn set_up(socket: &mut Socket) -> std::result::Result<u32, tare_sys::netlink::Error> {
    let links = route::links(socket)?;
    let loopback = links.iter().find(|link| link.name == "lo").map_or(1, |link| link.index);
    let mut batch = Batch::new();
    route::set_up(&mut batch, route::Which::Index(loopback));
    socket.execute(&mut batch)?;
    // An interface on an IPv4 network has no IPv6: no link-local address, no router heard (docker does the same).
    // The loopback interface exists already and keeps ::1. Where the kernel has no IPv6, there is nothing to do.
    let _absent = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    Ok(links.iter().map(|link| link.index).max().unwrap_or(loopback) + 1)
}

/// Removes the file of a namespace and what is mounted on it; it may be gone already.
pub(crate) fn remove_pin(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: the file is there and nothing is mounted on it.
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
        Err(errno) => return Err(Error::caused("unmount namespace", path.display().to_string(), errno)),
    }
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::caused("remove namespace file", path.display().to_string(), errno)),
    }
}
