//! Making the directories. In the usual case (the parent exists) this is one mkdir(2) per tree.

use super::{Cgroup, CgroupOptions, limits, path, remove};
use crate::{Error, Result};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::fs::{Mode, mkdir};
use tare_sys::cgroup;
use tare_sys::{Errno, Error as SysError};
use tare_types::ErrorKind;
use tare_types::spec::LinuxResources;

/// What was made so far, removed again when something later fails.
#[derive(Debug, Default)]
struct Made(Vec<String>);

impl Made {
    fn undo(self) {
        for directory in self.0.iter().rev() {
            // The first error is what the caller must see; a directory left over is found by its name.
            let _ = remove::one(directory);
        }
    }
}

pub(super) fn create(mut cgroup: Cgroup, options: &CgroupOptions<'_>) -> Result<Cgroup> {
    if !cgroup.is_v2() && !cgroup.paths.contains_key("devices") && !options.rootless {
        // Without it every device of the host would be open to the container.
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "make cgroup",
            "devices",
            "controller not mounted",
        ));
    }
    let mut made = Made::default();
    let done = make_all(&mut cgroup, options, &mut made)
        .and_then(|()| check_thawed(&cgroup, &made))
        .and_then(|()| set_cpuset(&cgroup, &made, options.resources))
        .and_then(|()| {
            let default = LinuxResources::default();
            limits::apply(&cgroup, options.resources.unwrap_or(&default), limits::Devices::Set)
        });
    match done {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

/// Takes the directories that systemd has made for a scope, with one process in it, makes those that it does not make,
/// and sets the limits.
///
/// Directories that were made here are removed on failure.
pub(super) fn adopt(
    mut cgroup: Cgroup,
    options: &CgroupOptions<'_>,
    resources: &LinuxResources,
    occupant: i32,
) -> Result<Cgroup> {
    let mut made = Made::default();
    let done = adopt_all(&mut cgroup, resources, occupant, &mut made)
        .and_then(|()| set_cpuset(&cgroup, &made, options.resources))
        .and_then(|()| limits::apply(&cgroup, resources, limits::Devices::SetBeside));
    match done {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

fn adopt_all(cgroup: &mut Cgroup, resources: &LinuxResources, occupant: i32, made: &mut Made) -> Result<()> {
    let directories: Vec<String> = cgroup.directories().into_iter().map(ToString::to_string).collect();
    for directory in directories {
        let own = if cgroup.is_v2() {
            is_of(&directory, occupant)
        } else {
            make_beside(&directory, occupant, made)
        };
        match own {
            Ok(()) => {}
            Err(_) if cgroup.unified() == Some(&directory) => drop(cgroup.paths.remove(path::UNIFIED)),
            Err(error) => return Err(Error::system("make cgroup", error)),
        }
    }
    // systemd hands on what it knows; whatever else there is, is enabled where it is asked for.
    let more = !resources.hugepage_limits.is_empty() || !resources.rdma.is_empty();
    if let Some(directory) = cgroup.paths.get("").filter(|_| more && !cgroup.rootless) {
        enable_all(directory).map_err(|error| Error::system("make cgroup", error))?;
    }
    Ok(())
}

/// Version 1: the directory of a controller that systemd may use or not.
fn make_beside(directory: &str, occupant: i32, made: &mut Made) -> core::result::Result<(), SysError> {
    match mkdir(directory, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => is_of(directory, occupant),
        Err(Errno::NOENT) => make(directory, false, made),
        Ok(()) => {
            made.0.push(directory.to_string());
            Ok(())
        }
        Err(errno) => Err(SysError::new("mkdir", directory, errno)),
    }
}

/// Nobody but this process is in there.
fn is_of(directory: &str, occupant: i32) -> core::result::Result<(), SysError> {
    let text = cgroup::read(directory, "cgroup.procs")?;
    let others = text.lines().filter(|line| line.trim().parse() != Ok(occupant)).count();
    if others == 0 {
        return Ok(());
    }
    let object = format!("{directory}: container's cgroup is not empty: {others} process(es) found");
    Err(SysError::new("use", object, Errno::BUSY))
}

fn make_all(cgroup: &mut Cgroup, options: &CgroupOptions<'_>, made: &mut Made) -> Result<()> {
    let directories: Vec<String> = cgroup.directories().into_iter().map(ToString::to_string).collect();
    let v2 = cgroup.is_v2();
    for directory in directories {
        match make(&directory, v2, made) {
            Ok(()) => {}
            // Nothing is limited there: a host that does not let one in is no reason to fail.
            Err(_) if cgroup.unified() == Some(&directory) => drop(cgroup.paths.remove(path::UNIFIED)),
            Err(error) if is_refusal(&error) && options.rootless && options.path.is_empty() => {
                if v2 && has_limits(options.resources) {
                    let hint =
                        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
                    return Err(Error::system(hint, error));
                }
                cgroup.paths.retain(|_, kept| *kept != directory);
            }
            Err(error) => return Err(Error::system("make cgroup", error)),
        }
        if v2 {
            check_type(&directory, options.resources)?;
        }
    }
    Ok(())
}

/// One directory and what is missing above it; one that exists must be empty.
fn make(directory: &str, v2: bool, made: &mut Made) -> core::result::Result<(), SysError> {
    match mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => made.0.push(directory.to_string()),
        Err(Errno::EXIST) => check_empty(directory)?,
        Err(Errno::NOENT) => {
            make_above(directory, v2, made)?;
            let again = mkdir(directory, Mode::from_raw_mode(0o755));
            if !matches!(again, Ok(()) | Err(Errno::EXIST)) {
                again.map_err(|errno| SysError::new("mkdir", directory, errno))?;
            }
            made.0.push(directory.to_string());
        }
        Err(errno) => return Err(SysError::new("mkdir", directory, errno)),
    }
    if v2 {
        enable_controllers(directory)?;
    }
    Ok(())
}

fn make_above(directory: &str, v2: bool, made: &mut Made) -> core::result::Result<(), SysError> {
    let above = path::parent(directory).ok_or_else(|| SysError::new("mkdir", directory, Errno::NOENT))?;
    match mkdir(above.as_str(), Mode::from_raw_mode(0o755)) {
        Ok(()) => made.0.push(above.clone()),
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {
            make_above(&above, v2, made)?;
            match mkdir(above.as_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) => made.0.push(above.clone()),
                Err(Errno::EXIST) => return Ok(()),
                Err(errno) => return Err(SysError::new("mkdir", above, errno)),
            }
        }
        Err(errno) => return Err(SysError::new("mkdir", above, errno)),
    }
    // In version 2 an empty cpuset means that of the parent, whose root has no such file.
    if !v2 && inherit_cpuset(&above, &CPUSET)? {
        // Then what is made below is complete at once; a daemon's permanent parent saves each container 14 calls.
        cgroup::write(&above, "cgroup.clone_children", "1")?;
    }
    Ok(())
}

const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Version 1: a cpuset without processors or memory nodes takes no task. What is there already is kept.
///
/// Says whether the directory is one of cpuset's tree; another has no such files, which is the common case.
fn inherit_cpuset(directory: &str, names: &[&str]) -> core::result::Result<bool, SysError> {
    for name in names {
        match cgroup::read(directory, name) {
            Ok(own) if own.trim().is_empty() => {}
            Ok(_) => continue,
            Err(error) if error.errno() == Errno::NOENT => return Ok(false),
            Err(error) => return Err(error),
        }
        copy_from_parent(directory, name)?;
    }
    Ok(true)
}

fn copy_from_parent(directory: &str, name: &str) -> core::result::Result<(), SysError> {
    match parent_value(directory, name)? {
        Some(value) => cgroup::write(directory, name, &value),
        None => Ok(()),
    }
}

fn parent_value(directory: &str, name: &str) -> core::result::Result<Option<String>, SysError> {
    let above = path::parent(directory).unwrap_or_default();
    let mut value = cgroup::read_value(&above, name)?;
    if value.trim().is_empty() {
        // Somebody made the parent and left it empty; the root never is.
        inherit_cpuset(&above, &CPUSET)?;
        value = cgroup::read(&above, name)?;
    }
    let value = value.trim();
    Ok((!value.is_empty()).then(|| value.to_string()))
}

/// The container's own cpuset: what is asked for, else what the parent has.
fn set_cpuset(cgroup: &Cgroup, made: &Made, resources: Option<&LinuxResources>) -> Result<()> {
    let is_new = |directory: &str| made.0.iter().any(|made| made == directory);
    if cgroup.is_v2() {
        return Ok(());
    }
    let Some(directory) = cgroup.paths.get("cpuset") else { return Ok(()) };
    let cpu = resources.and_then(|resources| resources.cpu.as_ref());
    if let Some(cpu) = cpu {
        super::v1::set_cpuset(directory, cpu)?;
    }
    let asked = cpu.is_some_and(|cpu| !cpu.cpus.is_empty() || !cpu.mems.is_empty());
    let done = if asked {
        inherit_cpuset(directory, &CPUSET).map(drop)
    } else {
        inherit_or_copy(directory, is_new(directory))
    };
    done.map_err(|error| Error::system("make cgroup", error))
}

/// For a cpuset that nothing is asked of: mostly it is new.
fn inherit_or_copy(directory: &str, is_new: bool) -> core::result::Result<(), SysError> {
    let file = cgroup::ValueFile::open(directory, CPUSET[0])?;
    // A parent that hands its cpuset on hands on both halves.
    if !file.read()?.trim().is_empty() {
        return Ok(());
    }
    match parent_value(directory, CPUSET[0])? {
        Some(cpus) => file.write(&cpus)?,
        None => return Ok(()),
    }
    // A new one has neither.
    if is_new {
        copy_from_parent(directory, CPUSET[1])
    } else {
        inherit_cpuset(directory, &CPUSET[1..]).map(drop)
    }
}

fn check_empty(directory: &str) -> core::result::Result<(), SysError> {
    // "threaded" cgroups of version 2 refuse the read; they hold no processes of their own.
    match cgroup::read(directory, "cgroup.procs") {
        Ok(text) if text.trim().is_empty() => Ok(()),
        Ok(text) => {
            let count = text.lines().count();
            let object = format!("{directory}: container's cgroup is not empty: {count} process(es) found");
            Err(SysError::new("use", object, Errno::BUSY))
        }
        Err(error) if error.errno() == Errno::OPNOTSUPP => Ok(()),
        Err(error) => Err(error),
    }
}

/// A cgroup left frozen by somebody would hold the first process before its first instruction. Only one that was
/// there before can be.
fn check_thawed(cgroup: &Cgroup, made: &Made) -> Result<()> {
    let freezer = cgroup.directory("freezer");
    let is_new = |directory: &str| made.0.iter().any(|made| made == directory);
    if freezer.is_none_or(is_new) || !cgroup.is_frozen()? {
        return Ok(());
    }
    let detail = "container's cgroup unexpectedly frozen";
    Err(Error::new(ErrorKind::FailedPrecondition, "use", freezer.unwrap_or_default(), detail))
}

/// Version 2: a controller works in a directory when all above it pass it on. In the usual
/// case one read tells that they do.
fn enable_controllers(directory: &str) -> core::result::Result<(), SysError> {
    const USUAL: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];
    let here = cgroup::read(directory, "cgroup.controllers")?;
    if USUAL.iter().all(|name| has(&here, name)) {
        return Ok(());
    }
    enable_missing(directory, &here)
}

