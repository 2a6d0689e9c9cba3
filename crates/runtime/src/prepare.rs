//! What the parent opens for the child: trees, namespaces, cgroups, pipes.
//!
//! Nothing is opened for writing, no path is resolved by the child that the parent could resolve, and every
//! tree has its attributes before the child exists.

use crate::{
    During, Error, Result,
    cgroup::{Cgroup, Entrance},
    plan::{
        Attributes, BindPlan, DevicePlan, Kind, LOCKABLE, MountKind, MountPlan, Plan, UserMapping, lines,
    },
    userns,
};
use alloc::{
    ffi::CString,
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, OFlags, StatVfsMountFlags as Flags},
};
use tare_launch::{MountChange, TargetKind};
use tare_sys::{
    Errno, RootDir,
    mount::{MountAttr, clone_tree, clone_tree_with, set_attributes},
};

const SLAVE: u64 = 1 << 19;
const PRIVATE: u64 = 1 << 18;
/// runc's words: its child makes the mounts.
const MOUNTING: &str = "unable to start container process: error during container init: error mounting";
/// No set-user-ID, no devices, no programs.
pub(crate) const CGROUP_ATTRIBUTES: u64 = 0x2 | 0x4 | 0x8;
const REC: u32 = 1 << 14;

/// Open descriptors for one creation. They close when it is done.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) root: OwnedFd,
    /// One per mount of the plan; `None` where the child makes the file system itself.
    pub(crate) trees: Vec<PreparedMount>,
    /// One per device of the plan; the host's node in a user namespace.
    pub(crate) devices: Vec<PreparedDevice>,
    /// The child opens the tree at this path as its root.
    pub(crate) copied_root: Option<CString>,
    pub(crate) namespaces: Vec<(Kind, OwnedFd)>,
    pub(crate) entrance: Entrance,
    /// Files of resctrl that the child joins by.
    pub(crate) rdt: Vec<OwnedFd>,
    /// Where the root is attached for hooks, or to be moved from; else nobody needs a path of it.
    pub(crate) root_path: Option<CString>,
    /// Without pivot_root the host's root stays below the container's: mounts to detach before that.
    pub(crate) exposed: Vec<CString>,
    /// `HOME=...` for the process, if the configuration has none.
    pub(crate) home: Option<CString>,
}

/// What a mount of the plan needs from the parent.
#[derive(Debug)]
pub(crate) enum PreparedMount {
    /// The child makes it.
    None,
    Tree(OwnedFd, TargetKind),
    /// The child copies what is at the path, recursively or not, and changes it.
    Path(CString, bool, Vec<MountChange>),
    /// cgroup v1, below a tmpfs: names and trees; links: target and name; read-only.
    Cgroups(Vec<(CString, OwnedFd)>, Vec<(CString, CString)>, bool),
}

/// What a device of the plan needs from the parent.
#[derive(Debug)]
pub(crate) enum PreparedDevice {
    /// The child makes it.
    None,
    Tree(OwnedFd),
    /// The child copies what is at the path.
    Path(CString),
}

impl Prepared {
    /// Whether the child needs paths of the host for its mounts.
    pub(crate) fn needs_host(&self) -> bool {
        self.copied_root.is_some() || self.trees.iter().any(|tree| matches!(tree, PreparedMount::Path(..)))
    }

    pub(crate) fn new(plan: &Plan, cgroup: &Cgroup, no_pivot: bool) -> Result<Self> {
        let root = open_root(plan)?;
        let devices =
            plan.devices.iter().map(|device| prepare_device(device, plan)).collect::<Result<_>>()?;
        let namespaces: Vec<(Kind, OwnedFd)> = plan
            .namespaces
            .joined()
            .iter()
            .map(|(kind, path)| {
                tare_sys::file::open(path, OFlags::RDONLY, 0).map(|fd| (*kind, fd)).during("join namespace")
            })
            .collect::<Result<_>>()?;
        let user = namespaces.iter().find(|(kind, _)| *kind == Kind::User).map(|(_, fd)| fd);
        let trees = plan
            .mounts
            .iter()
            .map(|mount| prepare_mount(mount, plan, user, cgroup))
            .collect::<Result<_>>()?;
        let entrance = cgroup.entrance(&[])?;
        let home =
            if plan.process.wants_home { Some(home(root.as_fd(), plan.process.identity.uid)) } else { None };
        let inside =
            |mount: &MountPlan| matches!(&mount.kind, MountKind::Bind(bind) if plan.is_inside(&bind.source));
        let needs_path = plan.has_early_hooks() || no_pivot || plan.mounts.iter().any(inside);
        let root_path = needs_path.then(|| crate::plan::c_string("root.path", &plan.rootfs)).transpose()?;
        let exposed = if no_pivot { exposed_mounts()? } else { Vec::new() };
        let copied_root =
            plan.caller.ordinary.then(|| crate::plan::c_string("root.path", &plan.rootfs)).transpose()?;
        let rdt = Vec::new();
        Ok(Self { root, trees, devices, copied_root, namespaces, entrance, rdt, root_path, exposed, home })
    }

