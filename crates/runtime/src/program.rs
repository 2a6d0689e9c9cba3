//! The list of operations of a first process and of one that joins.
//!
//! The order is the contract, with reasons beside what must not be moved.

use crate::{
    cgroup::Entrance,
    plan::{DevicePlan, Kind, MountKind, MountPlan, Plan, ProcessPlan},
    prepare::{CGROUP_ATTRIBUTES, Prepared, PreparedDevice, PreparedMount},
};
use alloc::vec::Vec;
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use tare_launch::{
    ArgumentArray, CgroupsOp, ConsoleOp, DeviceOp, FsOption, HookOp, IdentityOp, ListenerOp, MountOp,
    MountSource, Op, PathSource, Pointer, Stage, TargetKind,
};

/// Descriptors between parent and child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wires<'a> {
    /// A new user namespace waits here for its maps.
    pub(crate) maps: Option<BorrowedFd<'a>>,
    /// Hooks of the runtime's side run while the child waits here.
    pub(crate) hooks: Option<BorrowedFd<'a>>,
    /// Where the child waits for `start`.
    pub(crate) gate: Option<Op<'a>>,
    pub(crate) streams: Option<[BorrowedFd<'a>; 3]>,
    pub(crate) console: Option<BorrowedFd<'a>>,
    pub(crate) listener: Option<ListenerOp<'a>>,
    pub(crate) keep_fds: u32,
}

/// Every processor that a kernel can have.
static ALL_PROCESSORS: [u64; 128] = [u64::MAX; 128];

/// Operation data that operations borrow.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) mounts: Vec<Option<MountOp<'a>>>,
    pub(crate) devices: Vec<DeviceOp<'a>>,
    pub(crate) container_hooks: Vec<HookOp<'a>>,
    pub(crate) start_hooks: Vec<HookOp<'a>>,
}

/// Operation data of a process.
#[derive(Debug)]
pub(crate) struct ProcessParts<'a> {
    pub(crate) console: Option<ConsoleOp<'a>>,
    pub(crate) identity: IdentityOp<'a>,
    pub(crate) candidates: Vec<&'a CStr>,
    pub(crate) arguments: ArgumentArray<'a>,
    pub(crate) environment: ArgumentArray<'a>,
}

/// Arguments or environment as an array with its end.
pub(crate) fn pointers<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Vec<Pointer<'a>> {
    strings.into_iter().map(Pointer::new).chain([Pointer::NULL]).collect()
}

pub(crate) fn array<'a>(pointers: &'a [Pointer<'a>]) -> ArgumentArray<'a> {
    ArgumentArray::new(pointers).expect("invariant: the array was made with its end by `pointers`")
}

/// fsconfig options of every mount of the plan.
pub(crate) fn options(plan: &Plan) -> Vec<Vec<FsOption<'_>>> {
    plan.mounts.iter().map(filesystem_options).collect()
}

fn filesystem_options(mount: &MountPlan) -> Vec<FsOption<'_>> {
    let MountKind::Filesystem(new) = &mount.kind else { return Vec::new() };
    new.options.iter().map(|(key, value)| FsOption { key, value: value.as_deref() }).collect()
}

/// The mounts of the plan; one of the plan may be several.
pub(crate) fn mounts<'a>(
    plan: &'a Plan,
    prepared: &'a Prepared,
    options: &'a [Vec<FsOption<'a>>],
    cgroups: &'a [CgroupsOp<'a>],
) -> Vec<Option<MountOp<'a>>> {
    let mut cgroups = cgroups.iter();
    let together = plan.mounts.iter().zip(&prepared.trees).zip(options);
    together.map(|((mount, tree), options)| mount_op(mount, tree, options, &mut cgroups)).collect()
}

/// Names and descriptors of the cgroup trees of one mount.
pub(crate) type CgroupLists<'a> = (Vec<(&'a CStr, BorrowedFd<'a>)>, Vec<(&'a CStr, &'a CStr)>, bool);

