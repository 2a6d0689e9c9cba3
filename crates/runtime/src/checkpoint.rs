//! Checkpoint and restore through CRIU, a program of the host (criu.org; version 3.15 or newer).
//!
//! `criu swrk` is started for one job and spoken to over a socket. The containers, images and options are those of runc:
//! what one has written the other restores. A restored container's first process is a child of the caller, as a created
//! one's is.
//!
//! CRIU runs as root of the machine alone; nothing here is for ordinary users. Not here: bringing images to another
//! machine, and the root file system, which no image holds.

mod dump;
mod excerpt;
mod external;
mod message;
mod restore;
mod rpc;
mod swrk;
#[cfg(test)]
mod tests;

pub(crate) use dump::checkpoint;
pub(crate) use restore::{MARK, restore};

use crate::{CreateOptions, During, Error, Result, plan::c_string};
use alloc::{ffi::CString, format, string::String, vec::Vec};
use message::Message;
use rpc::option;
use rustix::{
    fd::{AsRawFd, BorrowedFd, OwnedFd},
    fs::OFlags,
};
use tare_types::spec::Spec;

/// The names of the standard streams, beside the images; runc's file.
const DESCRIPTORS: &str = "descriptors.json";

/// Where CRIU is.
#[derive(Debug, Clone, Copy)]
pub struct Criu<'a> {
    /// A name that is looked up in `path`, or a path.
    pub program: &'a str,
    /// Directories, separated by colons; empty for the usual ones.
    pub path: &'a str,
    /// `NAME=value`; CRIU starts programs of the host itself (tar, iptables, ip).
    pub environment: &'a [String],
}

impl Criu<'_> {
    /// The paths to try, in order.
    fn candidates(&self) -> Result<Vec<CString>> {
        const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        if self.program.contains('/') {
            return Ok([c_string("criu", self.program)?].into());
        }
        let path = if self.path.is_empty() { USUAL } else { self.path };
        let directories = path.split(':').filter(|directory| directory.starts_with('/'));
        directories.map(|directory| c_string("criu", &format!("{directory}/{}", self.program))).collect()
    }
}

/// What CRIU does about the cgroups that the processes were in (criu.org, "CGroups").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// What CRIU holds for right: `Soft`.
    #[default]
    Default,
    /// Nothing: the processes are in the cgroups of the container.
    Ignore,
    /// Values of cgroups that it makes are restored.
    Soft,
    /// All values are.
    Full,
    /// All values are, and the cgroups must not be there.
    Strict,
}

impl CgroupMode {
    /// By the word of `--manage-cgroups-mode`; empty for the default.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" => Self::Default,
            "ignore" => Self::Ignore,
            "soft" => Self::Soft,
            "full" => Self::Full,
            "strict" => Self::Strict,
            _ => return None,
        })
    }

    /// `criu_cg_mode`.
    fn number(self) -> u32 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
            Self::Default => 6,
        }
    }
}

/// What checkpoint and restore have in common.
#[derive(Debug, Clone, Copy)]
pub struct ImageOptions<'a> {
    /// The program.
    pub criu: Criu<'a>,
    /// Absolute path of the directory of the images.
    pub images: &'a str,
    /// Absolute path of the directory of the log and of CRIU's temporary files, made if it is missing; by default that
    /// of the images.
    pub work: Option<&'a str>,
    /// TCP connections may be open.
    pub tcp_established: bool,
    /// Unix sockets may be connected to the outside.
    pub ext_unix_sk: bool,
    /// The process may be of a session and a terminal from outside.
    pub shell_job: bool,
    /// File locks are held.
    pub file_locks: bool,
    /// Pages that a newer image holds are punched out of the older one.
    pub auto_dedup: bool,
    /// Pages stay where they are and are brought when they are touched.
    pub lazy_pages: bool,
    /// What to do about cgroups.
    pub cgroups: CgroupMode,
}

