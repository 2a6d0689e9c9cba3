//! Processes by descriptor: open, signal, wait; namespaces of the calling thread.

use crate::{Context, Errno, Error, Result};
use alloc::{format, string::String};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

/// A descriptor of a process; readable when it has ended.
///
/// # Errors
/// pidfd_open(2)'s; ESRCH when there is no such process.
pub fn open(pid: i32) -> Result<OwnedFd> {
    let object = || format!("process {pid}");
    let checked = Pid::from_raw(pid).ok_or_else(|| Error::new("pidfd_open", object(), Errno::SRCH))?;
    rustix::process::pidfd_open(checked, PidfdFlags::empty()).on("pidfd_open", object)
}

/// Sends a signal, 1 to 64; 0 only asks whether the process is there.
///
/// # Errors
/// pidfd_send_signal(2)'s; ESRCH when the process has ended and was reaped.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    crate::raw::pidfd_send_signal(pidfd, signal).on("pidfd_send_signal", || format!("signal {signal}"))
}

/// Sends a signal to a process by number. For members of a cgroup, whose numbers were just read there.
///
/// # Errors
/// kill(2)'s.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    crate::raw::kill(pid, signal).on("kill", || format!("process {pid}"))
}

/// Waits until the process has ended or `milliseconds` are over; true when it has ended. Does not reap.
///
/// # Errors
/// poll(2)'s.
pub fn has_ended(pidfd: BorrowedFd<'_>, milliseconds: u64) -> Result<bool> {
    poll_for(pidfd, PollFlags::IN, milliseconds)
}

/// Waits until nobody holds the other end of a pipe any more or `milliseconds` are over; true when it is closed. What is
/// still to be read does not end the wait.
///
/// # Errors
/// poll(2)'s.
pub fn is_closed(pipe: BorrowedFd<'_>, milliseconds: u64) -> Result<bool> {
    poll_for(pipe, PollFlags::empty(), milliseconds)
}

fn poll_for(fd: BorrowedFd<'_>, events: PollFlags, milliseconds: u64) -> Result<bool> {
    let timeout =
        Timespec { tv_sec: (milliseconds / 1000) as i64, tv_nsec: (milliseconds % 1000 * 1_000_000) as i64 };
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).on("poll", || "pidfd")?;
    Ok(ready > 0)
}

/// As [`reap`] for a child that ends soon, because it was killed or has closed its end of a pipe.
///
/// # Errors
/// ETIMEDOUT when it is still there after `milliseconds`: it hangs in the kernel; else [`reap`]'s.
pub fn reap_within(pidfd: BorrowedFd<'_>, milliseconds: u64) -> Result<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        return Ok(status);
    }
    if !has_ended(pidfd, milliseconds)? {
        return Err(Error::new(
            "waitid",
            format!("a child that did not end within {milliseconds} ms"),
            Errno::TIMEDOUT,
        ));
    }
    reap(pidfd)
}

/// Waits for a child and reaps it.
///
/// # Errors
/// waitid(2)'s; ECHILD when it is not a child or was reaped.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<WaitIdStatus> {
    loop {
        let waited = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
        match waited {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("waitid", "", errno)),
        }
    }
}

/// Moves the calling thread's children-to-be into the pid namespace `namespace` until the guard is
/// dropped. Other threads and the thread itself stay where they are (pid_namespaces(7)).
#[derive(Debug)]
pub struct PidNamespaceForChildren {
    own: OwnedFd,
}

impl PidNamespaceForChildren {
    /// Enters by a namespace descriptor or a pidfd of a process in the namespace.
    ///
    /// # Errors
    /// open(2)'s and setns(2)'s.
    pub fn enter(namespace: impl AsFd) -> Result<Self> {
        let own = crate::file::open("/proc/self/ns/pid", rustix::fs::OFlags::RDONLY, 0)?;
        set(namespace.as_fd())?;
        Ok(Self { own })
    }

    /// Goes back.
    ///
    /// # Errors
    /// setns(2)'s. The thread must then not start other threads or processes.
    pub fn leave(self) -> Result<()> {
        set(self.own.as_fd())
    }
}