/// What the mounts of cgroups of version 1 consist of.
pub(crate) fn cgroup_lists(prepared: &Prepared) -> Vec<CgroupLists<'_>> {
    let lists = prepared.trees.iter().filter_map(|tree| match tree {
        PreparedMount::Cgroups(trees, links, readonly) => Some((trees, links, *readonly)),
        _ => None,
    });
    lists
        .map(|(trees, links, readonly)| {
            let trees = trees.iter().map(|(name, tree)| (name.as_c_str(), tree.as_fd())).collect();
            let links = links.iter().map(|(target, name)| (target.as_c_str(), name.as_c_str())).collect();
            (trees, links, readonly)
        })
        .collect()
}

/// The operations of those mounts.
pub(crate) fn cgroups<'a>(plan: &'a Plan, lists: &'a [CgroupLists<'a>]) -> Vec<CgroupsOp<'a>> {
    let op = |(trees, links, readonly): &'a CgroupLists<'a>| CgroupsOp {
        trees,
        links,
        attributes: CGROUP_ATTRIBUTES | u64::from(*readonly),
        context: plan.mount_label.as_deref(),
        together: plan.namespaces.has(Kind::Mount),
    };
    lists.iter().map(op).collect()
}

fn mount_op<'a>(
    mount: &'a MountPlan,
    prepared: &'a PreparedMount,
    options: &'a [FsOption<'a>],
    cgroups: &mut impl Iterator<Item = &'a CgroupsOp<'a>>,
) -> Option<MountOp<'a>> {
    let op = |source, target| MountOp {
        destination: &mount.destination,
        source,
        target,
        strict: false,
        propagation: (0, false),
        copy_up: false,
    };
    Some(match (prepared, &mount.kind) {
        (PreparedMount::Tree(tree, target), _) => op(MountSource::Tree(tree.as_fd()), *target),
        (PreparedMount::Path(path, recursive, changes), _) => {
            let source = PathSource { path, recursive: *recursive, changes };
            op(MountSource::Path(source), TargetKind::Directory)
        }
        (PreparedMount::Cgroups(..), _) => op(MountSource::Cgroups(cgroups.next()?), TargetKind::Directory),
        (PreparedMount::None, MountKind::Filesystem(new)) => MountOp {
            destination: &mount.destination,
            source: MountSource::Filesystem(&new.kind, options, new.attributes),
            target: TargetKind::Directory,
            strict: new.strict,
            propagation: (u64::from(mount.propagation.0), mount.propagation.1),
            copy_up: new.copy_up,
        },
        (PreparedMount::None, _) => return None,
    })
}

/// The device nodes of the plan.
pub(crate) fn devices<'a>(plan: &'a Plan, prepared: &'a Prepared) -> Vec<DeviceOp<'a>> {
    let op = |(device, bind): (&'a DevicePlan, &'a PreparedDevice)| DeviceOp {
        path: &device.path,
        mode: device.mode,
        device: rustix::fs::makedev(device.major, device.minor),
        owner: device.owner,
        bind: if let PreparedDevice::Tree(tree) = bind { Some(tree.as_fd()) } else { None },
        bind_path: if let PreparedDevice::Path(path) = bind { Some(path) } else { None },
    };
    plan.devices.iter().zip(&prepared.devices).map(op).collect()
}

/// Identity, program and terminal of a process.
pub(crate) fn process_parts<'a>(
    plan: &'a ProcessPlan,
    arguments: &'a [Pointer<'a>],
    environment: &'a [Pointer<'a>],
    console: Option<BorrowedFd<'a>>,
    bind_console: bool,
    deny_setgroups: bool,
) -> ProcessParts<'a> {
    let who = &plan.identity;
    ProcessParts {
        console: console.map(|socket| ConsoleOp { socket, size: plan.window, bind: bind_console }),
        identity: IdentityOp {
            uid: who.uid,
            gid: who.gid,
            groups: (!deny_setgroups).then_some(&who.groups),
            bounding: who.bounding,
            effective: who.effective,
            permitted: who.permitted,
            inheritable: who.inheritable,
            ambient: who.ambient,
            cwd: &who.cwd,
        },
        candidates: plan.candidates.iter().map(AsRef::as_ref).collect(),
        arguments: array(arguments),
        environment: array(environment),
    }
}