fn has(have: &str, wanted: &str) -> bool {
    have.split_whitespace().any(|name| name == wanted)
}

/// Whatever the machine has.
fn enable_all(directory: &str) -> core::result::Result<(), SysError> {
    enable_missing(directory, &cgroup::read(directory, "cgroup.controllers")?)
}

fn enable_missing(directory: &str, here: &str) -> core::result::Result<(), SysError> {
    let mut above = Vec::new();
    let mut at = directory.to_string();
    while let Some(parent) = path::parent(&at) {
        // The first directory that is no cgroup is above the mount.
        let Ok(controllers) = cgroup::read(&parent, "cgroup.controllers") else { break };
        above.push((parent.clone(), controllers));
        at = parent;
    }
    let Some((_, available)) = above.last() else { return Ok(()) };
    let available = available.clone();
    if available.split_whitespace().all(|name| has(here, name)) {
        return Ok(());
    }
    for (parent, _) in above.iter().rev() {
        let all: String = available.split_whitespace().map(|name| format!("+{name} ")).collect();
        if cgroup::write(parent, "cgroup.subtree_control", all.trim_end()).is_err() {
            // Some may be refused (real-time tasks keep cpu out, a delegated tree has fewer); take what works.
            // Whoever asks for a limit that needs the rest gets the error of its file.
            for name in available.split_whitespace() {
                let _ = cgroup::write(parent, "cgroup.subtree_control", &format!("+{name}"));
            }
        }
    }
    Ok(())
}