    /// All descriptors, to be closed together: a drop would close each by a call of its own.
    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        let mut fds = Vec::with_capacity(32);
        fds.push(self.root);
        for tree in self.trees {
            match tree {
                PreparedMount::None | PreparedMount::Path(..) => {}
                PreparedMount::Tree(tree, _) => fds.push(tree),
                PreparedMount::Cgroups(trees, ..) => fds.extend(trees.into_iter().map(|(_, tree)| tree)),
            }
        }
        fds.extend(self.devices.into_iter().filter_map(|device| match device {
            PreparedDevice::Tree(tree) => Some(tree),
            PreparedDevice::Path(_) | PreparedDevice::None => None,
        }));
        fds.extend(self.namespaces.into_iter().map(|(_, namespace)| namespace));
        fds.extend(self.rdt);
        match self.entrance {
            Entrance::Tasks(tasks, directory) => fds.extend(tasks.into_iter().chain(directory)),
            Entrance::Directory(directory) => fds.push(directory),
            Entrance::None => {}
        }
        fds
    }
}

/// Mount points of the host's procfs and sysfs. A process that unmounts its own would see them unmasked.
fn exposed_mounts() -> Result<Vec<CString>> {
    let text =
        tare_sys::file::read_text("/proc/self/mountinfo", 16 << 20).during("read the host's mounts")?;
    let points = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let bare = after.starts_with("proc ") || after.starts_with("sysfs ");
        bare.then(|| before.split(' ').nth(4)).flatten()
    });
    points.map(|point| crate::plan::c_string("mountinfo", point)).collect()
}

/// The root as a detached clone whose propagation is already right: pivot_root refuses a shared one.
pub(crate) fn open_root(plan: &Plan) -> Result<OwnedFd> {
    let operation = "open the root file system";
    if plan.caller.ordinary {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        return tare_sys::file::open(&plan.rootfs, flags, 0).during(operation);
    }
    let attr = MountAttr { propagation: u64::from(plan.propagation.before & !REC), ..MountAttr::default() };
    // The slash at the end has the kernel check that it is a directory.
    match clone_tree_with(&format!("{}/", plan.rootfs), true, &attr) {
        Err(error) if error.errno() == Errno::NOTDIR => {
            Err(Error::invalid("root.path", format!("{:?} is not a directory", plan.rootfs)))
        }
        root => root.during(operation),
    }
}

fn prepare_mount(
    mount: &MountPlan,
    plan: &Plan,
    user: Option<&OwnedFd>,
    cgroup: &Cgroup,
) -> Result<PreparedMount> {
    match &mount.kind {
        MountKind::Filesystem(_) | MountKind::Remount(_) => Ok(PreparedMount::None),
        MountKind::Bind(bind) if copied_by_child(bind, plan) => {
            copy_later(bind, mount.propagation, plan).map_err(|error| error.with_object(mount.name()))
        }
        MountKind::Bind(bind) => {
            prepare_bind(bind, mount.propagation, plan, user).map_err(|error| match error.errno() {
                Some(_) => Error::new(error.kind(), MOUNTING, mount.name(), error.to_string()),
                None => error,
            })
        }
        MountKind::Cgroup(attributes) => prepare_cgroups(attributes.is_readonly(), cgroup, plan),
    }
}

/// An ordinary user's child copies everything itself; for others it does what earlier mounts of the list put there.
fn copied_by_child(bind: &BindPlan, plan: &Plan) -> bool {
    let inside = plan.is_inside(&bind.source) && plan.namespaces.has(Kind::Mount);
    plan.caller.ordinary || (inside && bind.idmap.is_none())
}

