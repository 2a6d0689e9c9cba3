//! The socket: one call sends a batch, one or a few read the kernel's answer.

use super::{Batch, Error, Message, Messages, flags, parse::Attributes};
use alloc::{string::ToString, vec, vec::Vec};
use core::time::Duration;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recvfrom, sendto, socket_with, sockopt,
    },
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// More than the kernel puts into one datagram of a listing (32 KiB).
const RECEIVE: usize = 64 * 1024;
/// What the send buffer takes without being asked, less its bookkeeping.
const SMALL_BATCH: usize = 64 * 1024;
/// How often a listing that changed under the reader is read again.
const DUMP_ATTEMPTS: usize = 16;

/// The family a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nf_tables and conntrack: nfnetlink.
    Netfilter,
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, for good, and keeps that
/// namespace alive.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Call`] with the errno of socket(2).
    pub fn open(family: Family) -> Result<Self, Error> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(call("socket"))?;
        Ok(Self { fd, sequence: 1, buffer: Vec::new() })
    }

    /// Joins multicast groups (a mask, `RTMGRP_*`); their messages come from [`Socket::receive`].
    ///
    /// # Errors
    /// [`Error::Call`] with the errno of bind(2).
    pub fn subscribe(&self, groups: u32) -> Result<(), Error> {
        bind(&self.fd, &SocketAddrNetlink::new(0, groups)).map_err(call("bind"))
    }

    /// Sends a batch of rtnetlink, whose last message the kernel confirms, and reads the answer.
    ///
    /// All messages are tried; the error is that of the first refused one.
    ///
    /// # Errors
    /// [`Error::Refused`] names the message.
    pub fn execute(&mut self, batch: &mut Batch) -> Result<(), Error> {
        match batch.len() {
            0 => Ok(()),
            count => self.execute_confirmed(batch, count - 1),
        }
    }

    /// Sends a batch of which the message at `confirm` is confirmed; with nf_tables the last before the end.
    ///
    /// # Errors
    /// As [`Socket::execute`].
    pub fn execute_confirmed(&mut self, batch: &mut Batch, confirm: usize) -> Result<(), Error> {
        let first = self.send(batch, Some(confirm))?;
        let last = first.wrapping_add(u32::try_from(confirm).unwrap_or(u32::MAX));
        let mut refused: Option<Error> = None;
        // The kernel works within sendto(2): every answer is in the queue when it returns.
        loop {
            let datagram = match receive(&self.fd, &mut self.buffer, RecvFlags::DONTWAIT) {
                Ok(datagram) => datagram,
                Err(Error::Call { errno: Errno::AGAIN, .. }) => {
                    return Err(refused.unwrap_or(Error::Unconfirmed));
                }
                Err(error) => return Err(error),
            };
            let mut confirmed = false;
            for message in Messages::new(datagram) {
                let message = message?;
                // What an exchange that ended early left in the queue has other numbers.
                let index = message.sequence.wrapping_sub(first) as usize;
                if message.kind == NLMSG_ERROR && index < batch.len() {
                    if let Some(error) = error_of(&message, batch.what(index), index)? {
                        refused = refused.or(Some(error));
                    }
                    confirmed |= message.sequence == last;
                }
            }
            if confirmed {
                return refused.map_or(Ok(()), Err);
            }
        }
    }

    /// Sends one request for a listing and hands each message of the answer to `each`.
    ///
    /// A listing that changed meanwhile is read again: `each` first hears `None`, and forgets what it has.
    ///
    /// # Errors
    /// The kernel's refusal, or what `each` makes of a message.
    pub fn dump(
        &mut self,
        batch: &mut Batch,
        mut each: impl FnMut(Option<&Message<'_>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for _ in 0..DUMP_ATTEMPTS {
            each(None)?;
            let sequence = self.send(batch, None)?;
            if self.read_dump(batch, sequence, &mut each)? {
                return Ok(());
            }
        }
        Err(Error::Interrupted)
    }

    /// Reads one listing to its end; false when it was interrupted by a change.
    fn read_dump(
        &mut self,
        batch: &Batch,
        sequence: u32,
        each: &mut impl FnMut(Option<&Message<'_>>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut whole = true;
        loop {
            for message in Messages::new(receive(&self.fd, &mut self.buffer, RecvFlags::DONTWAIT)?) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                whole &= message.flags & flags::DUMP_INTERRUPTED == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => match error_of(&message, batch.what(0), 0)? {
                        Some(error) => return Err(error),
                        None => return Ok(whole),
                    },
                    _ => each(Some(&message))?,
                }
            }
        }
    }

    /// Sends one request for one object and hands its reply to `read`.
    ///
    /// # Errors
    /// The kernel's refusal, or what `read` makes of the reply.
    pub fn get<T>(
        &mut self,
        batch: &mut Batch,
        read: impl FnOnce(&Message<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let sequence = self.send(batch, None)?;
        loop {
            for message in Messages::new(receive(&self.fd, &mut self.buffer, RecvFlags::DONTWAIT)?) {
                let message = message?;
                match message.kind {
                    _ if message.sequence != sequence => {}
                    NLMSG_ERROR => {
                        return Err(error_of(&message, batch.what(0), 0)?.unwrap_or(Error::Unconfirmed));
                    }
                    _ => return read(&message),
                }
            }
        }
    }

    /// Waits for a datagram of a subscribed group, at most `deadline`; `None` when the time is up.
    ///
    /// # Errors
    /// [`Error::Call`]; `ENOBUFS` means that messages were lost and the caller looks for itself.
    pub fn receive(&mut self, deadline: Duration) -> Result<Option<Messages<'_>>, Error> {
        let deadline = deadline.max(Duration::from_millis(1));
        sockopt::set_socket_timeout(&self.fd, sockopt::Timeout::Recv, Some(deadline))
            .map_err(call("setsockopt SO_RCVTIMEO"))?;
        match receive(&self.fd, &mut self.buffer, RecvFlags::empty()) {
            Ok(datagram) => Ok(Some(Messages::new(datagram))),
            Err(Error::Call { errno: Errno::AGAIN, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, batch: &mut Batch, confirm: Option<usize>) -> Result<u32, Error> {
        let first = self.sequence;
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        self.sequence = self.sequence.wrapping_add(count).max(1);
        if batch.size() > SMALL_BATCH {
            let size = batch.size().saturating_mul(2).saturating_add(RECEIVE);
            sockopt::set_socket_send_buffer_size(&self.fd, size).map_err(call("setsockopt SO_SNDBUF"))?;
        }
        let bytes = batch.number(first, confirm);
        let sent = sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(call("sendto"))?;
        if sent == bytes.len() { Ok(first) } else { Err(Error::Unconfirmed) }
    }
}

fn call(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Call { call, errno }
}

/// Reads one datagram of the kernel; what others sent is skipped.
fn receive<'a>(fd: &OwnedFd, buffer: &'a mut Vec<u8>, flags: RecvFlags) -> Result<&'a [u8], Error> {
    if buffer.is_empty() {
        *buffer = vec![0; RECEIVE];
    }
    loop {
        let (_, length, from) = match recvfrom(fd, buffer.as_mut_slice(), flags | RecvFlags::TRUNC) {
            Ok(received) => received,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::Call { call: "recvfrom", errno }),
        };
        let kernel =
            from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_some_and(|a| a.pid() == 0);
        if !kernel {
            continue;
        }
        return buffer
            .get(..length)
            .ok_or(Error::Malformed(super::Malformed("a datagram is longer than the buffer")));
    }
}