/// Version 2: below a cgroup with processes of its own only threaded controllers work.
fn check_type(directory: &str, resources: Option<&LinuxResources>) -> Result<()> {
    let kind = cgroup::read(directory, "cgroup.type").unwrap_or_default();
    let domain = resources.is_some_and(limits::needs_domain);
    match kind.trim() {
        "domain invalid" if domain => Err(Error::new(
            ErrorKind::FailedPrecondition,
            "make cgroup",
            directory,
            "cannot enter cgroupv2 with domain controllers -- it is in an invalid state",
        )),
        "domain invalid" => cgroup::write(directory, "cgroup.type", "threaded")
            .map_err(|error| Error::system("make cgroup", error)),
        kind @ ("threaded" | "domain threaded") if domain => Err(Error::new(
            ErrorKind::FailedPrecondition,
            "make cgroup",
            directory,
            format!("cannot enter cgroupv2 with domain controllers -- it is in {kind} mode"),
        )),
        _ => Ok(()),
    }
}

fn is_refusal(error: &SysError) -> bool {
    matches!(error.errno(), Errno::ACCESS | Errno::PERM | Errno::ROFS)
}

fn has_limits(resources: Option<&LinuxResources>) -> bool {
    let Some(resources) = resources else { return false };
    let without_devices = LinuxResources { devices: Vec::new(), ..resources.clone() };
    without_devices != LinuxResources::default()
}
