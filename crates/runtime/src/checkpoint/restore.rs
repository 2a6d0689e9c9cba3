//! The way back: from images to a container.
//!
//! What creation does outside of the container is done here too (state, cgroups with their limits, mount points that the
//! root file system lacks); what it does inside, CRIU does from the images. CRIU runs in the container's cgroups and in
//! a mount namespace of its own, where the root file system is attached for it: nothing of that is left on the host,
//! whoever is killed meanwhile.

use super::{
    DESCRIPTORS, Directories, RestoreOptions, external,
    message::Message,
    rpc::{self, Response, Version, option},
    swrk::{Setup, Swrk},
};
use crate::{
    Container, During, Error, Process, Result, Runtime,
    cgroup::{Cgroup, CgroupOptions},
    child::{self, Pipe},
    create::{self, Made, oci_state},
    hooks, interfaces,
    plan::{Kind, MountKind, Plan, c_string},
    prepare::{self, Prepared},
    process::Streams,
    program,
    rdt::RdtGroup,
    state::{self, BegunState, StateDir, StateFile},
};
use alloc::{format, string::String, vec::Vec};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
};
use tare_launch::{CloneRequest, Op, Program, ReportKind, Spawned};
use tare_sys::Context;
use tare_types::{
    ErrorKind,
    spec::{ContainerStatus, Hooks},
};

const OPERATION: &str = "restore";
/// In the state's directory: where the root file system is attached for CRIU; left by a restore that was cut off.
pub(crate) const MARK: &str = "criu-root";
/// Of the names of the streams, in bytes.
const LIMIT: usize = 64 << 10;

pub(crate) fn restore(runtime: &Runtime, options: &RestoreOptions<'_>) -> Result<(Container, Process)> {
    let create = &options.create;
    state::check_id(create.id)?;
    if !create.bundle.starts_with('/') {
        return Err(Error::invalid("bundle", format!("{:?} is not absolute", create.bundle)));
    }
    let mut plan = Plan::new(create.spec, create.bundle)?;
    plan.set_caller(runtime.caller())?;
    external::check(&plan)?;
    let streams = Streams::prepare(create.io, plan.process.terminal)?;
    let mut made = Made::default();
    match restore_all(runtime, options, &plan, streams, &mut made) {
        Ok(restored) => Ok(restored),
        Err(error) => {
            if let Some(cgroup) = &made.cgroup {
                // Nobody but what was restored is in there. The first error is what the caller must see.
                let _ = cgroup.kill(9);
            }
            made.undo();
            Err(error)
        }
    }
}

fn restore_all(
    runtime: &Runtime,
    options: &RestoreOptions<'_>,
    plan: &Plan,
    streams: Streams<'_>,
    made: &mut Made,
) -> Result<(Container, Process)> {
    let create = &options.create;
    let directories = Directories::open(&options.image, "restore.log", OPERATION)?;
    let names = read_descriptors(&directories)?;
    let dir = made.dir.insert(StateDir::create(&runtime.options().root, create.id)?);
    let wanted = CgroupOptions {
        path: &plan.cgroups_path,
        id: create.id,
        resources: Some(&plan.resources),
        rootless: runtime.is_rootless(),
    };
    let cgroup = Cgroup::resolve(runtime.cgroup_mounts()?, &wanted)?;
    let begun = dir.begin(cgroup.paths(), None)?;
    let cgroup = made.cgroup.insert(cgroup.make(&wanted)?);
    let mut prepared = Prepared::new(plan, cgroup, false)?;
    if let Some(rdt) = &plan.rdt {
        made.rdt = RdtGroup::make(rdt, create.id)?;
    }
    let rdt = &made.rdt;
    prepared.rdt = rdt.tasks()?;
    if let Some(filter) = &plan.process.seccomp {
        dir.store_seccomp(filter.flags, &filter.filter)?;
    }
    make_mount_points(plan, &prepared)?;
    let root_path = dir.make_directory(MARK)?;
    let job = Job { options, plan, prepared: &prepared, streams: &streams, begun, cgroup, rdt };
    let restored = job.run(directories, &names, &root_path, &mut made.child)?;
    dir.remove_directory(MARK);
    let spawned = made.child.take().expect("invariant: a restore that succeeded has stored its process");
    let dir = made.dir.take().expect("invariant: the directory was made above");
    let cgroup = made.cgroup.take().expect("invariant: the cgroup was made above");
    let process = Process { pid: spawned.pid, pidfd: spawned.pidfd, console: restored.console };
    Ok((Container::new(dir, restored.state, cgroup, None), process))
}

