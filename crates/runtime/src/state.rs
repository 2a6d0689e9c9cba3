//! The state file of a container, `<root>/<id>/state.json`, in the shape of runc's.
//!
//! `docs/formats/state.md` describes it. What runc's shape has no place for is in the object `tare`. The file is
//! written once, when the first process exists; whether the container is created, running or
//! stopped is asked of the kernel, not stored.

use crate::{During, Error, Result, rdt::RdtGroup};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
};
use serde::{Deserialize, Serialize};
use tare_sys::{Context, Errno, RootDir};
use tare_types::{
    ErrorKind, Timestamp,
    spec::{Hook, LinuxMemoryPolicy, LinuxPersonality},
};

/// Present while the first process waits for `start`: its gate. A byte goes in, and the reports on the program come
/// back out.
pub(crate) const GATE_FIFO: &str = "exec.fifo";
/// Directory of the socket by which the container's program says that it is ready.
pub(crate) const NOTIFY: &str = "notify";
const STATE_FILE: &str = "state.json";
const SECCOMP_FILE: &str = "seccomp.bpf";
/// What the line of a systemd unit begins with; no controller's name has the sign.
const UNIT: &str = "unit=";
const LIMIT: usize = 16 << 20;
const PAGE: usize = 4096;

/// The file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateFile {
    pub(crate) id: String,
    pub(crate) init_process_pid: i32,
    /// Clock ticks since boot.
    pub(crate) init_process_start: u64,
    pub(crate) created: Timestamp,
    pub(crate) config: Config,
    pub(crate) rootless: bool,
    pub(crate) cgroup_paths: BTreeMap<String, String>,
    pub(crate) namespace_paths: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) external_descriptors: Vec<String>,
    #[serde(default)]
    pub(crate) intel_rdt_path: String,
    pub(crate) tare: Extension,
}

/// The part of runc's configuration that tools read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) rootfs: String,
    pub(crate) readonlyfs: bool,
    pub(crate) hostname: String,
    pub(crate) namespaces: Vec<ConfigNamespace>,
    pub(crate) cgroups: ConfigCgroups,
    /// `bundle=<path>` and the annotations as `key=value`.
    pub(crate) labels: Vec<String>,
    pub(crate) no_new_keyring: bool,
    pub(crate) rootless_euid: bool,
    pub(crate) version: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigNamespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigCgroups {
    pub(crate) name: String,
    pub(crate) path: String,
    /// Always empty: runc kills and deletes a container only whose file has a field of the cgroup's resources.
    pub(crate) devices: Vec<String>,
    /// Of a scope: its slice as it was given, and what is before `name` in its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) parent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) scope_prefix: String,
    #[serde(rename = "Systemd", skip_serializing_if = "is_false")]
    pub(crate) systemd: bool,
    /// The user's systemd.
    #[serde(rename = "Rootless", skip_serializing_if = "is_false")]
    pub(crate) rootless: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What is Tare's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extension {
    /// Of this object; 1.
    pub(crate) version: u32,
    /// The container's scope, if systemd made its cgroups.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
    pub(crate) bundle: String,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Name of the first process's program, as configured; for messages.
    pub(crate) program: String,
    /// Kinds of namespace that a further process joins, as runc names them.
    pub(crate) namespaces: Vec<String>,
    /// The first process's root is its own: setgroups(2) is denied where this says so.
    pub(crate) deny_setgroups: bool,
    /// Of the container, for processes that join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<LinuxPersonality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<LinuxMemoryPolicy>,
    /// The seccomp agent: its socket, and the text for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<(String, String)>,
    /// Directories of resctrl: those that processes join, and those made for the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rdt_joined: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rdt_made: Vec<String>,
    /// Milliseconds that `startContainer` hooks may take.
    pub(crate) start_limit: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststart: Vec<Hook>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststop: Vec<Hook>,
}

impl Extension {
    pub(crate) fn rdt(&self) -> RdtGroup {
        RdtGroup { joined: self.rdt_joined.clone(), made: self.rdt_made.clone() }
    }
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: String,
    id: String,
    dir: RootDir,
}

impl StateDir {
    /// Makes the directory; it must not exist.
    pub(crate) fn create(root: &str, id: &str) -> Result<Self> {
        let path = format!("{root}/{id}");
        let mode = Mode::from_raw_mode(0o711);
        let made = match fs::mkdir(path.as_str(), mode) {
            Err(Errno::NOENT) => {
                tare_sys::file::make_dir_all(root, 0o711).during("make the state directory")?;
                fs::mkdir(path.as_str(), mode)
            }
            made => made,
        };
        match made {
            Ok(()) => Self::open(root, id),
            Err(Errno::EXIST) => {
                let text = "container with given ID already exists";
                Err(Error::new(ErrorKind::AlreadyExists, text, "", ""))
            }
            Err(errno) => {
                Err(Error::system("make the state directory", tare_sys::Error::new("mkdir", path, errno)))
            }
        }
    }

