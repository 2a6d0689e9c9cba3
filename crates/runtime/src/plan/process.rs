//! A process: arguments, environment, identity, limits, filter.

use super::c_string;
use crate::{Error, Result, seccomp};
use alloc::{
    collections::BTreeSet,
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    process::{Resource, Rlimit},
    thread::Gid,
};
use tare_launch::{SockFilter, WindowSize};
use tare_types::spec::{
    LinuxCapabilities, LinuxIoPriority, LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, PosixRlimit,
    Process, Scheduler,
};

/// A process as it will be started.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Where the program may be, in order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) terminal: bool,
    pub(crate) window: Option<WindowSize>,
    pub(crate) identity: IdentityPlan,
    pub(crate) umask: u32,
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score: Option<String>,
    pub(crate) personality: Option<u32>,
    pub(crate) scheduler: Option<Vec<u8>>,
    pub(crate) io_priority: Option<u32>,
    pub(crate) memory_policy: Option<(u32, Vec<u64>)>,
    /// Of a process that joins: before it enters the cgroup, and when its program starts.
    pub(crate) affinity: (Option<Vec<u64>>, Option<Vec<u64>>),
    pub(crate) seccomp: Option<SeccompPlan>,
    pub(crate) apparmor: Option<String>,
    pub(crate) selinux: Option<String>,
    /// `HOME` is not in the environment: it is looked up in the container's `/etc/passwd`.
    pub(crate) wants_home: bool,
}

/// Ids, capability sets and the working directory.
#[derive(Debug)]
pub(crate) struct IdentityPlan {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<Gid>,
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
    pub(crate) cwd: CString,
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub(crate) struct SeccompPlan {
    pub(crate) filter: Vec<SockFilter>,
    pub(crate) flags: u32,
    /// Socket that gets the listener, and the text that goes with it.
    pub(crate) listener: Option<(String, String)>,
}

impl ProcessPlan {
    pub(crate) fn new(
        process: &Process,
        profile: Option<&LinuxSeccomp>,
        personality: Option<&LinuxPersonality>,
        memory_policy: Option<&LinuxMemoryPolicy>,
    ) -> Result<Self> {
        let name = process.args.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::invalid("process.args", "args must not be empty"))?;
        if !process.cwd.starts_with('/') {
            return Err(Error::invalid(
                "process.cwd",
                format!("cwd must be an absolute path, not {:?}", process.cwd),
            ));
        }
        if !(process.selinux_label.is_empty() || process.apparmor_profile.is_empty()) {
            // Both are told to the kernel through one file, which only one of them reads.
            return Err(Error::invalid("process", "it has an SELinux label and an AppArmor profile"));
        }
        let size = process.console_size.filter(|_| process.terminal);
        let environment = environment(&process.env);
        Ok(Self {
            arguments: strings("process.args", &process.args)?,
            wants_home: !environment.iter().any(|entry| entry.starts_with("HOME=")),
            environment: environment
                .into_iter()
                .map(|text| c_string("process.env", text))
                .collect::<Result<_>>()?,
            candidates: candidates(name, &process.env)?,
            terminal: process.terminal,
            window: size.map(|size| WindowSize { rows: clamp(size.height), columns: clamp(size.width) }),
            identity: IdentityPlan::new(process)?,
            umask: process.user.umask.unwrap_or(0o022) & 0o777,
            limits: limits(&process.rlimits)?,
            no_new_privileges: process.no_new_privileges,
            oom_score: oom_score(process.oom_score_adj)?,
            personality: personality.map(domain).transpose()?,
            scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
            io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
            seccomp: profile.map(SeccompPlan::compile).transpose()?.flatten(),
            apparmor: label(&process.apparmor_profile)?,
            selinux: selinux_label("process.selinuxLabel", &process.selinux_label)?,
            memory_policy: memory_policy.map(super::memory::policy).transpose()?,
            affinity: affinity(process)?,
        })
    }
}

/// The order to the kernel that makes the profile that of the next execve.
fn label(profile: &str) -> Result<Option<String>> {
    if profile.contains(|c: char| c.is_control()) {
        return Err(Error::invalid(
            "process.apparmorProfile",
            format!("{profile:?} is no name of a profile"),
        ));
    }
    Ok((!profile.is_empty()).then(|| format!("exec {profile}")))
}

/// A label, checked to be one line: the kernel reads it up to a line's end.
pub(super) fn selinux_label(object: &str, label: &str) -> Result<Option<String>> {
    if label.contains(|c: char| c.is_control()) {
        return Err(Error::invalid(object, format!("{label:?} is no label")));
    }
    Ok((!label.is_empty()).then(|| label.to_string()))
}

impl SeccompPlan {
    fn compile(profile: &LinuxSeccomp) -> Result<Option<Self>> {
        let program = seccomp::compile(profile, seccomp::Arch::NATIVE)
            .map_err(|error| Error::invalid("linux.seccomp", error.to_string()))?;
        let Some(program) = program else { return Ok(None) };
        let listener = program
            .has_listener()
            .then(|| (profile.listener_path.clone(), profile.listener_metadata.clone()));
        if listener.as_ref().is_some_and(|(path, _)| path.is_empty()) {
            return Err(Error::invalid("linux.seccomp.listenerPath", "SCMP_ACT_NOTIFY needs it"));
        }
        Ok(Some(Self { filter: program.instructions, flags: program.flags, listener }))
    }
}