/// The error in an `NLMSG_ERROR`, `None` when it confirms.
fn error_of(message: &Message<'_>, what: &'static str, index: usize) -> Result<Option<Error>, Error> {
    const CAPPED: u16 = 0x100;
    const WITH_TEXT: u16 = 0x200;
    const ERROR_MESSAGE: u16 = 1;
    let (code, rest) =
        message.payload.split_first_chunk::<4>().ok_or(super::Malformed("an error message is cut off"))?;
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(None);
    }
    let errno = Errno::from_raw_os_error(code.checked_neg().filter(|c| (1..4096).contains(c)).unwrap_or(5));
    let mut text = None;
    if message.flags & WITH_TEXT != 0 {
        // Behind the error stands the header of the refused message, and its body unless it was capped.
        let body = rest.get(..4).map_or(0, |l| u32::from_ne_bytes([l[0], l[1], l[2], l[3]]) as usize);
        let skip = if message.flags & CAPPED != 0 { super::HEADER } else { super::align(body) };
        let attributes = Attributes::new(rest.get(skip..).unwrap_or_default());
        text = attributes
            .flatten()
            .find(|a| a.kind == ERROR_MESSAGE)
            .and_then(|a| a.text().ok())
            .map(ToString::to_string);
    }
    Ok(Some(Error::Refused { what, index, errno, text }))
}
