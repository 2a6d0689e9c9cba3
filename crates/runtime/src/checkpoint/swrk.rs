//! One `criu swrk`: started, spoken to, waited for.

use super::{
    Criu, excerpt,
    message::Message,
    rpc::{self, Response, Version},
};
use crate::{
    During, Error, Result,
    cgroup::Entrance,
    child::{self, Outcome, Pipe},
    plan::c_string,
    program::{array, descriptors, join_cgroups, pointers},
};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    process::WaitIdStatus,
};
use tare_launch::{CloneRequest, Op, Program, Spawned};
use tare_sys::Errno;
use tare_types::ErrorKind;

/// How long CRIU may be silent, in milliseconds: it writes gigabytes meanwhile, and with lazy pages it waits for
/// another machine.
const SILENCE_LIMIT: u64 = 24 * 3_600_000;
/// How long it may take to answer what needs no work, and to end when it is no longer spoken to, in milliseconds.
const SHORT_LIMIT: u64 = 60_000;
/// The longest message, in bytes.
const MESSAGE_LIMIT: usize = 64 << 10;
/// The oldest one with all that is asked for here: pid namespaces from outside, version 2's freezer, `status-ready`.
const OLDEST: Version = Version { major: 3, minor: 15, patch: 0 };

const MS_SLAVE: u32 = 1 << 19;
const MS_REC: u32 = 1 << 14;
const CLONE_NEWNS: u64 = 0x0002_0000;

/// What CRIU is started with.
pub(super) struct Setup<'a> {
    pub(super) criu: &'a Criu<'a>,
    pub(super) operation: &'static str,
    /// Path of its log, to be pointed at.
    pub(super) log: &'a str,
    /// Its standard streams; the caller's own ones without any.
    pub(super) streams: Option<[BorrowedFd<'a>; 3]>,
    /// Descriptors that it gets under their own numbers.
    pub(super) passed: &'a [BorrowedFd<'a>],
    /// Cgroups and resctrl's groups that it joins.
    pub(super) entrance: Option<(&'a Entrance, &'a [OwnedFd])>,
    /// A tree that it finds at a path, which nobody else sees there.
    pub(super) root: Option<(BorrowedFd<'a>, &'a CStr)>,
}

/// A running one. It is made to end when this is dropped.
pub(super) struct Swrk {
    socket: Option<OwnedFd>,
    process: Option<Spawned>,
    operation: &'static str,
    log: String,
}

impl Swrk {
    pub(super) fn start(setup: &Setup<'_>) -> Result<Self> {
        let (ours, theirs) = tare_sys::socket::packet_pair().during(setup.operation)?;
        let candidates = setup.criu.candidates()?;
        let candidates: Vec<&CStr> = candidates.iter().map(CString::as_c_str).collect();
        let number = c_string("criu", &theirs.as_raw_fd().to_string())?;
        let arguments = pointers([c"criu", c"swrk", number.as_c_str()]);
        let environment: Vec<CString> =
            setup.criu.environment.iter().map(|entry| c_string("criu", entry)).collect::<Result<_>>()?;
        let environment = pointers(environment.iter().map(CString::as_c_str));
        let mut ops = setup.ops();
        ops.push(Op::KeepOnExec(theirs.as_fd()));
        ops.push(Op::FindProgram(&candidates));
        ops.push(Op::Execute(array(&arguments), array(&environment)));
        let report = Pipe::new()?;
        let keep = setup.keep(&ops, &report.write);
        ops.insert(0, Op::CloseOthers(&keep));
        let root = setup.root.map(|(tree, _)| tree);
        let program = Program { ops: &ops, report: report.write.as_fd(), root };
        let request = CloneRequest {
            namespaces: if root.is_some() { CLONE_NEWNS } else { 0 },
            cgroup: setup.entrance.and_then(|(entrance, _)| entrance.birthplace()),
        };
        let spawned = tare_launch::spawn(&request, &program)
            .map_err(|errno| Error::system(setup.operation, tare_sys::Error::new("clone3", "", errno)))?;
        let swrk = Self {
            socket: Some(ours),
            process: Some(spawned),
            operation: setup.operation,
            log: setup.log.to_string(),
        };
        drop(report.write);
        match child::outcome(report.read.as_fd(), child::SETUP_LIMIT, "criu to start")? {
            Outcome::Executed => Ok(swrk),
            Outcome::Failed(report) => Err(child::failure(setup.operation, &ops, setup.criu.program, report)),
            Outcome::Vanished => Err(swrk.error("it ended before it was executed")),
        }
    }

    /// As the host sees it.
    pub(super) fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    /// Asks for the version, which must be new enough.
    pub(super) fn version(&self) -> Result<Version> {
        self.send(&rpc::request(rpc::VERSION, None, true))?;
        let (answer, _) = self.receive(SHORT_LIMIT, "criu to tell its version")?;
        if !answer.success || answer.kind != rpc::VERSION {
            return Err(self.refusal(&answer));
        }
        if answer.version < OLDEST {
            let text = format!("version {} is too old, {OLDEST} or newer is needed", answer.version);
            return Err(Error::new(ErrorKind::Unimplemented, self.operation, "criu", text));
        }
        Ok(answer.version)
    }

