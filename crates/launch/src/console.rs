//! The terminal and the standard streams.

use crate::{
    ConsoleOp, TargetKind,
    interpreter::Child,
    mount, raw,
    report::{At, Call, Failed, Outcome},
    target,
};
use core::mem::MaybeUninit;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{FileType, OFlags},
    io::{Errno, IoSlice},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::{Gid, Uid},
    pty::OpenptFlags,
    termios::Winsize,
};

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Opens a terminal of the container's devpts, hands out its master, and becomes its leader.
///
/// The slave is opened from the master (TIOCGPTPEER), not by a path that the container could have put
/// something else at (CVE-2025-52565).
pub(crate) fn console(child: &Child<'_>, op: &ConsoleOp<'_>) -> Outcome {
    let root = child.root()?;
    let master = target::open_below(root, c"/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW)
        .at(Call::Openat2)?;
    let stat = rustix::fs::fstat(&master).at(Call::Fstat)?;
    let on = rustix::fs::fstatfs(&master).at(Call::Statfs)?;
    let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
    if !is_device || stat.st_rdev != rustix::fs::makedev(5, 2) || on.f_type as i64 != DEVPTS_MAGIC {
        return Err(Failed { call: Call::NotADevice, errno: Errno::INVAL });
    }
    rustix::pty::unlockpt(&master).at(Call::Ioctl)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).at(Call::Ioctl)?;
    if let Some(size) = op.size {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).at(Call::Ioctl)?;
    }
    if op.bind {
        // No link on the way: the terminal must not cover another file (CVE-2025-52565, CVE-2026-88264).
        let (place, _) = target::open_target(root, c"/dev/console", TargetKind::File, true)?;
        let copy = mount::clone_tree(slave.as_fd())?;
        mount::attach(copy.as_fd(), place.as_fd())?;
    }
    send(op.socket, master.as_fd(), b"/dev/ptmx")?;
    drop(master);
    for number in 0..3 {
        raw::dup_onto(slave.as_fd(), number).at(Call::Dup)?;
    }
    rustix::process::ioctl_tiocsctty(&slave).at(Call::Ioctl)
}

/// Sends a descriptor with a message.
pub(crate) fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>, text: &[u8]) -> Outcome {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let message = [IoSlice::new(text)];
    let sent = rustix::net::sendmsg(socket, &message, &mut control, SendFlags::NOSIGNAL).at(Call::Sendmsg)?;
    if sent < text.len() {
        return Err(Failed { call: Call::Sendmsg, errno: Errno::MSGSIZE });
    }
    Ok(())
}

/// Puts descriptors at 0, 1 and 2. The parent made sure that none of them is below 3.
pub(crate) fn streams(fds: [BorrowedFd<'_>; 3]) -> Outcome {
    for (number, fd) in fds.into_iter().enumerate() {
        raw::dup_onto(fd, number as i32).at(Call::Dup)?;
    }
    Ok(())
}

/// Puts a descriptor at 0, read from its beginning if it can be.
pub(crate) fn stdin(fd: BorrowedFd<'_>) -> Outcome {
    match raw::rewind(fd) {
        Ok(()) | Err(Errno::SPIPE) => raw::dup_onto(fd, 0).at(Call::Dup),
        Err(errno) => Err(Failed { call: Call::Read, errno }),
    }
}

/// Gives the standard streams to a user, so that it can open them again through `/proc/self/fd`.
pub(crate) fn give_streams(uid: u32) -> Outcome {
    for fd in raw::standard_streams() {
        let Ok(stat) = rustix::fs::fstat(fd) else {
            continue;
        };
        let null = FileType::from_raw_mode(stat.st_mode).is_char_device()
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if null || stat.st_uid == uid {
            continue;
        }
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(stat.st_gid)));
        // A stream on a read-only or foreign file system, or without a mapping, keeps its owner (as in runc).
        match rustix::fs::fchown(fd, owner.0, owner.1) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS) => {}
            Err(errno) => return Err(Failed { call: Call::Chown, errno }),
        }
    }
    Ok(())
}