impl IdentityPlan {
    fn new(process: &Process) -> Result<Self> {
        let user = &process.user;
        let none = LinuxCapabilities::default();
        let sets = process.capabilities.as_ref().unwrap_or(&none);
        // (uid_t)-1 means "leave it" to the kernel, never a user.
        if user.uid == u32::MAX || user.gid == u32::MAX {
            return Err(Error::invalid("process.user", "id 4294967295 is no user or group"));
        }
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups: user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            bounding: mask(&sets.bounding),
            effective: mask(&sets.effective),
            permitted: mask(&sets.permitted),
            inheritable: mask(&sets.inheritable),
            // Others the kernel refuses to raise; runc and crun go on without them.
            ambient: mask(&sets.ambient) & mask(&sets.permitted) & mask(&sets.inheritable),
            cwd: c_string("process.cwd", &super::clean(&process.cwd))?,
        })
    }
}

/// Unknown names are left out, as in runc: a newer caller may know more than this build.
fn mask(names: &[String]) -> u64 {
    names
        .iter()
        .filter_map(|name| tare_sys::capability::parse(name))
        .fold(0, |mask, number| mask | (1 << number))
}

fn strings(object: &str, texts: &[String]) -> Result<Vec<CString>> {
    texts.iter().map(|text| c_string(object, text)).collect()
}

/// Each variable once, with the value that it was given last; an empty `HOME` counts as none (as in runc).
pub(super) fn environment(entries: &[String]) -> Vec<&str> {
    let mut given = BTreeSet::new();
    let mut once: Vec<&str> = Vec::with_capacity(entries.len());
    for entry in entries.iter().rev() {
        let is_last = match entry.split_once('=') {
            Some((name, _)) => given.insert(name),
            // What is no assignment hides none.
            None => !given.contains(entry.as_str()),
        };
        if is_last && entry != "HOME=" {
            once.push(entry);
        }
    }
    once.reverse();
    once
}

type Masks = (Option<Vec<u64>>, Option<Vec<u64>>);

fn affinity(process: &Process) -> Result<Masks> {
    let Some(lists) = &process.exec_cpu_affinity else { return Ok((None, None)) };
    let mask = |list: &String| {
        let mask = || super::memory::mask("process.execCPUAffinity", list);
        (!list.is_empty()).then(mask).transpose()
    };
    Ok((mask(&lists.initial)?, mask(&lists.last)?))
}

fn clamp(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// A name with a slash is a path; others are looked for in `PATH` of the process's environment.
fn candidates(name: &str, env: &[String]) -> Result<Vec<CString>> {
    if name.contains('/') {
        return Ok(alloc::vec![c_string("process.args", name)?]);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| c_string("process.args", &format!("{}/{name}", directory.trim_end_matches('/'))))
        .collect()
}

fn limits(limits: &[PosixRlimit]) -> Result<Vec<(Resource, Rlimit)>> {
    let mut seen = Vec::with_capacity(limits.len());
    for limit in limits {
        let resource = resource(&limit.kind).ok_or_else(|| {
            Error::invalid("process.rlimits", format!("invalid rlimit type: {:?}", limit.kind))
        })?;
        if seen.iter().any(|(known, _)| *known == resource) {
            return Err(Error::invalid("process.rlimits", format!("{:?} is there twice", limit.kind)));
        }
        let finite = |value: u64| (value != u64::MAX).then_some(value);
        seen.push((resource, Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) }));
    }
    Ok(seen)
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name.strip_prefix("RLIMIT_")? {
        "CPU" => Resource::Cpu,
        "FSIZE" => Resource::Fsize,
        "DATA" => Resource::Data,
        "STACK" => Resource::Stack,
        "CORE" => Resource::Core,
        "RSS" => Resource::Rss,
        "NPROC" => Resource::Nproc,
        "NOFILE" => Resource::Nofile,
        "MEMLOCK" => Resource::Memlock,
        "AS" => Resource::As,
        "LOCKS" => Resource::Locks,
        "SIGPENDING" => Resource::Sigpending,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

fn oom_score(score: Option<i32>) -> Result<Option<String>> {
    match score {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::invalid("process.oomScoreAdj", format!("{score} is not between -1000 and 1000")))
        }
        score => Ok(score.map(|score| score.to_string())),
    }
}

fn domain(personality: &LinuxPersonality) -> Result<u32> {
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::invalid("linux.personality", format!("domain {other:?} is not known"))),
    }
}

/// `struct sched_attr`, version 0: 48 bytes.
fn scheduler(wanted: &Scheduler) -> Result<Vec<u8>> {
    let unknown =
        |what: &str, word: &str| Error::invalid("process.scheduler", format!("{what} {word:?} is not known"));
    let policy: u32 = match wanted.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(unknown("policy", other)),
    };
    let mut flags = 0_u64;
    for flag in &wanted.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(unknown("flag", other)),
        };
    }
    let mut bytes = Vec::with_capacity(48);
    bytes.extend_from_slice(&48_u32.to_ne_bytes());
    bytes.extend_from_slice(&policy.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&wanted.nice.to_ne_bytes());
    bytes.extend_from_slice(&wanted.priority.to_ne_bytes());
    bytes.extend_from_slice(&wanted.runtime.to_ne_bytes());
    bytes.extend_from_slice(&wanted.deadline.to_ne_bytes());
    bytes.extend_from_slice(&wanted.period.to_ne_bytes());
    Ok(bytes)
}

fn io_priority(wanted: &LinuxIoPriority) -> Result<u32> {
    let class = match wanted.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::invalid("process.ioPriority", format!("class {other:?} is not known"))),
    };
    match u32::try_from(wanted.priority) {
        Ok(priority) if priority < 8 => Ok(class << 13 | priority),
        _ => Err(Error::invalid("process.ioPriority", format!("priority {} is not 0 to 7", wanted.priority))),
    }
}