/// What the child is to do with a source; the same changes in the same order as in [`prepare_bind`].
fn copy_later(bind: &BindPlan, (propagation, for_all): (u32, bool), plan: &Plan) -> Result<PreparedMount> {
    let (wanted, for_all) = if propagation == 0 { (SLAVE, true) } else { (u64::from(propagation), for_all) };
    let change = |attributes: Attributes, propagation, recursive| MountChange {
        set: attributes.set,
        clear: attributes.clear,
        propagation,
        recursive,
    };
    let mut changes = alloc::vec![change(Attributes::default(), wanted, for_all)];
    if !bind.recursive_attributes.is_empty() {
        changes.push(change(bind.recursive_attributes, 0, true));
    }
    let attributes = match rustix::fs::statvfs(bind.source.as_str()) {
        Ok(stat) if plan.has_locked_mounts() => within(stat.f_flag, bind)?,
        _ => bind.attributes,
    };
    if !attributes.is_empty() {
        changes.push(change(attributes, 0, false));
    }
    Ok(PreparedMount::Path(crate::plan::c_string("mounts", &bind.source)?, bind.recursive, changes))
}

fn prepare_bind(
    bind: &BindPlan,
    (propagation, for_all): (u32, bool),
    plan: &Plan,
    user: Option<&OwnedFd>,
) -> Result<PreparedMount> {
    // Without a word about it a mount follows the host's, but does not lead it.
    let (wanted, for_all) = if propagation == 0 { (SLAVE, true) } else { (u64::from(propagation), for_all) };
    let mut first = MountAttr { propagation: wanted, ..MountAttr::default() };
    // What is for the same mounts goes with it in one call.
    let locked = plan.has_locked_mounts();
    let for_one = !bind.recursive && !locked;
    if for_one {
        let both = bind.recursive_attributes.then(bind.attributes);
        (first.set, first.clear) = (both.set, both.clear);
    }
    let together = for_one || for_all || !bind.recursive;
    let tree = if together {
        clone_tree_with(&bind.source, bind.recursive, &first).during("")?
    } else {
        clone_tree(&bind.source, bind.recursive).during("")?
    };
    let stat = rustix::fs::fstat(&tree)
        .map_err(|errno| Error::system("", tare_sys::Error::new("fstat", bind.source.as_str(), errno)))?;
    let kind =
        if FileType::from_raw_mode(stat.st_mode).is_dir() { TargetKind::Directory } else { TargetKind::File };
    if !together {
        set_attributes(&tree, false, &first).during("")?;
    }
    if !for_one && !bind.recursive_attributes.is_empty() {
        let attr = attr(bind.recursive_attributes.set, bind.recursive_attributes.clear);
        set_attributes(&tree, true, &attr).during("")?;
    }
    if !for_one {
        let wanted = if locked && !bind.attributes.is_empty() {
            let stat = rustix::fs::fstatvfs(&tree).map_err(|errno| {
                Error::system("", tare_sys::Error::new("fstatvfs", bind.source.as_str(), errno))
            })?;
            within(stat.f_flag, bind)?
        } else {
            bind.attributes
        };
        if !wanted.is_empty() {
            set_attributes(&tree, false, &attr(wanted.set, wanted.clear)).during("")?;
        }
    }
    match (&bind.idmap, user) {
        (Some((recursive, uids, _)), Some(user)) if uids.is_empty() => {
            userns::map_mount_by(tree.as_fd(), *recursive, user.as_fd())?;
        }
        (Some((recursive, uids, _)), None) if uids.is_empty() => {
            userns::map_mount(tree.as_fd(), *recursive, &plan.namespaces.mapping)?;
        }
        (Some((recursive, uids, gids)), _) => {
            let mapping = UserMapping { uid: lines(uids), gid: lines(gids) };
            userns::map_mount(tree.as_fd(), *recursive, &mapping)?;
        }
        (None, _) => {}
    }
    Ok(PreparedMount::Tree(tree, kind))
}

/// The attributes for a user namespace: it gets no mount that allows more than the source does. The kernel has this
/// rule for mounts that such a namespace makes itself (mount_namespaces(7)); this one is made for it.
fn within(flags: Flags, bind: &BindPlan) -> Result<Attributes> {
    let refused = || {
        let cause = tare_sys::Error::new("mount_setattr", bind.source.as_str(), tare_sys::Errno::PERM);
        Error::system("", cause)
    };
    // The first four flags have the values that MOUNT_ATTR_* have.
    let times = match (flags.contains(Flags::NOATIME), flags.contains(Flags::RELATIME)) {
        (true, _) => 0x10,
        (false, true) => 0,
        (false, false) => 0x20,
    };
    let directories = if flags.contains(Flags::NODIRATIME) { 0x80 } else { 0 };
    let source = (flags.bits() & LOCKABLE) | times | directories;
    bind.attributes.within(source, bind.explicit).ok_or_else(refused)
}

