//! A connection to systemd's manager: directly (`/run/systemd/private` and the user's), where PID 1 itself answers, or
//! through a message bus.
//!
//! One connection serves one operation and has one deadline for all that it waits for.

use super::wire::{self, HEAD, Message, Method, Writer};
use crate::{Error, Result};
use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use rustix::fd::{AsFd, OwnedFd};
use tare_sys::{clock, socket};
use tare_types::ErrorKind;

pub(super) const OPERATION: &str = "systemd cgroup driver";
/// runc's value.
const LIMIT_MILLIS: u64 = 30_000;
/// A line of the authentication.
const LONGEST_LINE: usize = 512;
/// Ends of jobs that are remembered; those of others come by, too.
const MOST_ENDS: usize = 256;
/// The object that everything is asked of.
const MANAGER: Method<'static> = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
    signature: "",
};
const BUS: Method<'static> = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    signature: "",
};
const JOBS: &str = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection after its authentication.
#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    place: String,
    deadline: u64,
    serial: u32,
    /// Read, and not looked at yet.
    pending: Vec<u8>,
    /// Jobs that have ended, with their results.
    ends: Vec<(String, String)>,
    version: Option<u32>,
}

impl Bus {
    /// Connects to the first of these addresses that lets one in.
    pub(super) fn connect(addresses: &[String]) -> Result<Self> {
        let mut complaints = Vec::new();
        let mut kind = ErrorKind::FailedPrecondition;
        for address in addresses.iter().flat_map(|list| list.split(';')).filter(|one| !one.is_empty()) {
            let Some(place) = socket_name(address) else {
                complaints.push(format!("{address}: not a path or an abstract name of a unix socket"));
                continue;
            };
            match Self::open(&place) {
                Ok(bus) => return Ok(bus),
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound {
                        kind = error.kind();
                    }
                    complaints.push(error.to_string());
                }
            }
        }
        Err(Error::new(kind, OPERATION, complaints.join("; "), ""))
    }

    fn open(place: &str) -> Result<Self> {
        let socket = socket::connect_within(place, Duration::from_millis(LIMIT_MILLIS))
            .map_err(|error| Error::system("", error))?;
        let direct = place.ends_with("/systemd/private");
        let mut bus = Self::new(socket, place, LIMIT_MILLIS);
        bus.authenticate()?;
        if !direct {
            // A bus wants to be greeted, and passes on only the signals that are asked for. It goes through a client's
            // messages in their order: nobody waits for these two. If one is refused, the next call says so.
            bus.send(&BUS, &[])?;
            let mut rule = Writer::default();
            rule.text(JOBS);
            bus.send(&Method { member: "AddMatch", signature: "s", ..BUS }, &rule.done())?;
        }
        Ok(bus)
    }

    fn new(socket: OwnedFd, place: &str, limit: u64) -> Self {
        Self {
            socket,
            place: place.to_owned(),
            deadline: clock::monotonic_millis() + limit,
            serial: 0,
            pending: Vec::new(),
            ends: Vec::new(),
            version: None,
        }
    }

    /// EXTERNAL without a name: the peer takes it from the socket's credentials, and so in its own user namespace.
    ///
    /// All of it at once, and nothing more until it is answered: systemd does not look at a message that it has read
    /// together with BEGIN.
    fn authenticate(&mut self) -> Result<()> {
        self.send_bytes(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let (first, second) = (self.line()?, self.line()?);
        let is = |line: &str, word| line.split(' ').next() == Some(word);
        // Before version 246 systemd says OK to both.
        if (is(&first, "DATA") || is(&first, "OK")) && is(&second, "OK") {
            return Ok(());
        }
        let detail = format!("the authentication was refused: {first:?}, {second:?}");
        Err(self.fault(ErrorKind::PermissionDenied, detail))
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            if self.pending.len() > LONGEST_LINE {
                return Err(self.fault(ErrorKind::DataLoss, "a line without an end".to_owned()));
            }
            self.fill("the authentication")?;
        }
    }

    /// Calls a method of the manager and waits for the answer.
    ///
    /// `object` is the unit, for the error.
    pub(super) fn call(
        &mut self,
        member: &str,
        signature: &str,
        object: &str,
        body: Writer,
    ) -> Result<Message> {
        self.ask(&Method { member, signature, ..MANAGER }, object, body)
    }

    /// A property of the manager that is a text.
    pub(super) fn manager_property(&mut self, name: &str) -> Result<String> {
        let mut body = Writer::default();
        body.text(MANAGER.interface);
        body.text(name);
        let method = Method {
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
            ..MANAGER
        };
        let answer = self.ask(&method, name, body)?;
        answer.first_text().map(ToOwned::to_owned).ok_or_else(|| self.malformed())
    }

    /// systemd's version; asked once.
    pub(super) fn version(&mut self) -> Result<u32> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let text = self.manager_property("Version")?;
        // Distributions write `v252`, `252.38-1~deb12u1`, `245.4-4ubuntu3`.
        let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        let version = digits[..end].parse().map_err(|_| {
            self.fault(ErrorKind::DataLoss, format!("systemd's version {text:?} begins with no number"))
        })?;
        self.version = Some(version);
        Ok(version)
    }

    fn ask(&mut self, method: &Method<'_>, object: &str, body: Writer) -> Result<Message> {
        let what = format!("{} {object}", method.member);
        let serial = self.send(method, &body.done())?;
        loop {
            let message = self.next(&what)?;
            match message.kind {
                wire::METHOD_RETURN if message.answers == serial => return Ok(message),
                // An earlier call can only be the greeting.
                wire::ERROR if message.answers <= serial => return Err(refusal(&what, &message)),
                _ => self.note(&message),
            }
        }
    }

    /// Waits for the end of a job; its result, `done` if it succeeded.
    pub(super) fn wait_for_job(&mut self, answer: &Message, unit: &str) -> Result<String> {
        let job = answer.first_text().ok_or_else(|| self.malformed())?.to_owned();
        let what = format!("the job of {unit} ({job})");
        loop {
            if let Some((_, result)) = self.ends.iter().find(|(ended, _)| *ended == job) {
                return Ok(result.clone());
            }
            let message = self.next(&what)?;
            self.note(&message);
        }
    }

    /// Remembers the end of a job: it may come before the answer to the call that made the job.
    fn note(&mut self, message: &Message) {
        if message.kind != wire::SIGNAL || message.member != "JobRemoved" || message.signature != "uoss" {
            return;
        }
        let mut reader = message.reader();
        let (_, job, _, result) = (reader.number(), reader.text(), reader.text(), reader.text());
        if let (Some(job), Some(result)) = (job, result) {
            if self.ends.len() == MOST_ENDS {
                self.ends.remove(0);
            }
            self.ends.push((job.to_owned(), result.to_owned()));
        }
    }

    fn next(&mut self, what: &str) -> Result<Message> {
        loop {
            if let Some(head) = self.pending.first_chunk::<HEAD>() {
                let Some(length) = wire::length(head) else { return Err(self.malformed()) };
                if let Some(bytes) = self.pending.get(..length) {
                    let message = Message::parse(bytes);
                    self.pending.drain(..length);
                    return message.ok_or_else(|| self.malformed());
                }
            }
            self.fill(what)?;
        }
    }

    fn send(&mut self, method: &Method<'_>, body: &[u8]) -> Result<u32> {
        self.serial += 1;
        self.send_bytes(&wire::call(method, self.serial, body))?;
        Ok(self.serial)
    }

    fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        socket::send_all(&self.socket, bytes).map_err(|errno| self.system("send", errno))
    }

    /// Reads what there is, waiting for some.
    fn fill(&mut self, what: &str) -> Result<()> {
        let left = self.deadline.saturating_sub(clock::monotonic_millis());
        // A peer that always has something to say is too late, too.
        let readable = left > 0
            && tare_sys::process::has_ended(self.socket.as_fd(), left)
                .map_err(|error| Error::system(OPERATION, error))?;
        if !readable {
            let detail = format!("waited {LIMIT_MILLIS} ms for {what}");
            return Err(self.fault(ErrorKind::DeadlineExceeded, detail));
        }
        let mut bytes = [0; 4096];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut bytes))
            .map_err(|errno| self.system("read", errno))?;
        if length == 0 {
            let detail = format!("the connection was closed while waiting for {what}");
            return Err(self.fault(ErrorKind::Internal, detail));
        }
        self.pending.extend_from_slice(&bytes[..length]);
        Ok(())
    }

    fn system(&self, call: &'static str, errno: tare_sys::Errno) -> Error {
        Error::system(OPERATION, tare_sys::Error::new(call, self.place.as_str(), errno))
    }

    fn fault(&self, kind: ErrorKind, detail: String) -> Error {
        Error::new(kind, OPERATION, self.place.clone(), detail)
    }

    fn malformed(&self) -> Error {
        self.fault(ErrorKind::DataLoss, "what came is no D-Bus message that was expected".to_owned())
    }
}