/// The names that the standard streams had.
fn read_descriptors(directories: &Directories) -> Result<Vec<String>> {
    let bytes = tare_sys::file::read_at(&directories.images, DESCRIPTORS, LIMIT).during(OPERATION)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(ErrorKind::DataLoss, OPERATION, DESCRIPTORS, format!("{error}")))
}

/// Makes the places of mounts that the root file system lacks, as creation does: in a child whose mounts go with it,
/// since one mount may hold the place of another. What is on a tmpfs is in the images.
fn make_mount_points(plan: &Plan, prepared: &Prepared) -> Result<()> {
    let options = program::options(plan);
    let mounts = program::mounts(plan, prepared, &options, &[]);
    let mut ops = alloc::vec![
        Op::Propagation((1 << 19) | (1 << 14)),
        Op::AttachRoot(prepared.root_path.as_deref()),
        Op::Umask(0),
    ];
    for (mount, made) in plan.mounts.iter().zip(&mounts) {
        if is_on_tmpfs(mount.destination.to_bytes(), plan) {
            continue;
        }
        match (&mount.kind, made) {
            (MountKind::Bind(_), Some(made)) => ops.push(Op::Mount(made)),
            (MountKind::Filesystem(_), _) => ops.push(Op::MakeDirectory(&mount.destination)),
            _ => {}
        }
    }
    let report = Pipe::new()?;
    let program = Program { ops: &ops, report: report.write.as_fd(), root: Some(prepared.root.as_fd()) };
    let request = CloneRequest { namespaces: u64::from(Kind::Mount.flag()), cgroup: None };
    let spawned = tare_launch::spawn(&request, &program)
        .map_err(|errno| Error::system(OPERATION, tare_sys::Error::new("clone3", "", errno)))?;
    drop(report.write);
    let mut failure = None;
    let next = || child::read_report(report.read.as_fd(), child::SETUP_LIMIT, "mount points to be made");
    while let Some(report) = next()? {
        if report.kind == ReportKind::Failed {
            failure = Some(child::failure(OPERATION, &ops, "", report));
        }
    }
    let ended = tare_sys::process::reap_within(spawned.pidfd.as_fd(), child::KILL_LIMIT).during(OPERATION)?;
    match (failure, ended.exit_status()) {
        (Some(failure), _) => Err(failure),
        // A list without a program at its end ends with 1.
        (None, Some(1)) => Ok(()),
        (None, _) => {
            Err(Error::new(ErrorKind::Internal, OPERATION, "make mount points", "the child was killed"))
        }
    }
}

fn is_on_tmpfs(destination: &[u8], plan: &Plan) -> bool {
    plan.mounts.iter().any(|mount| {
        let tmpfs = matches!(&mount.kind, MountKind::Filesystem(new) if new.kind.as_bytes() == b"tmpfs");
        let rest = destination.strip_prefix(mount.destination.as_bytes());
        tmpfs && rest.is_some_and(|rest| rest.starts_with(b"/"))
    })
}

/// What a restore makes beside the process.
struct Restored {
    state: StateFile,
    console: Option<OwnedFd>,
}

