//! The fixed record in which the child tells what happened.

use rustix::io::Errno;

/// Bytes of a record on the pipe. Smaller than PIPE_BUF, so a record is never torn.
const RECORD_SIZE: usize = 12;

/// What a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// An operation failed; the child has ended.
    Failed,
    /// The child has reached [`crate::Stage::Hooks`] and waits.
    Hooks,
    /// The child has reached [`crate::Stage::Gate`] and waits.
    Ready,
    /// The child calls execve next: an end of file after this means that it worked.
    Executing,
}

/// A record from the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What it means.
    pub kind: ReportKind,
    /// Which operation of the list.
    pub op: u16,
    /// Which call, for a failure.
    pub call: Call,
    /// The errno of a failure; the exit code for [`Call::HookExit`]; else 0.
    pub code: i32,
}

impl Report {
    /// The size of a record in bytes.
    pub const SIZE: usize = RECORD_SIZE;

    /// The record's bytes.
    pub fn to_bytes(self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        bytes[0] = match self.kind {
            ReportKind::Failed => 1,
            ReportKind::Hooks => 2,
            ReportKind::Ready => 3,
            ReportKind::Executing => 4,
        };
        bytes[1] = self.call as u8;
        bytes[2..4].copy_from_slice(&self.op.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.code.to_ne_bytes());
        bytes
    }

    /// Reads a record's bytes; `None` for bytes that no child writes.
    pub fn from_bytes(bytes: [u8; RECORD_SIZE]) -> Option<Self> {
        let kind = match bytes[0] {
            1 => ReportKind::Failed,
            2 => ReportKind::Hooks,
            3 => ReportKind::Ready,
            4 => ReportKind::Executing,
            _ => return None,
        };
        let call = *CALLS.get(usize::from(bytes[1]))?;
        let op = u16::from_ne_bytes([bytes[2], bytes[3]]);
        let code = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        (0..4096).contains(&code).then_some(Self { kind, op, call, code })
    }
}

macro_rules! calls {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A system call, or a check, that can fail in the child.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "named like the calls")]
        pub enum Call { $($variant),+ }

        const CALLS: &[Call] = &[$(Call::$variant),+];

        impl Call {
            /// The name as its manual page has it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

calls! {
    None = "", Read = "read", Write = "write", Openat2 = "openat2", Open = "open", Mkdirat = "mkdirat",
    Mknodat = "mknodat", Symlinkat = "symlinkat", Chmod = "chmod", Chown = "chown", Fstat = "fstat",
    Statfs = "statfs", Fsopen = "fsopen", Fsconfig = "fsconfig", Fsmount = "fsmount", OpenTree = "open_tree",
    MoveMount = "move_mount", MountSetattr = "mount_setattr", Mount = "mount", Umount = "umount2",
    PivotRoot = "pivot_root", Chroot = "chroot", Chdir = "chdir", Fchdir = "fchdir", Getcwd = "getcwd",
    Setns = "setns", Unshare = "unshare", Setsid = "setsid", Keyctl = "keyctl", Sethostname = "sethostname",
    Setdomainname = "setdomainname", Socket = "socket", Ioctl = "ioctl", Sendmsg = "sendmsg", Dup = "dup3",
    Setrlimit = "setrlimit", Prctl = "prctl", Capset = "capset", Setgroups = "setgroups",
    Setresgid = "setresgid", Setresuid = "setresuid", Seccomp = "seccomp", CloseRange = "close_range",
    Execve = "execve", Clone = "clone3", Wait = "waitid", Lookup = "lookup", HookExit = "hook exit",
    HookTimeout = "hook timeout", NotADevice = "device check", Personality = "personality",
    SchedSetattr = "sched_setattr", IoprioSet = "ioprio_set", Outside = "working directory check",
    Copy = "copy", Getdents = "getdents64", Readlink = "readlinkat", SchedSetaffinity = "sched_setaffinity",
    SetMempolicy = "set_mempolicy", Sigaction = "rt_sigaction", Fcntl = "fcntl",
}

/// A failure inside an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) call: Call,
    pub(crate) errno: Errno,
}

pub(crate) type Outcome<T = ()> = Result<T, Failed>;

/// Names the call of a failed result.
pub(crate) trait At<T> {
    fn at(self, call: Call) -> Outcome<T>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: Call) -> Outcome<T> {
        self.map_err(|errno| Failed { call, errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        for (number, call) in CALLS.iter().enumerate() {
            assert_eq!(*call as usize, number);
            let report = Report { kind: ReportKind::Failed, op: 513, call: *call, code: 2 };
            assert_eq!(Report::from_bytes(report.to_bytes()), Some(report));
        }
        assert_eq!(Report::from_bytes([0; RECORD_SIZE]), None);
        assert_eq!(Report::from_bytes([0xff; RECORD_SIZE]), None);
    }
}