    /// Opens the directory of a container that exists.
    pub(crate) fn open(root: &str, id: &str) -> Result<Self> {
        let path = format!("{root}/{id}");
        match RootDir::open_ambient(&path) {
            Ok(dir) => Ok(Self { root: root.to_string(), id: id.to_string(), dir }),
            Err(error) if error.is_not_found() => {
                Err(Error::new(ErrorKind::NotFound, "container does not exist", "", ""))
            }
            Err(error) => Err(Error::system("open the state directory", error)),
        }
    }

    pub(crate) fn load(&self) -> Result<StateFile> {
        match self.read()? {
            // It may just have been written over its beginning.
            Err(_) => self.read()?,
            read => read,
        }
        .map_err(|error| {
            Error::new(ErrorKind::DataLoss, "read the state", self.path(STATE_FILE), error.to_string())
        })
    }

    fn read(&self) -> Result<serde_json::Result<StateFile>> {
        match tare_sys::file::read_at(&self.dir, STATE_FILE, LIMIT) {
            Ok(bytes) if is_whole(&bytes) => Ok(serde_json::from_slice(&bytes)),
            Err(error) if !error.is_not_found() => Err(Error::system("read the state", error)),
            // Being created by another process, or left by one that died meanwhile.
            _ => Err(Error::new(ErrorKind::NotFound, "container does not exist", "", "")),
        }
    }

    /// Begins the state with the cgroups before they are made, one `controller directory` a line, and `unit=` with that of
    /// systemd: who comes after a process that was killed finds by this what it left. One file for both, since making
    /// one is dear on a disk.
    pub(crate) fn begin(&self, paths: &BTreeMap<String, String>, unit: Option<&str>) -> Result<BegunState> {
        let mut text = unit.map_or_else(String::new, |unit| format!("{UNIT}{unit}\n"));
        for (controller, directory) in paths {
            text.push_str(&format!("{controller} {directory}\n"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.dir, STATE_FILE, flags, Mode::from_raw_mode(0o600))
            .on("openat", || self.path(STATE_FILE))
            .during("write the state")?;
        tare_sys::file::write_fd(&file, text.as_bytes())
            .on("write", || self.path(STATE_FILE))
            .during("write the state")?;
        Ok(BegunState { file, length: text.len(), path: self.path(STATE_FILE) })
    }

    /// What [`StateDir::begin`] has named; nothing if that was not reached.
    pub(crate) fn load_cgroups(&self) -> Result<(BTreeMap<String, String>, Option<String>)> {
        let text = match tare_sys::file::read_at(&self.dir, STATE_FILE, LIMIT) {
            Ok(text) if is_whole(&text) => Vec::new(),
            Err(error) if error.is_not_found() => Vec::new(),
            text => text.during("read the state")?,
        };
        let entry = |line: &str| {
            let (controller, directory) = line.split_once(' ')?;
            directory.starts_with('/').then(|| (controller.to_string(), directory.to_string()))
        };
        let text = String::from_utf8_lossy(&text);
        let unit = text.lines().find_map(|line| line.strip_prefix(UNIT)).map(ToString::to_string);
        Ok((text.lines().filter_map(entry).collect(), unit))
    }

    /// Keeps the compiled filter for processes that join later.
    pub(crate) fn store_seccomp(&self, flags: u32, filter: &[tare_launch::SockFilter]) -> Result<()> {
        let mut bytes = Vec::with_capacity(4 + filter.len() * 8);
        bytes.extend_from_slice(&flags.to_le_bytes());
        for instruction in filter {
            bytes.extend_from_slice(&instruction.code.to_le_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_le_bytes());
        }
        tare_sys::file::create_at(&self.dir, SECCOMP_FILE, &bytes, 0o600).during("write the filter")
    }

    /// The compiled filter, if the container has one: flags and instructions.
    pub(crate) fn load_seccomp(&self) -> Result<Option<(u32, Vec<tare_launch::SockFilter>)>> {
        let bytes = match tare_sys::file::read_at(&self.dir, SECCOMP_FILE, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(Error::system("read the filter", error)),
        };
        decode_seccomp(&bytes).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::DataLoss, "read the filter", self.path(SECCOMP_FILE), "it is torn")
        })
    }

    pub(crate) fn make_notify(&self) -> Result<()> {
        fs::mkdirat(&self.dir, NOTIFY, Mode::from_raw_mode(0o755))
            .on("mkdirat", || self.path(NOTIFY))
            .during("make the directory of the notify socket")
    }

    pub(crate) fn make_fifo(&self, name: &str) -> Result<()> {
        fs::mknodat(&self.dir, name, fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .on("mknodat", || self.path(name))
            .during("make the gate")
    }

    pub(crate) fn open_file(&self, name: &str, flags: OFlags) -> tare_sys::Result<OwnedFd> {
        fs::openat(&self.dir, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .on("openat", || self.path(name))
    }

    /// The gate, if a first process waits behind it. One that nobody waits behind is left by a `start` that was
    /// killed, or by a first process that was.
    pub(crate) fn open_gate(&self) -> Result<Option<OwnedFd>> {
        match self.open_file(GATE_FIFO, OFlags::WRONLY | OFlags::NONBLOCK) {
            Ok(gate) => Ok(Some(gate)),
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NXIO) => Ok(None),
            Err(error) => Err(Error::system("open the gate", error)),
        }
    }

    /// Ends the first process that waits behind the gate, if there is one; waits until it has, at most `limit`
    /// milliseconds.
    pub(crate) fn abandon_gate(&self, limit: u64) -> Result<()> {
        const OPERATION: &str = "end the first process";
        let Some(gate) = self.open_gate()? else { return Ok(()) };
        tare_sys::file::write_fd(&gate, &[tare_launch::ABANDON])
            .on("write", || self.path(GATE_FIFO))
            .during(OPERATION)?;
        // The other end is closed when the last of its holders is gone.
        let timeout = Timespec { tv_sec: (limit / 1000) as i64, tv_nsec: (limit % 1000 * 1_000_000) as i64 };
        let mut fds = [PollFd::new(&gate, PollFlags::empty())];
        let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))
            .on("poll", || self.path(GATE_FIFO))
            .during(OPERATION)?;
        if ended > 0 {
            return Ok(());
        }
        let detail = format!("it did not within {limit} ms");
        Err(Error::new(ErrorKind::DeadlineExceeded, OPERATION, self.path(GATE_FIFO), detail))
    }

    pub(crate) fn remove_file(&self, name: &str) {
        // Missing is fine; whatever else is wrong shows when the directory is removed.
        let _ = fs::unlinkat(&self.dir, name, AtFlags::empty());
    }

    /// Removes the directory and what is in it.
    pub(crate) fn remove(&self) -> Result<()> {
        let path = format!("{}/{}", self.root, self.id);
        // Mostly this is all there is.
        self.remove_file(STATE_FILE);
        let mut removed = fs::rmdir(path.as_str());
        if removed == Err(Errno::NOTEMPTY) {
            for name in [GATE_FIFO, SECCOMP_FILE] {
                self.remove_file(name);
            }
            removed = fs::rmdir(path.as_str());
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY) => RootDir::open_ambient(&self.root)
                .and_then(|root| root.remove_all(&self.id))
                .during("remove the state"),
            Err(errno) => Err(Error::system("remove the state", tare_sys::Error::new("rmdir", path, errno))),
        }
    }

    /// Whether something of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.root, self.id)
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A state that so far says where its container's cgroups will be.
#[derive(Debug)]
pub(crate) struct BegunState {
    file: OwnedFd,
    length: usize,
    path: String,
}

