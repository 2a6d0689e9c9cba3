//! CRIU's requests and answers, by the numbers of its `rpc.proto` (criu.org, "RPC").
//!
//! Only the messages and fields that a container needs. What an answer holds beyond them is passed over.

use super::message::{Fields, Message};
use alloc::{format, string::String};

/// `criu_req_type`.
pub(super) const DUMP: u32 = 1;
pub(super) const RESTORE: u32 = 2;
pub(super) const PRE_DUMP: u32 = 4;
pub(super) const NOTIFY: u32 = 6;
pub(super) const FEATURE_CHECK: u32 = 9;
pub(super) const VERSION: u32 = 10;

/// Fields of `criu_opts`.
pub(super) mod option {
    pub(crate) const IMAGES_DIR_FD: u32 = 1;
    pub(crate) const PID: u32 = 2;
    pub(crate) const LEAVE_RUNNING: u32 = 3;
    pub(crate) const EXT_UNIX_SK: u32 = 4;
    pub(crate) const TCP_ESTABLISHED: u32 = 5;
    pub(crate) const EVASIVE_DEVICES: u32 = 6;
    pub(crate) const SHELL_JOB: u32 = 7;
    pub(crate) const FILE_LOCKS: u32 = 8;
    pub(crate) const LOG_LEVEL: u32 = 9;
    pub(crate) const LOG_FILE: u32 = 10;
    pub(crate) const PAGE_SERVER: u32 = 11;
    pub(crate) const NOTIFY_SCRIPTS: u32 = 12;
    pub(crate) const ROOT: u32 = 13;
    pub(crate) const PARENT_IMG: u32 = 14;
    pub(crate) const TRACK_MEM: u32 = 15;
    pub(crate) const AUTO_DEDUP: u32 = 16;
    pub(crate) const WORK_DIR_FD: u32 = 17;
    pub(crate) const LINK_REMAP: u32 = 18;
    pub(crate) const EXT_MNT: u32 = 23;
    pub(crate) const MANAGE_CGROUPS: u32 = 24;
    pub(crate) const CG_ROOT: u32 = 25;
    pub(crate) const RST_SIBLING: u32 = 26;
    pub(crate) const INHERIT_FD: u32 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u32 = 34;
    pub(crate) const EXTERNAL: u32 = 37;
    pub(crate) const EMPTY_NS: u32 = 38;
    pub(crate) const JOIN_NS: u32 = 39;
    pub(crate) const FREEZE_CGROUP: u32 = 44;
    pub(crate) const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub(crate) const LAZY_PAGES: u32 = 48;
    pub(crate) const ORPHAN_PTS_MASTER: u32 = 50;
    pub(crate) const CONFIG_FILE: u32 = 51;
    pub(crate) const LSM_PROFILE: u32 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u32 = 63;
}

/// A request with options. The one that asks for them last leaves `more` off.
pub(super) fn request(kind: u32, options: Option<&Message>, more: bool) -> Message {
    let mut request = Message::default();
    request.unsigned(1, kind);
    if let Some(options) = options {
        request.message(2, options);
    }
    request.flag(4, more);
    request
}

/// Asks whether changed pages can be tracked and pages be brought later.
pub(super) fn feature_request() -> Message {
    let mut request = request(FEATURE_CHECK, None, true);
    request.nested(5, |features| {
        features.flag(1, true);
        features.flag(2, true);
    });
    request
}

/// What a notification is answered with.
pub(super) fn notified(success: bool) -> Message {
    let mut answer = Message::default();
    answer.unsigned(1, NOTIFY);
    answer.unsigned(3, u32::from(success));
    answer
}

/// A message of two texts: `ext_mount_map`, `join_namespace`, `cgroup_root`.
pub(super) fn pair(first: &str, second: &str) -> impl FnOnce(&mut Message) {
    move |message| {
        message.text(1, first);
        message.text(2, second);
    }
}

/// `inherit_fd`.
pub(super) fn inherit(key: &str, fd: i32) -> impl FnOnce(&mut Message) {
    move |message| {
        message.text(1, key);
        message.number(2, fd);
    }
}

/// What CRIU says (`criu_resp`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) kind: u32,
    pub(super) success: bool,
    /// What a notification is about, and the restored process as we see it, where there is one.
    pub(super) script: String,
    pub(super) pid: i32,
    pub(super) errno: i32,
    pub(super) text: String,
    /// The kernel tracks changed pages; pages can be brought later.
    pub(super) features: (bool, bool),
    pub(super) version: Version,
}

/// CRIU's version.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: i32,
    pub(super) minor: i32,
    pub(super) patch: i32,
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Response {
    /// Reads an answer; `None` for one that is torn or lacks what each has.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        let (mut has_kind, mut has_success) = (false, false);
        for field in Fields::of(bytes) {
            let (number, value) = field?;
            match number {
                1 => {
                    response.kind = u32::try_from(value.number()?).ok()?;
                    has_kind = true;
                }
                2 => {
                    response.success = value.number()? != 0;
                    has_success = true;
                }
                5 => response.read_notification(value.bytes()?)?,
                7 => response.errno = value.number()?,
                8 => response.features = features(value.bytes()?)?,
                9 => response.text = String::from_utf8_lossy(value.bytes()?).trim().into(),
                10 => response.version = version(value.bytes()?)?,
                _ => {}
            }
        }
        (has_kind && has_success).then_some(response)
    }

    fn read_notification(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => self.script = String::from_utf8_lossy(value.bytes()?).into_owned(),
                (2, value) => self.pid = value.number()?,
                _ => {}
            }
        }
        Some(())
    }

    /// A failure in runc's words.
    pub(super) fn failure(&self) -> String {
        let kind = match self.kind {
            DUMP => "DUMP",
            RESTORE => "RESTORE",
            PRE_DUMP => "PRE_DUMP",
            NOTIFY => "NOTIFY",
            FEATURE_CHECK => "FEATURE_CHECK",
            VERSION => "VERSION",
            other => return format!("type {other} errno {}", self.errno),
        };
        format!("type {kind} errno {}", self.errno)
    }
}

fn features(bytes: &[u8]) -> Option<(bool, bool)> {
    let mut features = (false, false);
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => features.0 = value.number()? != 0,
            (2, value) => features.1 = value.number()? != 0,
            _ => {}
        }
    }
    Some(features)
}

fn version(bytes: &[u8]) -> Option<Version> {
    let mut version = Version::default();
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => version.major = value.number()?,
            (2, value) => version.minor = value.number()?,
            (4, value) => version.patch = value.number()?,
            _ => {}
        }
    }
    Some(version)
}