/// Descriptors that operations use.
pub(crate) fn descriptors(ops: &[Op<'_>]) -> Vec<RawFd> {
    let mut fds = Vec::with_capacity(32);
    let mut add = |fd: BorrowedFd<'_>| fds.push(fd.as_raw_fd());
    for op in ops {
        match op {
            Op::JoinCgroup(fd) | Op::AwaitByte(fd) | Op::EnterNamespaces(fd, _) => add(*fd),
            Op::Stdin(fd) | Op::KeepOnExec(fd) => add(*fd),
            Op::Rendezvous(Stage::Hooks(fd)) => add(*fd),
            Op::Rendezvous(Stage::Gate(wait, report)) => {
                add(*wait);
                report.iter().for_each(|report| add(*report));
            }
            Op::Mount(MountOp { source: MountSource::Tree(fd), .. }) => add(*fd),
            Op::Mount(MountOp { source: MountSource::Cgroups(cgroups), .. }) => {
                cgroups.trees.iter().for_each(|(_, fd)| add(*fd));
            }
            Op::Device(DeviceOp { bind: Some(fd), .. }) => add(*fd),
            Op::Hook(hook) => add(hook.stdin),
            Op::Console(console) => add(console.socket),
            Op::Streams(streams) => streams.iter().for_each(|fd| add(*fd)),
            Op::Seccomp(_, _, Some(agent)) => {
                [agent.socket, agent.message, agent.written].into_iter().for_each(&mut add)
            }
            Op::ChangeRoot(Some(fd)) => add(*fd),
            _ => {}
        }
    }
    fds
}

/// A sorted list of descriptors to keep: the standard streams, those handed through, and these.
pub(crate) fn keep<'a>(
    used: Vec<RawFd>,
    more: impl IntoIterator<Item = &'a OwnedFd>,
    wires: &Wires<'_>,
) -> Vec<RawFd> {
    let passed = 0..3 + wires.keep_fds as RawFd;
    let mut keep: Vec<RawFd> = passed.chain(used).chain(more.into_iter().map(AsRawFd::as_raw_fd)).collect();
    keep.sort_unstable();
    keep.dedup();
    keep
}

/// Descriptors that are still used when the process is all but its program. While it waits for that it can be
/// looked at; nothing of the host must be open in it any more.
pub(crate) fn last_descriptors(ops: &[Op<'_>], report: &OwnedFd, wires: &Wires<'_>) -> Vec<RawFd> {
    let at = ops.iter().position(|op| matches!(op, Op::CloseOnExecFrom(_))).unwrap_or(ops.len());
    keep(descriptors(&ops[at..]), [report], wires)
}

/// Closes all others there instead of marking them. Those that stay are close-on-exec from their start.
pub(crate) fn close_last<'a>(ops: &mut [Op<'a>], last: &'a [RawFd]) {
    if let Some(op) = ops.iter_mut().find(|op| matches!(op, Op::CloseOnExecFrom(_))) {
        *op = Op::CloseOthers(last);
    }
}

/// What the operations of a first process are made of.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: &'a Prepared,
    pub(crate) parts: &'a Parts<'a>,
    pub(crate) process: &'a ProcessParts<'a>,
    pub(crate) wires: &'a Wires<'a>,
}