/// What to dump.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointOptions<'a> {
    /// Where and how.
    pub image: ImageOptions<'a>,
    /// The container's configuration.
    pub spec: &'a Spec,
    /// The image that this one builds on, relative to the directory of the images.
    pub parent: Option<&'a str>,
    /// The container goes on afterwards; else its processes end.
    pub leave_running: bool,
    /// Connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that were removed and are still open get a name for the time between.
    pub link_remap: bool,
    /// Only the memory, and the container goes on: what a later checkpoint builds on.
    pub pre_dump: bool,
    /// Address and port of a server that takes the pages; with `lazy_pages` the port at which CRIU serves them.
    pub page_server: Option<(&'a str, u16)>,
    /// Gets a zero byte when pages are served.
    pub status: Option<BorrowedFd<'a>>,
}

/// What to restore.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// Where and how.
    pub image: ImageOptions<'a>,
    /// The container as it would be created; `gate`, `keep_fds` and `no_pivot` mean nothing here.
    pub create: CreateOptions<'a>,
    /// `TYPE:NAME` of the profile that the processes get in the place of theirs.
    pub lsm_profile: Option<&'a str>,
    /// Mount context in the place of the one of the image.
    pub lsm_mount_context: Option<&'a str>,
}

/// The directories of a job. CRIU opens them through this process, by the descriptors' numbers.
struct Directories {
    images: OwnedFd,
    work: Option<OwnedFd>,
    /// Path of the log.
    log: String,
}

impl Directories {
    fn open(options: &ImageOptions<'_>, log: &str, operation: &'static str) -> Result<Self> {
        for (what, path) in [("image-path", Some(options.images)), ("work-path", options.work)] {
            if path.is_some_and(|path| !path.starts_with('/')) {
                return Err(Error::invalid(what, "it is not absolute"));
            }
        }
        let open =
            |path: &str| tare_sys::file::open(path, OFlags::RDONLY | OFlags::DIRECTORY, 0).during(operation);
        if let Some(work) = options.work {
            tare_sys::file::make_dir_all(work, 0o700).during(operation)?;
        }
        Ok(Self {
            images: open(options.images)?,
            work: options.work.map(open).transpose()?,
            log: format!("{}/{log}", options.work.unwrap_or(options.images)),
        })
    }

    /// The same directories in the mount namespace of a process: CRIU mounts in them, which it can only in its own.
    fn seen_by(self, pid: i32, operation: &'static str) -> Result<Self> {
        let again = |directory: &OwnedFd| {
            let path = format!("/proc/{pid}/root{}", external::path_of(directory)?);
            tare_sys::file::open(&path, OFlags::RDONLY | OFlags::DIRECTORY, 0).during(operation)
        };
        Ok(Self {
            images: again(&self.images)?,
            work: self.work.as_ref().map(again).transpose()?,
            log: self.log,
        })
    }

    /// The options that both jobs have, by the numbers of CRIU's.
    fn options(&self, options: &ImageOptions<'_>, spec: &Spec) -> Message {
        const CLONE_NEWNET: u32 = 0x4000_0000;
        let mut message = Message::default();
        message.number(option::IMAGES_DIR_FD, self.images.as_raw_fd());
        if let Some(work) = &self.work {
            message.number(option::WORK_DIR_FD, work.as_raw_fd());
        }
        message.number(option::LOG_LEVEL, 4);
        message.text(option::LOG_FILE, self.log.rsplit('/').next().unwrap_or(&self.log));
        message.flag(option::NOTIFY_SCRIPTS, true);
        message.flag(option::ORPHAN_PTS_MASTER, true);
        message.flag(option::TCP_ESTABLISHED, options.tcp_established);
        message.flag(option::EXT_UNIX_SK, options.ext_unix_sk);
        message.flag(option::SHELL_JOB, options.shell_job);
        message.flag(option::FILE_LOCKS, options.file_locks);
        message.flag(option::AUTO_DEDUP, options.auto_dedup);
        message.flag(option::LAZY_PAGES, options.lazy_pages);
        message.flag(option::MANAGE_CGROUPS, true);
        message.unsigned(option::MANAGE_CGROUPS_MODE, options.cgroups.number());
        // Interfaces are made by whoever makes networks, not by CRIU.
        message.unsigned(option::EMPTY_NS, CLONE_NEWNET);
        // A file of CRIU's own options for one container, or for all: runc's path, since it is about the same.
        match spec.annotations.get("org.criu.config").map(String::as_str) {
            None => message.text(option::CONFIG_FILE, "/etc/criu/runc.conf"),
            Some("") => {}
            Some(path) => message.text(option::CONFIG_FILE, path),
        }
        message
    }
}