fn set(namespace: BorrowedFd<'_>) -> Result<()> {
    use rustix::thread::ThreadNameSpaceType;
    // The flags form serves both kinds of descriptor: for a namespace it is the type to expect.
    rustix::thread::move_into_thread_name_spaces(namespace, ThreadNameSpaceType::PROCESS_ID)
        .on("setns", || "pid namespace")
}

/// Start time of a process in clock ticks since boot, field 22 of `/proc/<pid>/stat`, and its state
/// letter. `None` when there is no such process.
///
/// # Errors
/// read(2)'s, EINVAL for a line of another shape.
pub fn stat(pid: i32) -> Result<Option<(u64, u8)>> {
    let path = format!("/proc/{pid}/stat");
    let line = match crate::file::read_once(&path) {
        Ok(line) => line,
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    parse_stat(&line).map(Some).ok_or_else(|| Error::new("read", path, Errno::INVAL))
}

/// The name in parentheses may hold anything, spaces and parentheses too: fields count from its last one.
fn parse_stat(line: &str) -> Option<(u64, u8)> {
    let (_, rest) = line.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, state))
}

/// Makes the calling process non-dumpable: /proc/self/mem and ptrace need CAP_SYS_PTRACE from now on.
///
/// # Errors
/// prctl(2)'s.
pub fn set_not_dumpable() -> Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).on("prctl", || "PR_SET_DUMPABLE")
}

/// Number of a signal by name (`TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`).
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

const SIGNALS: &[(&str, i32)] = &[
    ("HUP", Signal::HUP.as_raw()),
    ("INT", Signal::INT.as_raw()),
    ("QUIT", Signal::QUIT.as_raw()),
    ("ILL", Signal::ILL.as_raw()),
    ("TRAP", Signal::TRAP.as_raw()),
    ("ABRT", Signal::ABORT.as_raw()),
    ("IOT", Signal::ABORT.as_raw()),
    ("BUS", Signal::BUS.as_raw()),
    ("FPE", Signal::FPE.as_raw()),
    ("KILL", Signal::KILL.as_raw()),
    ("USR1", Signal::USR1.as_raw()),
    ("SEGV", Signal::SEGV.as_raw()),
    ("USR2", Signal::USR2.as_raw()),
    ("PIPE", Signal::PIPE.as_raw()),
    ("ALRM", Signal::ALARM.as_raw()),
    ("TERM", Signal::TERM.as_raw()),
    ("STKFLT", 16),
    ("CHLD", Signal::CHILD.as_raw()),
    ("CLD", Signal::CHILD.as_raw()),
    ("CONT", Signal::CONT.as_raw()),
    ("STOP", Signal::STOP.as_raw()),
    ("TSTP", Signal::TSTP.as_raw()),
    ("TTIN", Signal::TTIN.as_raw()),
    ("TTOU", Signal::TTOU.as_raw()),
    ("URG", Signal::URG.as_raw()),
    ("XCPU", Signal::XCPU.as_raw()),
    ("XFSZ", Signal::XFSZ.as_raw()),
    ("VTALRM", Signal::VTALARM.as_raw()),
    ("PROF", Signal::PROF.as_raw()),
    ("WINCH", Signal::WINCH.as_raw()),
    ("IO", Signal::IO.as_raw()),
    ("POLL", Signal::IO.as_raw()),
    ("PWR", 30),
    ("SYS", Signal::SYS.as_raw()),
];

/// Reads `/proc/<pid>/<name>` as text; for files that the kernel makes short.
///
/// # Errors
/// open(2)'s, read(2)'s.
pub fn read_proc(pid: i32, name: &str) -> Result<String> {
    crate::file::read_text(&format!("/proc/{pid}/{name}"), 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 100 1";
        assert_eq!(parse_stat(line), Some((12345, b'S')));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigusr1", 10),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("0", 0),
        ] {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
        for text in ["", "NOPE", "65", "-1", "RTMIN+31", "1x"] {
            assert_eq!(parse_signal(text), None, "{text}");
        }
    }

    #[test]
    fn own_process() {
        let pid = std::process::id() as i32;
        let pidfd = open(pid).unwrap();
        send_signal(pidfd.as_fd(), 0).unwrap();
        assert!(!has_ended(pidfd.as_fd(), 0).unwrap());
        assert!(stat(pid).unwrap().is_some());
        assert!(stat(i32::MAX).unwrap().is_none());
    }
}
