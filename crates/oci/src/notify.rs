//! NOTIFY_SOCKET: whoever waits for a service to be ready (sd_notify(3)) hears it from the container's program.
//!
//! The program gets a socket of its own in a read-only directory below `/run/notify`; as in runc only its readiness is
//! passed on, in our words, with the number of the process to watch: a container must not name another one, nor speak
//! of the service's state in any other way.

use crate::command::Failure;
use alloc::{
    format,
    string::{String, ToString},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags},
};
use tare_runtime::Container;
use tare_types::spec::{ContainerStatus, Mount, Spec};

const DIRECTORY: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// How long the host's side may take to have read everything, in seconds. runc's value.
const BARRIER_LIMIT: i64 = 30;

/// Lets the container's program find the socket in a directory of the host.
pub(crate) fn add(spec: &mut Spec, directory: String) {
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={DIRECTORY}/{NAME}"));
    }
    spec.mounts.push(Mount {
        destination: DIRECTORY.into(),
        source: directory,
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(ToString::to_string).into(),
        ..Mount::default()
    });
}

/// A container's socket and where its word goes.
#[derive(Debug)]
pub(crate) struct Notify<'a> {
    host: &'a str,
    socket: OwnedFd,
}

impl<'a> Notify<'a> {
    /// Makes the socket. Nothing if the container was created without a directory for it.
    pub(crate) fn listen(host: &'a str, directory: &str) -> Result<Option<Self>, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = match tare_sys::file::open(directory, flags, 0) {
            Err(error) if error.is_not_found() => return Ok(None),
            directory => directory?,
        };
        // Of a `start` that was killed.
        let _ = rustix::fs::unlinkat(&directory, NAME, AtFlags::empty());
        let socket = tare_sys::socket::bind_datagram(directory.as_fd(), NAME)?;
        rustix::fs::chmodat(&directory, NAME, Mode::from_raw_mode(0o777), AtFlags::empty())
            .map_err(|errno| format!("chmod {NAME}: {}", tare_sys::errno::describe(errno)))?;
        Ok(Some(Self { host, socket }))
    }

    /// Waits until the container's program is ready or has ended: how long that may take is for the caller to say, who
    /// ends this program.
    pub(crate) fn wait(&self, container: &Container) -> Result<(), Failure> {
        let Ok(process) = tare_sys::process::open(container.pid()) else { return Ok(()) };
        // It was alive when it was opened, or the number is another's by now.
        while container.status()? != ContainerStatus::Stopped {
            let mut fds = [PollFd::new(&process, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None))
                .map_err(|errno| format!("poll: {}", tare_sys::errno::describe(errno)))?;
            if !fds[1].revents().is_empty() && self.pass_on(container.pid())? {
                return Ok(());
            }
        }
        // The last word of a program that ended at once.
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        while rustix::io::retry_on_intr(|| poll(&mut fds, Some(&none))).is_ok_and(|ready| ready > 0) {
            if self.pass_on(container.pid())? {
                break;
            }
        }
        Ok(())
    }

    /// Reads one message; if it says that the program is ready, the host hears so, and which process to watch.
    pub(crate) fn pass_on(&self, main: i32) -> Result<bool, Failure> {
        let mut bytes = [0; 4096];
        // Descriptors that come along are dropped.
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut bytes))
            .map_err(|errno| format!("read {NAME}: {}", tare_sys::errno::describe(errno)))?;
        if !is_ready(&bytes[..length]) {
            return Ok(false);
        }
        let host = tare_sys::socket::connect_datagram(self.host)?;
        let tell = |text: &str| {
            rustix::io::retry_on_intr(|| rustix::io::write(&host, text.as_bytes()))
                .map_err(|errno| format!("notify {:?}: {}", self.host, tare_sys::errno::describe(errno)))
        };
        tell("READY=1\n")?;
        tell(&format!("MAINPID={main}\n"))?;
        barrier(&host)?;
        Ok(true)
    }
}

impl AsFd for Notify<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Until the host has read everything (sd_notify_barrier(3)): it must not see this process gone before.
fn barrier(host: &OwnedFd) -> Result<(), Failure> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| format!("pipe2: {}", tare_sys::errno::describe(errno)))?;
    tare_sys::socket::send_fd(host, b"BARRIER=1", write.as_fd())?;
    drop(write);
    let limit = Timespec { tv_sec: BARRIER_LIMIT, tv_nsec: 0 };
    let mut fds = [PollFd::new(&read, PollFlags::empty())];
    let closed = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)))
        .map_err(|errno| format!("poll: {}", tare_sys::errno::describe(errno)))?;
    if closed == 0 {
        return Err(format!("the service manager has not read the notification in {BARRIER_LIMIT} s").into());
    }
    Ok(())
}

fn is_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::is_ready;

    #[test]
    fn only_readiness_counts() {
        assert!(is_ready(b"READY=1"));
        assert!(is_ready(b"STATUS=x\nREADY=1\n"));
        assert!(!is_ready(b"READY=0\nMAINPID=1"));
        assert!(!is_ready(b"XREADY=1"));
        assert!(!is_ready(b""));
    }
}
