//! The operations a child can be given. Pure data that borrows from the parent's plan.

use crate::execute::ArgumentArray;
use core::ffi::CStr;
use rustix::{
    fd::{BorrowedFd, RawFd},
    process::{Resource, Rlimit},
    thread::Gid,
};

/// A list of operations and the pipe the child reports to.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// In order. The last one is [`Op::Execute`]; a list that ends otherwise makes the child exit.
    pub ops: &'a [Op<'a>],
    /// Write end, close-on-exec: end of file after [`crate::ReportKind::Executing`] means success.
    pub report: BorrowedFd<'a>,
    /// The tree that becomes the root, if the child changes it; [`Op::Mount`] and others resolve below it.
    pub root: Option<BorrowedFd<'a>>,
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub enum Op<'a> {
    /// Closes all descriptors but these, which are sorted. First where the child's pid namespace has
    /// other members: nothing of the host is left to be found in `/proc/<pid>/fd`.
    CloseOthers(&'a [RawFd]),
    /// Writes `0` to a cgroup v1 `tasks` file: the calling thread joins without the kernel's wait for a
    /// grace period that a write to `cgroup.procs` may take.
    JoinCgroup(BorrowedFd<'a>),
    /// Writes to a file by path, before the root is changed: the host's procfs is still there.
    WriteFile(&'a CStr, &'a [u8]),
    /// Reads one byte: the parent has written the id maps, or the state. End of file ends the child.
    AwaitByte(BorrowedFd<'a>),
    /// Takes on id 0 of a new user namespace.
    BecomeRoot,
    /// setns(2) with these `CLONE_NEW*` flags; a pidfd joins several at once.
    EnterNamespaces(BorrowedFd<'a>, u32),
    /// Takes the present root as the directory below which paths are resolved; after joining a mount namespace.
    TakeRoot,
    /// unshare(2). The cgroup namespace comes after [`Op::JoinCgroup`], whose group becomes its root.
    Unshare(u32),
    /// A session keyring of its own, so that the runtime's is out of reach.
    NewKeyring(&'a CStr),
    /// setsid(2).
    NewSession,
    /// Takes a copy of the tree at a path of the host's root as the root, with this propagation (`MS_*`) of all of it:
    /// for a parent that may not copy mounts.
    OpenRoot(&'a CStr, u64),
    /// Changes propagation of all mounts, `MS_*` flags.
    Propagation(u32),
    /// Attaches the root's tree: at `/` itself, or at a path when hooks need to find it there.
    AttachRoot(Option<&'a CStr>),
    /// umount2(MNT_DETACH) of a path of the host's root; one that is no mount any more is left.
    Detach(&'a CStr),
    /// Makes the tree the root and detaches the old one.
    PivotRoot,
    /// The same by MS_MOVE and chroot(2), for a host whose root is the initramfs.
    MoveRoot,
    /// chroot(2) into a directory, the tree itself without one: for a container that has no mount namespace of its
    /// own. The tree is attached nowhere, so that nothing of it reaches the host.
    ChangeRoot(Option<BorrowedFd<'a>>),
    /// fchdir(2) to the root's tree.
    EnterRoot,
    /// A mount below the root.
    Mount(&'a MountOp<'a>),
    /// A device node below the root.
    Device(&'a DeviceOp<'a>),
    /// A symbolic link below the root: target, path. One that exists is left.
    Symlink(&'a CStr, &'a CStr),
    /// Makes a directory and its parents below the root.
    MakeDirectory(&'a CStr),
    /// Sets `MOUNT_ATTR_*` of the mount at a path below the root; recursively if the flag is set.
    SetAttributes(&'a CStr, u64, bool),
    /// Makes a path unreadable: `/dev/null` over a file, an empty read-only tmpfs over a directory.
    Mask(&'a CStr),
    /// Makes a path read-only.
    ReadOnly(&'a CStr),
    /// Writes a kernel parameter: path below `/proc`, value. Through the instance that the child itself
    /// mounted, never through what a path leads to (CVE-2025-52881).
    Sysctl(&'a CStr, &'a [u8]),
    /// sethostname(2).
    Hostname(&'a [u8]),
    /// setdomainname(2).
    Domainname(&'a [u8]),
    /// Brings the loopback interface up.
    LoopbackUp,
    /// Tells the parent and waits for its byte.
    Rendezvous(Stage<'a>),
    /// Runs a program and waits for it.
    Hook(&'a HookOp<'a>),
    /// Opens a terminal and makes it the standard streams.
    Console(&'a ConsoleOp<'a>),
    /// Puts a descriptor at 0, rewound if it is a file.
    Stdin(BorrowedFd<'a>),
    /// chdir(2) by a path of the runtime's side; for hooks.
    WorkingDirectory(&'a CStr),
    /// Puts these descriptors at 0, 1 and 2.
    Streams([BorrowedFd<'a>; 3]),
    /// Gives 0, 1 and 2 to a user.
    StreamsOwner(u32),
    /// setrlimit(2).
    Limit(Resource, Rlimit),
    /// umask(2).
    Umask(u32),
    /// personality(2).
    Personality(u32),
    /// sched_setattr(2): the bytes of `struct sched_attr`.
    Scheduler(&'a [u8]),
    /// ioprio_set(2) of the process.
    IoPriority(u32),
    /// sched_setaffinity(2): one bit per processor, and whether a refusal matters.
    Affinity(&'a [u64], bool),
    /// set_mempolicy(2): mode with its flags, one bit per node.
    MemoryPolicy(u32, &'a [u64]),
    /// Enters the working directory and checks that it is inside the root. One that this user may not enter is left
    /// to [`Op::Identity`]. Before a filter, which may refuse the check's call.
    Directory(&'a CStr),
    /// Ids, groups, capabilities, and the working directory if it was not entered before.
    Identity(&'a IdentityOp<'a>),
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// Installs a filter: instructions, flags, and what to do with the listener, if the flags ask for one.
    Seccomp(&'a [SockFilter], u32, Option<ListenerOp<'a>>),
    /// Marks descriptors from this one on close-on-exec.
    CloseOnExecFrom(u32),
    /// Leaves a descriptor open over execve, at its own number.
    KeepOnExec(BorrowedFd<'a>),
    /// Finds the first of these that can be executed.
    FindProgram(&'a [&'a CStr]),
    /// Executes what [`Op::FindProgram`] found.
    Execute(ArgumentArray<'a>, ArgumentArray<'a>),
}

/// Where the child waits for its parent.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// Namespaces exist, the root is not changed: the parent runs hooks.
    Hooks(BorrowedFd<'a>),
    /// Everything but the program: waits for `start`. What follows is reported to the second descriptor, if there is
    /// one.
    Gate(BorrowedFd<'a>, Option<BorrowedFd<'a>>),
}

/// A mount.
#[derive(Debug, Clone, Copy)]
pub struct MountOp<'a> {
    /// Path below the root.
    pub destination: &'a CStr,
    /// What to attach.
    pub source: MountSource<'a>,
    /// What to make at the destination if nothing is there.
    pub target: TargetKind,
    /// The destination is a real directory, without a symbolic link on the way (CVE-2019-19921).
    pub strict: bool,
    /// Propagation after attaching, `MS_SHARED` and so on, 0 to leave it; and whether for all below.
    pub propagation: (u64, bool),
    /// Copy what the destination holds into the new file system (`tmpcopyup`).
    pub copy_up: bool,
}

/// What a mount attaches.
#[derive(Debug, Clone, Copy)]
pub enum MountSource<'a> {
    /// A detached tree that the parent opened and gave its attributes.
    Tree(BorrowedFd<'a>),
    /// A path of the host's root, while that is still the child's: the tree that is there by now.
    Path(PathSource<'a>),
    /// The cgroups of version 1 below a file system of their own.
    Cgroups(&'a CgroupsOp<'a>),
    /// A new instance of a file system: type, options, `MOUNT_ATTR_*`.
    Filesystem(&'a CStr, &'a [FsOption<'a>], u32),
}

/// A tree that the child copies itself.
#[derive(Debug, Clone, Copy)]
pub struct PathSource<'a> {
    /// Path of the host's root.
    pub path: &'a CStr,
    /// With what is mounted below it.
    pub recursive: bool,
    /// What to change of the copy, one after the other.
    pub changes: &'a [MountChange],
}

/// A change of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountChange {
    /// `MOUNT_ATTR_*`.
    pub set: u64,
    /// `MOUNT_ATTR_*`.
    pub clear: u64,
    /// `MS_*`, 0 to leave it.
    pub propagation: u64,
    /// For all mounts below too.
    pub recursive: bool,
}

/// The cgroup trees of a container.
#[derive(Debug, Clone, Copy)]
pub struct CgroupsOp<'a> {
    /// Names of directories, and detached trees.
    pub trees: &'a [(&'a CStr, BorrowedFd<'a>)],
    /// Symbolic links: targets and names.
    pub links: &'a [(&'a CStr, &'a CStr)],
    /// `MOUNT_ATTR_*` of all.
    pub attributes: u64,
    /// SELinux label of the small file system.
    pub context: Option<&'a CStr>,
    /// Attributes can be set for all at once: not below a root that is attached nowhere, where RDONLY of the whole is
    /// left to another operation.
    pub together: bool,
}

/// An option of fsconfig(2): a flag if it has no value.
#[derive(Debug, Clone, Copy)]
pub struct FsOption<'a> {
    /// Name.
    pub key: &'a CStr,
    /// Value.
    pub value: Option<&'a CStr>,
}

/// What a mount's destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// A device node.
#[derive(Debug, Clone, Copy)]
pub struct DeviceOp<'a> {
    /// Path below the root.
    pub path: &'a CStr,
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Device number.
    pub device: u64,
    /// Owner, if not 0:0.
    pub owner: Option<(u32, u32)>,
    /// The host's node to bind instead: in a user namespace mknod(2) is not allowed.
    pub bind: Option<BorrowedFd<'a>>,
    /// The same for a parent that may not copy mounts: the node's path of the host's root.
    pub bind_path: Option<&'a CStr>,
}

/// A terminal.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleOp<'a> {
    /// Receives the master.
    pub socket: BorrowedFd<'a>,
    /// First size.
    pub size: Option<WindowSize>,
    /// Bind the slave to `/dev/console`.
    pub bind: bool,
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// The agent that answers for a filter's notifications.
#[derive(Debug, Clone, Copy)]
pub struct ListenerOp<'a> {
    /// Connected to the agent; receives the listener.
    pub socket: BorrowedFd<'a>,
    /// Goes with it: a memory file with the state of the process, which the parent can write only when there is one.
    pub message: BorrowedFd<'a>,
    /// A byte here says that the message is written.
    pub written: BorrowedFd<'a>,
}

/// A hook that runs in the container's namespaces.
#[derive(Debug, Clone, Copy)]
pub struct HookOp<'a> {
    /// Program.
    pub path: &'a CStr,
    /// Arguments.
    pub arguments: ArgumentArray<'a>,
    /// Environment.
    pub environment: ArgumentArray<'a>,
    /// Becomes its standard input, read from the beginning.
    pub stdin: BorrowedFd<'a>,
    /// Milliseconds after which it is killed; 0 for none.
    pub timeout: u32,
    /// Its place among the hooks of its kind; a failure is reported with it.
    pub index: u16,
}

/// Who the process becomes.
#[derive(Debug, Clone, Copy)]
pub struct IdentityOp<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; `None` where setgroups(2) is denied by the user namespace.
    pub groups: Option<&'a [Gid]>,
    /// Capability sets as bit masks: bounding, effective, permitted, inheritable, ambient.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Possible.
    pub permitted: u64,
    /// Given by files.
    pub inheritable: u64,
    /// Kept over execve.
    pub ambient: u64,
    /// Working directory, below the root.
    pub cwd: &'a CStr,
}

/// One instruction of a seccomp filter (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Skip if true.
    pub jt: u8,
    /// Skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}