struct Job<'a> {
    options: &'a RestoreOptions<'a>,
    plan: &'a Plan,
    prepared: &'a Prepared,
    streams: &'a Streams<'a>,
    begun: BegunState,
    cgroup: &'a Cgroup,
    rdt: &'a RdtGroup,
}

impl Job<'_> {
    fn run(
        &self,
        directories: Directories,
        names: &[String],
        root_path: &str,
        made: &mut Option<Spawned>,
    ) -> Result<Restored> {
        let namespaces: Vec<(Kind, BorrowedFd<'_>)> = self
            .prepared
            .namespaces
            .iter()
            .filter(|(kind, _)| matches!(kind, Kind::Network | Kind::Pid))
            .map(|(kind, fd)| (*kind, fd.as_fd()))
            .collect();
        // The one that was prepared is gone with the child that made mount points.
        let tree = prepare::open_root(self.plan)?;
        let root = c_string("root", root_path)?;
        let null = tare_sys::file::open("/dev/null", OFlags::RDWR, 0).during(OPERATION)?;
        let passed: Vec<BorrowedFd<'_>> =
            namespaces.iter().map(|(_, fd)| *fd).chain([null.as_fd()]).collect();
        let streams = match self.streams {
            Streams::Inherit => None,
            streams => Some(streams.given().unwrap_or([null.as_fd(); 3])),
        };
        let mut swrk = Swrk::start(&Setup {
            criu: &self.options.image.criu,
            operation: OPERATION,
            log: &directories.log,
            streams,
            passed: &passed,
            entrance: Some((&self.prepared.entrance, &self.prepared.rdt)),
            root: Some((tree.as_fd(), &root)),
        })?;
        drop(tree);
        let version = swrk.version()?;
        self.check_version(version)?;
        let directories = directories.seen_by(swrk.pid(), OPERATION)?;
        let mut message = self.request(&directories, names, root_path, swrk.pid())?;
        external::find_namespaces(&mut message, self.plan, &namespaces)?;
        for name in names.iter().skip(3).filter(|name| name.starts_with(external::FILE)) {
            message.nested(option::INHERIT_FD, rpc::inherit(name, null.as_raw_fd()));
        }
        let request = rpc::request(rpc::RESTORE, Some(&message), false);
        let (mut state, mut console) = (None, None);
        swrk.job(&request, |notice, fd| match notice.script.as_str() {
            "setup-namespaces" => self.run_hooks(notice),
            "post-restore" => {
                state = Some(self.adopt(notice, made)?);
                Ok(())
            }
            "orphan-pts-master" => {
                console = self.hand_out(fd)?;
                Ok(())
            }
            _ => Ok(()),
        })?;
        let ended = swrk.finish()?;
        if ended.exit_status() != Some(0) {
            return Err(swrk.error(format!("{ended:?}")));
        }
        let state = state.ok_or_else(|| swrk.error("it did not tell of a restored process"))?;
        Ok(Restored { state, console })
    }

    fn check_version(&self, version: Version) -> Result<()> {
        const WITH_LSM: Version = Version { major: 3, minor: 16, patch: 0 };
        for (flag, given) in [
            ("--lsm-profile", self.options.lsm_profile),
            ("--lsm-mount-context", self.options.lsm_mount_context),
        ] {
            if given.is_some() && version < WITH_LSM {
                let text = format!("{flag} requires at least CRIU 3.16");
                return Err(Error::new(ErrorKind::Unimplemented, OPERATION, text, ""));
            }
        }
        Ok(())
    }

    fn request(
        &self,
        directories: &Directories,
        names: &[String],
        root_path: &str,
        pid: i32,
    ) -> Result<Message> {
        let mut message = directories.options(&self.options.image, self.options.create.spec);
        message.flag(option::EVASIVE_DEVICES, true);
        // The process becomes our child, not CRIU's.
        message.flag(option::RST_SIBLING, true);
        message.text(option::ROOT, root_path);
        if let Some(profile) = self.options.lsm_profile {
            message.text(option::LSM_PROFILE, profile);
        }
        if let Some(context) = self.options.lsm_mount_context {
            message.text(option::LSM_MOUNT_CONTEXT, context);
        }
        // CRIU is in the cgroups by now: what it finds there are the processes' new ones.
        let places = tare_sys::cgroup::of(&format!("/proc/{pid}/cgroup")).during(OPERATION)?;
        for (controllers, path) in &places {
            for controller in controllers.split(',') {
                message.nested(option::CG_ROOT, rpc::pair(controller.trim_start_matches("name="), path));
            }
        }
        external::find_for_restore(&mut message, self.plan, self.cgroup)?;
        for (number, name) in names.iter().enumerate().take(3).filter(|(_, name)| name.contains("pipe:")) {
            message.nested(option::INHERIT_FD, rpc::inherit(name, number as i32));
        }
        Ok(message)
    }

    /// Hooks of the runtime's side, when the namespaces exist.
    fn run_hooks(&self, notice: &Response) -> Result<()> {
        let Hooks { prestart, create_runtime, .. } = &self.plan.hooks;
        if prestart.is_empty() && create_runtime.is_empty() {
            return Ok(());
        }
        let state = self.state(notice.pid)?;
        hooks::run("prestart", prestart, &oci_state(&state, ContainerStatus::Created))?;
        hooks::run("createRuntime", create_runtime, &oci_state(&state, ContainerStatus::Creating))
    }

    fn state(&self, pid: i32) -> Result<StateFile> {
        create::new_state(&self.options.create, self.plan, self.cgroup, self.rdt, pid, false)
    }

    /// The process exists and stands still: it is ours now.
    fn adopt(&self, notice: &Response, made: &mut Option<Spawned>) -> Result<StateFile> {
        let pid = notice.pid;
        let pidfd = tare_sys::process::open(pid).during("open the restored process")?;
        made.replace(Spawned { pid, pidfd });
        if self.plan.namespaces.is_new(Kind::Network) {
            interfaces::loopback_up(pid)?;
        }
        let mut state = self.state(pid)?;
        // CRIU keeps the clocks going on in a time namespace, which processes that join must join too.
        let time = Kind::Time.state_name();
        if !state.tare.namespaces.iter().any(|name| name == time) && has_own_time(pid)? {
            state.tare.namespaces.push(time.into());
        }
        self.begun.complete(&state)?;
        Ok(state)
    }

    /// The terminal's master goes where that of a created container goes.
    fn hand_out(&self, master: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
        let missing =
            || Error::new(ErrorKind::Internal, OPERATION, "criu", "a terminal came without a descriptor");
        let master = master.ok_or_else(missing)?;
        match self.streams {
            Streams::Socket(socket) => {
                tare_sys::socket::send_fd(socket, b"orphan-pts-master", master.as_fd())
                    .during("send the console")?;
                Ok(None)
            }
            Streams::Pair { .. } => Ok(Some(master)),
            _ => Err(Error::invalid(
                "process.terminal",
                "the image has a terminal, the configuration has none",
            )),
        }
    }
}

/// Whether a process is in another time namespace than this one. A kernel without them has none.
fn has_own_time(pid: i32) -> Result<bool> {
    let inode = |path: String| match rustix::fs::stat(path.as_str()) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(tare_sys::Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).on("stat", || path.as_str()).during("find the time namespace"),
    };
    Ok(inode(format!("/proc/{pid}/ns/time"))? != inode("/proc/self/ns/time".into())?)
}

impl StateDir {
    /// Makes a directory beside the state; its path.
    fn make_directory(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        rustix::fs::mkdir(path.as_str(), Mode::from_raw_mode(0o755))
            .on("mkdir", || path.as_str())
            .during(OPERATION)?;
        Ok(path)
    }

    fn remove_directory(&self, name: &str) {
        // What stays goes with the state's directory.
        let _ = rustix::fs::rmdir(self.path(name).as_str());
    }
}