impl<'a> Init<'a> {
    /// The operations of a container's first process.
    pub(crate) fn ops(&self, keyring: Option<&'a CStr>, no_pivot: bool) -> Vec<Op<'a>> {
        let (plan, prepared) = (self.plan, self.prepared);
        let mut ops = Vec::with_capacity(96);
        join_cgroups(&mut ops, &prepared.entrance, &prepared.rdt);
        // The caller may be bound to some processors; the container has those of its cgroup.
        ops.push(Op::Affinity(&ALL_PROCESSORS, false));
        // The host's procfs is in reach only now.
        early_files(&mut ops, &plan.process);
        // Programs of the host that run on the way must not get it.
        if !plan.has_early_hooks() {
            label(&mut ops, &plan.process);
        }
        ops.extend(self.wires.maps.map(Op::AwaitByte));
        // Before the ids change: procfs gives the files of a process that must not be looked at to the host's root.
        if plan.namespaces.is_new(Kind::Time) {
            ops.push(Op::Unshare(Kind::Time.flag()));
            if let Some(offsets) = &plan.time_offsets {
                ops.push(Op::WriteFile(c"/proc/self/timens_offsets", offsets));
            }
        }
        if plan.namespaces.has(Kind::User) {
            ops.push(Op::BecomeRoot);
        }
        // In a user namespace that existed before, the child is born with the others joined.
        if !plan.namespaces.joins(Kind::User) {
            for (kind, namespace) in prepared.namespaces.iter().filter(|(kind, _)| *kind != Kind::Pid) {
                ops.push(Op::EnterNamespaces(namespace.as_fd(), kind.flag()));
            }
        }
        if plan.namespaces.is_new(Kind::Cgroup) {
            ops.push(Op::Unshare(Kind::Cgroup.flag()));
        }
        if let (Some(label), Some(_)) = (&plan.process.selinux, keyring) {
            ops.push(Op::WriteFile(KEY_LABEL, label.as_bytes()));
        }
        ops.extend(keyring.map(Op::NewKeyring));
        ops.push(Op::NewSession);
        root_file_system(&mut ops, plan, prepared, self.parts, self.wires, no_pivot);
        if let Some(console) = &self.process.console {
            ops.push(Op::Console(console));
        }
        names_and_network(&mut ops, plan);
        restrict_paths(&mut ops, plan);
        process_tail(&mut ops, &plan.process, self.process, &self.parts.start_hooks, self.wires);
        ops
    }
}

/// The operations of a process that joins a container, but for closing descriptors.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    pub(crate) plan: &'a ProcessPlan,
    pub(crate) process: &'a ProcessParts<'a>,
    pub(crate) entrance: &'a Entrance,
    /// Files of resctrl.
    pub(crate) rdt: &'a [OwnedFd],
    /// The first process, whose namespaces are joined.
    pub(crate) container: BorrowedFd<'a>,
    /// Its root, where the container has no mount namespace that would bring it along.
    pub(crate) root: Option<BorrowedFd<'a>>,
    /// `CLONE_NEW*` of the kinds to join; those that the process is born in are not among them.
    pub(crate) namespaces: u32,
    /// It is in a user namespace of the container's.
    pub(crate) in_user: bool,
    pub(crate) wires: &'a Wires<'a>,
}

impl<'a> Join<'a> {
    /// On the host: up to entering the namespaces, all in one call.
    pub(crate) fn outside(&self) -> Vec<Op<'a>> {
        let mut ops = Vec::with_capacity(40);
        ops.extend(self.plan.affinity.0.as_ref().map(|mask| Op::Affinity(mask, true)));
        join_cgroups(&mut ops, self.entrance, self.rdt);
        match &self.plan.affinity.1 {
            Some(mask) => ops.push(Op::Affinity(mask, true)),
            None if self.plan.affinity.0.is_none() => ops.push(Op::Affinity(&ALL_PROCESSORS, false)),
            None => {}
        }
        early_files(&mut ops, self.plan);
        label(&mut ops, self.plan);
        if self.namespaces != 0 {
            ops.push(Op::EnterNamespaces(self.container, self.namespaces));
        }
        ops.extend(self.root.map(|root| Op::ChangeRoot(Some(root))));
        ops
    }

    /// In the container.
    pub(crate) fn inside(&self) -> Vec<Op<'a>> {
        let mut ops = Vec::with_capacity(24);
        ops.push(Op::TakeRoot);
        if self.in_user {
            ops.push(Op::BecomeRoot);
        }
        ops.push(Op::NewSession);
        if let Some(streams) = self.wires.streams {
            ops.push(Op::Streams(streams));
        }
        if let Some(console) = &self.process.console {
            ops.push(Op::Console(console));
        }
        process_tail(&mut ops, self.plan, self.process, &[], self.wires);
        ops
    }
}