fn attr(set: u64, clear: u64) -> MountAttr {
    MountAttr { set, clear, ..MountAttr::default() }
}

/// The container's own cgroup directories, bound: cheaper than a new mount of the file system, and what a
/// cgroup namespace would show.
fn prepare_cgroups(readonly: bool, cgroup: &Cgroup, plan: &Plan) -> Result<PreparedMount> {
    if plan.caller.ordinary {
        // The container has no cgroup of its own there: what is shown is the host's, never to be written (CVE-2023-25809).
        let usual = c"/sys/fs/cgroup".into();
        let change =
            MountChange { set: CGROUP_ATTRIBUTES | 1, clear: 0, propagation: SLAVE, recursive: true };
        return Ok(PreparedMount::Path(usual, true, alloc::vec![change]));
    }
    let open = |directory: &str| clone_tree(directory, false).during("mount cgroup");
    if cgroup.is_v2() {
        let tree = open(cgroup.directory("").unwrap_or("/sys/fs/cgroup"))?;
        let set = CGROUP_ATTRIBUTES | u64::from(readonly);
        // Nothing is mounted in there that it could follow; and CRIU dumps none that follows the host's.
        let attr = MountAttr { set, propagation: PRIVATE, ..MountAttr::default() };
        set_attributes(&tree, false, &attr).during("mount cgroup")?;
        return Ok(PreparedMount::Tree(tree, TargetKind::Directory));
    }
    let below = |name: &str| crate::plan::c_string("cgroup", name);
    let mut mounted: Vec<(&str, String)> = Vec::new();
    let mut trees = Vec::new();
    let mut links = Vec::new();
    for (controller, directory) in cgroup.paths() {
        if cgroup.unified() == Some(directory) {
            continue;
        }
        let name = controller.strip_prefix("name=").unwrap_or(controller);
        let host = host_name(directory, name);
        if !mounted.iter().any(|(known, _)| *known == directory) {
            trees.push((below(&host)?, open(directory)?));
            mounted.push((directory, host.clone()));
        }
        if host != name {
            links.push((crate::plan::c_string("cgroup", &host)?, below(name)?));
        }
    }
    Ok(PreparedMount::Cgroups(trees, links, readonly))
}

/// The name of a controller's mount on the host, such as `cpu,cpuacct`.
fn host_name(directory: &str, controller: &str) -> String {
    let holds = |part: &&str| part.split(',').any(|name| name == controller);
    directory.split('/').find(holds).unwrap_or(controller).to_string()
}

/// Names of the directories that a container of version 1 sees below its cgroup mount, and the host's directories.
pub(crate) fn cgroup_places(cgroup: &Cgroup) -> Vec<(String, &str)> {
    let mut places: Vec<(String, &str)> = Vec::new();
    for (controller, directory) in cgroup.paths() {
        let known = places.iter().any(|(_, known)| known == directory);
        if cgroup.unified() != Some(directory) && !known {
            let name = controller.strip_prefix("name=").unwrap_or(controller);
            places.push((host_name(directory, name), directory));
        }
    }
    places
}

fn prepare_device(device: &DevicePlan, plan: &Plan) -> Result<PreparedDevice> {
    let Some(path) = &device.bind else { return Ok(PreparedDevice::None) };
    if plan.caller.ordinary {
        return crate::plan::c_string("linux.devices", path).map(PreparedDevice::Path);
    }
    clone_tree(path, false).map(PreparedDevice::Tree).during("bind device")
}

/// `HOME=` of a user by the container's `/etc/passwd`, `/` without one. Hostile content decides only this.
pub(crate) fn home(root: BorrowedFd<'_>, uid: u32) -> CString {
    const LIMIT: usize = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let text = RootDir::open_below(root, "etc/passwd", flags, rustix::fs::Mode::empty())
        .ok()
        .and_then(|fd| tare_sys::file::read_regular(fd, LIMIT).ok())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let directory = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = fields.nth(2)?.parse::<u32>().ok()?;
        let home = fields.nth(2)?;
        (id == uid && !home.is_empty()).then_some(home)
    });
    CString::new(format!("HOME={}", directory.unwrap_or("/"))).unwrap_or_else(|_| c"HOME=/".into())
}