impl BegunState {
    /// Writes the state in the place of its beginning. A write of one page is done or not done, whoever is killed
    /// meanwhile: the first page goes last.
    pub(crate) fn complete(&self, state: &StateFile) -> Result<()> {
        let mut bytes = encode(state)?;
        // Nothing of the beginning stays; blanks behind a document mean nothing.
        bytes.resize(bytes.len().max(self.length), b' ');
        let (first, rest) = bytes.split_at(bytes.len().min(PAGE));
        self.write(rest, PAGE)?;
        self.write(first, 0)
    }

    fn write(&self, mut bytes: &[u8], mut at: usize) -> Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, at as u64))
                .on("pwrite", || self.path.as_str())
                .during("write the state")?;
            bytes = bytes.get(written..).unwrap_or_default();
            at += written;
        }
        Ok(())
    }
}

/// Whether the file holds a state, and not its beginning.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{')
}

fn encode(state: &StateFile) -> Result<Vec<u8>> {
    serde_json::to_vec(state)
        .map_err(|error| Error::new(ErrorKind::Internal, "write the state", "", error.to_string()))
}

fn decode_seccomp(bytes: &[u8]) -> Option<(u32, Vec<tare_launch::SockFilter>)> {
    let (flags, instructions) = bytes.split_first_chunk::<4>()?;
    let (chunks, rest) = instructions.as_chunks::<8>();
    let decode = |b: &[u8; 8]| tare_launch::SockFilter {
        code: u16::from_le_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    };
    rest.is_empty().then(|| (u32::from_le_bytes(*flags), chunks.iter().map(decode).collect()))
}

/// Checks an identifier (runc's alphabet).
pub(crate) fn check_id(id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "invalid container ID format",
            format!("{id:?}"),
            "",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "A_b+c-d.e", "...", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "../x", "a\0", &"x".repeat(1025)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn torn_filters_are_seen() {
        assert!(decode_seccomp(&[1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0xff, 0x7f]).is_some());
        assert!(decode_seccomp(&[1, 0, 0, 0, 6]).is_none());
        assert!(decode_seccomp(&[1]).is_none());
    }
}