pub(crate) fn join_cgroups<'a>(ops: &mut Vec<Op<'a>>, entrance: &'a Entrance, rdt: &'a [OwnedFd]) {
    if let Entrance::Tasks(tasks, _) = entrance {
        ops.extend(tasks.iter().map(|fd| Op::JoinCgroup(fd.as_fd())));
    }
    // The same file of another file system, with the same meaning of 0.
    ops.extend(rdt.iter().map(|fd| Op::JoinCgroup(fd.as_fd())));
}

/// Where the AppArmor profile or the SELinux label of the next execve is set (apparmor(7), proc(5)); written while the
/// host's procfs is in sight.
pub(crate) const LABEL: &CStr = c"/proc/self/attr/exec";

/// The label of keys and keyrings that are made from now to the next execve.
const KEY_LABEL: &CStr = c"/proc/self/attr/keycreate";

fn early_files<'a>(ops: &mut Vec<Op<'a>>, plan: &'a ProcessPlan) {
    if let Some(score) = &plan.oom_score {
        ops.push(Op::WriteFile(c"/proc/self/oom_score_adj", score.as_bytes()));
    }
}

fn label<'a>(ops: &mut Vec<Op<'a>>, plan: &'a ProcessPlan) {
    let label = plan.apparmor.as_ref().or(plan.selinux.as_ref());
    ops.extend(label.map(|label| Op::WriteFile(LABEL, label.as_bytes())));
}

fn root_file_system<'a>(
    ops: &mut Vec<Op<'a>>,
    plan: &'a Plan,
    prepared: &'a Prepared,
    parts: &'a Parts<'a>,
    wires: &Wires<'a>,
    no_pivot: bool,
) {
    let own_mounts = plan.namespaces.has(Kind::Mount);
    let change = match (own_mounts, no_pivot) {
        (false, _) => Op::ChangeRoot(None),
        (true, true) => Op::MoveRoot,
        (true, false) => Op::PivotRoot,
    };
    if own_mounts {
        // The host's mounts must not receive what is mounted here.
        ops.push(Op::Propagation(plan.propagation.before));
    }
    // Set-up after the change of root cannot touch the host, whatever the image's links say. There are two
    // exceptions: hooks are promised the host's root, and the container's at its path; and in a user namespace
    // procfs and sysfs can be mounted only while another instance is in sight. Then it is the descriptor of the
    // root, below which everything is resolved, that keeps the set-up inside.
    // A source below the container's own root is there only when the mounts before it are.
    let host = plan.has_early_hooks() || prepared.needs_host();
    let late = host || plan.namespaces.has(Kind::User) || plan.caller.confined || !own_mounts;
    if let Some(path) = &prepared.copied_root {
        let propagation = u64::from(plan.propagation.before & !(1 << 14));
        ops.push(Op::OpenRoot(path, propagation));
    }
    if own_mounts {
        ops.push(Op::AttachRoot(prepared.root_path.as_deref()));
        ops.extend(prepared.exposed.iter().map(|path| Op::Detach(path)));
    }
    if !late {
        ops.push(change);
    }
    ops.push(Op::Umask(0));
    for (mount, made) in plan.mounts.iter().zip(&parts.mounts) {
        ops.extend(made.iter().map(Op::Mount));
        match &mount.kind {
            MountKind::Remount(attributes) => {
                ops.push(Op::SetAttributes(&mount.destination, attributes.set, false));
            }
            MountKind::Cgroup(attributes) if attributes.is_readonly() && !own_mounts => {
                ops.push(Op::ReadOnly(&mount.destination));
            }
            _ => {}
        }
    }
    ops.extend(parts.devices.iter().map(Op::Device));
    ops.extend(plan.links.iter().map(|link| Op::Symlink(&link.target, &link.path)));
    if plan.process.identity.cwd.as_bytes() != b"/" {
        ops.push(Op::MakeDirectory(&plan.process.identity.cwd));
    }
    if plan.has_early_hooks() {
        if let Some(wait) = wires.hooks {
            ops.push(Op::Rendezvous(Stage::Hooks(wait)));
        }
        if !parts.container_hooks.is_empty() {
            // Where runc runs them; some name files of the container by relative paths.
            ops.push(Op::EnterRoot);
        }
        ops.extend(parts.container_hooks.iter().map(Op::Hook));
        label(ops, &plan.process);
    }
    if late {
        ops.push(change);
    }
    if plan.propagation.after != 0 && own_mounts {
        ops.push(Op::Propagation(plan.propagation.after));
    }
    if let Some(streams) = wires.streams {
        ops.push(Op::Streams(streams));
    }
}

