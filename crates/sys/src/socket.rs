//! Unix sockets that carry descriptors.

use crate::{Context, Errno, Error, Result};
use alloc::format;
use core::{mem::MaybeUninit, time::Duration};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    io::{IoSlice, IoSliceMut},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
        sockopt::{self, Timeout},
    },
};

/// A connected pair of close-on-exec stream sockets.
///
/// # Errors
/// socketpair(2)'s.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .on("socketpair", || "")
}

/// How long the peer may take to accept a connection, and to make room for what is sent to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected pair of close-on-exec sockets that carry whole messages (SOCK_SEQPACKET).
///
/// # Errors
/// socketpair(2)'s.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .on("socketpair", || "")
}

/// Sends one whole message; a receiver that is gone is an error, not a signal.
///
/// # Errors
/// send(2)'s.
pub fn send_packet(socket: impl AsFd, message: &[u8]) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::net::send(&socket, message, SendFlags::NOSIGNAL))
        .on("send", || "message")
        .map(drop)
}

/// Receives one message, and the descriptor that came with it (close-on-exec). Length 0 means that the other side is
/// gone.
///
/// # Errors
/// recvmsg(2)'s; EMSGSIZE for a message longer than `buffer`.
pub fn receive_packet(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .on("recvmsg", || "message")?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Error::new("recvmsg", "message", Errno::MSGSIZE));
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

/// Connects to a listening stream socket of the host. Sending over it has the same limit of 10 seconds, also for whoever
/// inherits it.
///
/// # Errors
/// socket(2)'s and connect(2)'s; ENAMETOOLONG for a path beyond 107 bytes; ETIMEDOUT when nobody accepts within 10
/// seconds.
pub fn connect(path: &str) -> Result<OwnedFd> {
    connect_within(path, PATIENCE)
}

/// As [`connect`], to a path or, with `@` in front, to an abstract name, with a limit of one's own.
///
/// # Errors
/// As [`connect`]'s.
pub fn connect_within(path: &str, limit: Duration) -> Result<OwnedFd> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(path),
    };
    let address = address.on("connect", || path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .on("socket", || path)?;
    // Without it connect(2) waits for as long as the queue of the listener is full (unix(7)).
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(limit)).on("setsockopt", || "SO_SNDTIMEO")?;
    let connected = rustix::net::connect(&socket, &address);
    connected
        .map_err(|errno| if errno == Errno::AGAIN { Errno::TIMEDOUT } else { errno })
        .on("connect", || path)?;
    Ok(socket)
}

fn datagram() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .on("socket", || "")
}

/// A datagram socket with a name in a directory of the host, however long the directory's path is.
///
/// # Errors
/// socket(2)'s and bind(2)'s; EADDRINUSE when the name exists.
pub fn bind_datagram(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    let address = SocketAddrUnix::new(path.as_str()).on("bind", || name)?;
    let socket = datagram()?;
    rustix::net::bind(&socket, &address).on("bind", || name)?;
    Ok(socket)
}

/// A datagram socket connected to one of the host: a path, or `@` and an abstract name.
///
/// # Errors
/// socket(2)'s and connect(2)'s; ENAMETOOLONG for a path beyond 107 bytes.
pub fn connect_datagram(address: &str) -> Result<OwnedFd> {
    let to = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(address),
    };
    let to = to.on("connect", || address)?;
    let socket = datagram()?;
    rustix::net::connect(&socket, &to).on("connect", || address)?;
    Ok(socket)
}

/// Sends all bytes; a peer that is gone is an error and no signal.
///
/// # Errors
/// send(2)'s; EAGAIN after the wait of [`connect_within`].
pub fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL))?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Memory, in bytes, of what was sent over a connected unix socket and the other side has not read yet; 0 means it
/// has read everything.
///
/// # Errors
/// ioctl(2)'s.
pub fn unread_by_peer(socket: impl AsFd) -> Result<u32> {
    crate::raw::unread_by_peer(socket.as_fd()).on("ioctl", || "SIOCOUTQ")
}

/// Sends a message with one descriptor.
///
/// # Errors
/// sendmsg(2)'s.
pub fn send_fd(socket: impl AsFd, message: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)
        .on("sendmsg", || "descriptor")?;
    Ok(())
}

/// Receives one descriptor, close-on-exec.
///
/// # Errors
/// recvmsg(2)'s; EPIPE when the other side closed without sending one.
pub fn receive_fd(socket: impl AsFd) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut message = [0; 256];
    rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut message)];
        rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .on("recvmsg", || "descriptor")?;
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = received
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(Error::new("recvmsg", "descriptor", Errno::PIPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_has_not_read_is_counted() {
        let (here, there) = pair().unwrap();
        assert_eq!(unread_by_peer(&here).unwrap(), 0);
        rustix::io::write(&here, b"head").unwrap();
        assert!(unread_by_peer(&here).unwrap() > 0);
        let mut bytes = [0; 8];
        rustix::io::read(&there, &mut bytes).unwrap();
        assert_eq!(unread_by_peer(&here).unwrap(), 0);
    }

    #[test]
    fn a_listener_that_does_not_accept_is_given_up() {
        let directory = std::env::temp_dir().join(format!("tare-sys-{}", rustix::process::getpid()));
        let path = directory.to_str().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let limit = Duration::from_millis(50);
        let _queued = connect_within(path, limit).unwrap();
        let error = connect_within(path, limit).unwrap_err();
        assert_eq!(error.errno(), Errno::TIMEDOUT);
        assert!(alloc::format!("{error}").contains(path), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn messages_stay_whole() {
        let (here, there) = packet_pair().unwrap();
        let (_, write) = rustix::pipe::pipe().unwrap();
        send_packet(&here, b"one").unwrap();
        send_fd(&here, b"two", write.as_fd()).unwrap();
        send_packet(&here, b"too long").unwrap();
        let mut buffer = [0; 4];
        assert!(matches!(receive_packet(&there, &mut buffer), Ok((3, None))));
        assert!(matches!(receive_packet(&there, &mut buffer), Ok((3, Some(_)))));
        assert_eq!(receive_packet(&there, &mut buffer).unwrap_err().errno(), Errno::MSGSIZE);
        drop(here);
        assert!(matches!(receive_packet(&there, &mut buffer), Ok((0, None))));
        assert_eq!(send_packet(&there, b"x").unwrap_err().errno(), Errno::PIPE);
    }

    #[test]
    fn a_descriptor_travels() {
        let (here, there) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send_fd(&here, b"x", write.as_fd()).unwrap();
        let arrived = receive_fd(&there).unwrap();
        rustix::io::write(&arrived, b"y").unwrap();
        let mut byte = [0];
        rustix::io::read(&read, &mut byte).unwrap();
        assert_eq!(&byte, b"y");
        drop(here);
        assert_eq!(receive_fd(&there).unwrap_err().errno(), Errno::PIPE);
    }
}