    /// Whether this kernel tracks changed pages, and whether pages can be brought later.
    pub(super) fn features(&self) -> Result<(bool, bool)> {
        self.send(&rpc::feature_request())?;
        let (answer, _) = self.receive(SHORT_LIMIT, "criu to tell its features")?;
        if answer.success { Ok(answer.features) } else { Err(self.refusal(&answer)) }
    }

    /// Has a job done. `notice` hears what CRIU tells meanwhile; when it fails, CRIU gives up and takes back what it did.
    pub(super) fn job(
        &self,
        request: &Message,
        mut notice: impl FnMut(&Response, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        let mut refused = None;
        loop {
            let received = self.receive(SILENCE_LIMIT, "criu to go on");
            let (answer, fd) = match (received, refused.take()) {
                (Ok(answered), kept) => {
                    refused = kept;
                    answered
                }
                // Its end is then only the consequence.
                (Err(_), Some(error)) | (Err(error), None) => return Err(error),
            };
            if answer.kind == rpc::NOTIFY && answer.success {
                if let Err(error) = notice(&answer, fd) {
                    refused.get_or_insert(error);
                }
                self.send(&rpc::notified(refused.is_none()))?;
                continue;
            }
            return match refused {
                Some(error) => Err(error),
                None if answer.success => Ok(answer),
                None => Err(self.refusal(&answer)),
            };
        }
    }

    /// Says good-bye and waits for the end.
    pub(super) fn finish(&mut self) -> Result<WaitIdStatus> {
        drop(self.socket.take());
        let process = self.process.take().expect("invariant: only this and the drop take the process");
        match tare_sys::process::reap_within(process.pidfd.as_fd(), SHORT_LIMIT) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.process = Some(process);
                Err(Error::system("wait for criu", error))
            }
        }
    }

    /// A failure with the reason that the log has, and the log's path.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        self.failure(what.into(), &excerpt::errors(&self.log))
    }

    /// The same for an answer, which has the reason itself since version 3.17.
    fn refusal(&self, answer: &Response) -> Error {
        match answer.text.as_str() {
            "" => self.error(answer.failure()),
            reason => self.failure(answer.failure(), reason),
        }
    }

    fn failure(&self, what: String, reason: &str) -> Error {
        let between = if reason.is_empty() { "" } else { ": " };
        let detail = format!("{reason}{between}log file: {}", self.log);
        Error::new(ErrorKind::Internal, "criu failed", what, detail)
    }

    fn send(&self, message: &Message) -> Result<()> {
        let socket = self.socket.as_ref().expect("invariant: nothing is sent after the end");
        tare_sys::socket::send_packet(socket, message.as_bytes())
            .map_err(|error| self.error(error.to_string()))
    }

    fn receive(&self, limit: u64, what: &str) -> Result<(Response, Option<OwnedFd>)> {
        let socket = self.socket.as_ref().expect("invariant: nothing is received after the end");
        if !tare_sys::process::has_ended(socket.as_fd(), limit).during(self.operation)? {
            let text = format!("waited {limit} ms for {what}");
            return Err(Error::new(ErrorKind::DeadlineExceeded, self.operation, text, ""));
        }
        let mut buffer = alloc::vec![0; MESSAGE_LIMIT];
        let (length, fd) = match tare_sys::socket::receive_packet(socket, &mut buffer) {
            // It went without reading what it was told.
            Err(error) if error.errno() == Errno::CONNRESET => (0, None),
            received => received.during(self.operation)?,
        };
        if length == 0 {
            return Err(self.error("it ended without an answer"));
        }
        let response = Response::parse(&buffer[..length]);
        Ok((response.ok_or_else(|| self.error("its answer cannot be read"))?, fd))
    }
}

impl Drop for Swrk {
    fn drop(&mut self) {
        // Without somebody to speak to it takes back what it did, and ends.
        drop(self.socket.take());
        let Some(process) = self.process.take() else { return };
        let pidfd = process.pidfd.as_fd();
        if tare_sys::process::reap_within(pidfd, SHORT_LIMIT).is_err() {
            // The error that led here is the one to be seen; a child that cannot be ended stays, visible by its name.
            let _ = tare_sys::process::send_signal(pidfd, 9);
            let _ = tare_sys::process::reap_within(pidfd, child::KILL_LIMIT);
        }
    }
}

impl<'a> Setup<'a> {
    fn ops(&self) -> Vec<Op<'a>> {
        let mut ops = Vec::new();
        if let Some((entrance, groups)) = self.entrance {
            join_cgroups(&mut ops, entrance, groups);
        }
        if let Some((_, path)) = self.root {
            ops.push(Op::Propagation(MS_SLAVE | MS_REC));
            ops.push(Op::AttachRoot(Some(path)));
        }
        ops.extend(self.streams.map(Op::Streams));
        ops.extend(self.passed.iter().map(|fd| Op::KeepOnExec(*fd)));
        ops
    }

    /// What the child still needs, sorted.
    fn keep(&self, ops: &[Op<'_>], report: &OwnedFd) -> Vec<RawFd> {
        let own = if self.streams.is_none() { 0..3 } else { 0..0 };
        let root = self.root.iter().map(|(tree, _)| tree.as_raw_fd());
        let mut keep: Vec<RawFd> =
            own.chain(descriptors(ops)).chain(root).chain([report.as_raw_fd()]).collect();
        keep.sort_unstable();
        keep.dedup();
        keep
    }
}