/// An error that the other side has answered with.
fn refusal(what: &str, message: &Message) -> Error {
    let kind = match message.error.rsplit('.').next().unwrap_or_default() {
        "UnitExists" => ErrorKind::AlreadyExists,
        "NoSuchUnit" => ErrorKind::NotFound,
        "AccessDenied" | "InteractiveAuthorizationRequired" => ErrorKind::PermissionDenied,
        "InvalidArgs" | "PropertyReadOnly" | "UnknownProperty" => ErrorKind::InvalidArgument,
        "NoReply" | "Timeout" | "TimedOut" => ErrorKind::DeadlineExceeded,
        _ => ErrorKind::Internal,
    };
    let text = message.first_text().filter(|text| !text.is_empty());
    let detail = match text {
        Some(text) => format!("{text} ({})", message.error),
        None => message.error.to_string(),
    };
    Error::new(kind, OPERATION, what, detail)
}

/// The socket of an address of the form `unix:path=/a%20b,guid=…`; `@name` for an abstract one.
fn socket_name(address: &str) -> Option<String> {
    let parts = address.strip_prefix("unix:")?;
    let value = |key: &str| parts.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let (prefix, value) = match (value("path"), value("abstract")) {
        (Some(path), _) => ("", path),
        (None, Some(name)) => ("@", name),
        (None, None) => return None,
    };
    let mut name = prefix.as_bytes().to_vec();
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            name.push(*first);
            rest = tail;
            continue;
        }
        let digits = core::str::from_utf8(tail.get(..2)?).ok()?;
        name.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
#[path = "bus/tests.rs"]
mod tests;