fn names_and_network<'a>(ops: &mut Vec<Op<'a>>, plan: &'a Plan) {
    if !plan.hostname.is_empty() {
        ops.push(Op::Hostname(&plan.hostname));
    }
    if !plan.domainname.is_empty() {
        ops.push(Op::Domainname(&plan.domainname));
    }
    if plan.namespaces.is_new(Kind::Network) {
        ops.push(Op::LoopbackUp);
    }
}

/// Makes a mount read-only. In a tree that is attached nowhere only its root's attributes can be changed: there a
/// read-only copy covers it.
fn read_only<'a>(plan: &Plan, path: &'a CStr) -> Op<'a> {
    if plan.namespaces.has(Kind::Mount) { Op::SetAttributes(path, 1, false) } else { Op::ReadOnly(path) }
}

fn restrict_paths<'a>(ops: &mut Vec<Op<'a>>, plan: &'a Plan) {
    ops.extend(plan.sysctl.iter().map(|(path, value)| Op::Sysctl(path, value)));
    for mount in plan.mounts.iter().filter(|mount| mount.readonly_later) {
        ops.push(read_only(plan, &mount.destination));
    }
    if plan.readonly_root {
        ops.push(Op::SetAttributes(c"/", 1, false));
    }
    ops.extend(plan.readonly.iter().map(|path| Op::ReadOnly(path)));
    ops.extend(plan.masked.iter().map(|path| Op::Mask(path)));
}

fn process_tail<'a>(
    ops: &mut Vec<Op<'a>>,
    plan: &'a ProcessPlan,
    parts: &'a ProcessParts<'a>,
    start_hooks: &'a [HookOp<'a>],
    wires: &Wires<'a>,
) {
    ops.push(Op::Umask(plan.umask));
    ops.extend(plan.personality.map(Op::Personality));
    ops.extend(plan.scheduler.as_deref().map(Op::Scheduler));
    ops.extend(plan.io_priority.map(Op::IoPriority));
    // Before the capabilities go: raising a limit needs one.
    ops.extend(plan.limits.iter().map(|(resource, limit)| Op::Limit(*resource, *limit)));
    if parts.identity.uid != 0 {
        ops.push(Op::StreamsOwner(parts.identity.uid));
    }
    ops.extend(plan.memory_policy.as_ref().map(|(mode, nodes)| Op::MemoryPolicy(*mode, nodes)));
    // CVE-2024-21626: no descriptor of the host outlives the execve.
    ops.push(Op::CloseOnExecFrom(3 + wires.keep_fds));
    ops.push(Op::Directory(parts.identity.cwd));
    let filter = plan.seccomp.as_ref().map(|plan| Op::Seccomp(&plan.filter, plan.flags, wires.listener));
    if plan.no_new_privileges {
        ops.push(Op::NoNewPrivileges);
    } else {
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the identity may not have.
        ops.extend(filter);
    }
    ops.push(Op::Identity(&parts.identity));
    ops.push(Op::FindProgram(&parts.candidates));
    // Whoever answers for notifications gets the listener while the container is created, as from runc.
    let early = plan.no_new_privileges && wires.listener.is_some();
    if early {
        ops.extend(filter);
    }
    ops.extend(wires.gate);
    // The hooks run in the container: under its filter, like its program.
    if plan.no_new_privileges && !early {
        ops.extend(filter);
    }
    ops.extend(start_hooks.iter().map(Op::Hook));
    ops.push(Op::Execute(parts.arguments, parts.environment));
}
