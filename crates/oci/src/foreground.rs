//! A process in the foreground: its streams, its signals, its end.

use crate::{Context, command::Failure, notify::Notify, output};
use alloc::format;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::OFlags,
    io::Errno,
};
use tare_runtime::Process;
use tare_sys::{
    signal::SignalFd,
    terminal::{RawMode, copy_size, pass_line_feeds},
};

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;

/// What a command does first that will have a child in a container.
pub(crate) fn prepare_process(creates: bool) -> Result<(), Failure> {
    // Between clone and execve a child is a copy of this process: nobody may look into it (CVE-2016-9962).
    // An ordinary user's child must be looked at while its id maps are written; its new pid namespace is empty then.
    if !creates || rustix::process::geteuid().is_root() {
        tare_sys::process::set_not_dumpable()?;
    }
    // A descriptor opened later must not become a standard stream of the container.
    for open in tare_sys::file::are_open([0, 1, 2])? {
        if !open {
            let null = tare_sys::file::open("/dev/null", OFlags::RDWR, 0)?;
            tare_sys::file::leave_open(null);
        }
    }
    Ok(())
}

/// Receives signals by descriptor from now on; all that are handed on to the container.
pub(crate) fn block_signals() -> Result<SignalFd, Failure> {
    // Not the ones that are errors of this program, and not SIGPIPE and SIGURG.
    let kept = |signal: &i32| !matches!(signal, 4 | 5 | 7 | 8 | 9 | 11 | 13 | 19 | 23 | 31 | 32 | 33);
    Ok(SignalFd::block((1..=64).filter(kept))?)
}

/// The caller's terminal joined to the container's.
#[derive(Debug)]
pub(crate) struct Console {
    master: OwnedFd,
    /// Restored when this is dropped.
    _raw: Option<RawMode>,
    stdin_open: bool,
}

impl Console {
    pub(crate) fn attach(master: OwnedFd) -> Result<Self, Failure> {
        let [stdin, ..] = output::standard();
        copy_size(stdin, &master)?;
        pass_line_feeds(&master)?;
        Ok(Self { master, _raw: RawMode::enter(stdin)?, stdin_open: true })
    }

    /// Copies what is there in one direction; false at its end.
    fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        let mut bytes = [0; 8192];
        match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut bytes)) {
            Ok(0) => false,
            Ok(length) => tare_sys::file::write_fd(to, &bytes[..length]).is_ok(),
            Err(errno) => errno == Errno::AGAIN,
        }
    }

    /// Copies what the terminal still holds.
    pub(crate) fn drain(&self) {
        let [_, stdout, _] = output::standard();
        loop {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&none)));
            if !ready.is_ok_and(|ready| ready > 0) || !Self::copy(self.master.as_fd(), stdout) {
                return;
            }
        }
    }
}

/// Stays with the process until it ends: forwards signals, copies the terminal, passes on that the program is ready.
/// The exit code as a shell's.
pub(crate) fn accompany(
    context: &Context<'_>,
    process: &Process,
    (mut console, mut notify): (Option<Console>, Option<Notify<'_>>),
    signals: &SignalFd,
) -> Result<i32, Failure> {
    let [stdin, stdout, _] = output::standard();
    loop {
        let mut fds = alloc::vec::Vec::with_capacity(4);
        fds.push(PollFd::new(&process.pidfd, PollFlags::IN));
        fds.push(PollFd::new(signals, PollFlags::IN));
        if let Some(console) = &console {
            fds.push(PollFd::new(&console.master, PollFlags::IN));
            if console.stdin_open {
                fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        let word = fds.len();
        fds.extend(notify.as_ref().map(|notify| PollFd::new(notify, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut fds, None))
            .map_err(|errno| format!("poll: {}", tare_sys::errno::describe(errno)))?;
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let (ended, signalled, output) = (ready(0), ready(1), ready(2));
        let (input, speaks) = (ready(3) && word > 3, notify.is_some() && ready(word));
        drop(fds);
        if signalled {
            forward(process, console.as_ref(), signals)?;
        }
        if let Some(terminal) = &mut console {
            let master = terminal.master.as_fd();
            if input && !Console::copy(stdin, master) {
                terminal.stdin_open = false;
            }
            let closed = output && !Console::copy(terminal.master.as_fd(), stdout);
            if ended {
                terminal.drain();
            }
            if closed {
                console = None;
            }
        }
        if speaks && let Some(told) = notify.as_ref().map(pass_on) {
            // The container lives on, whether anybody heard or not.
            let told = told.unwrap_or_else(|failure| {
                context.log.warning(&failure.text);
                true
            });
            notify = notify.filter(|_| !told);
        }
        if ended {
            return Ok(process.wait()?.shell_code());
        }
    }
}

/// This program is the one to watch: it ends as the container does.
fn pass_on(notify: &Notify<'_>) -> Result<bool, Failure> {
    notify.pass_on(rustix::process::getpid().as_raw_nonzero().get())
}

fn forward(process: &Process, console: Option<&Console>, signals: &SignalFd) -> Result<(), Failure> {
    for signal in signals.arrived()? {
        match (signal, console) {
            (SIGCHLD, _) => {}
            (SIGWINCH, Some(console)) => copy_size(output::standard()[0], &console.master)?,
            _ => {
                // A process that has just ended cannot be told; its end is next.
                let _ = tare_sys::process::send_signal(process.pidfd.as_fd(), signal);
            }
        }
    }
    Ok(())
}
