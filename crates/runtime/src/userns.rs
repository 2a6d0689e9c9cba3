//! Maps of user namespaces, and user namespaces that only carry a map.

use crate::{During, Error, Result, child::Pipe, plan::UserMapping};
use alloc::format;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::OFlags,
};
use tare_launch::{CloneRequest, Op, Program};
use tare_sys::mount::{MountAttr, set_attributes};

const NEWUSER: u64 = 0x1000_0000;
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// Writes the maps of a process's new user namespace.
pub(crate) fn write_maps(pid: i32, mapping: &UserMapping) -> Result<()> {
    let write = |name: &str, text: &str| {
        tare_sys::file::write_existing(&format!("/proc/{pid}/{name}"), text.as_bytes())
            .during("write the id maps of the user namespace")
    };
    write("uid_map", &mapping.uid)?;
    write("gid_map", &mapping.gid)
}

impl UserMapping {
    /// Whether it is the one line that the kernel lets an ordinary user write: of the own ids.
    pub(crate) fn is_own(&self) -> bool {
        let own = |map: &str, id: u32| {
            let words: alloc::vec::Vec<&str> = map.split_whitespace().collect();
            matches!(words.as_slice(), [_, host, "1"] if host.parse() == Ok(id))
        };
        own(&self.uid, rustix::process::geteuid().as_raw())
            && own(&self.gid, rustix::process::getegid().as_raw())
    }
}

/// The same by an ordinary user: own ids without help, others through the programs that `/etc/subuid` and
/// `/etc/subgid` are for. The process must be dumpable: its files in procfs are its own only then.
pub(crate) fn write_own_maps(pid: i32, mapping: &UserMapping) -> Result<()> {
    if mapping.is_own() {
        // Without this the kernel takes no map of groups from such a user (user_namespaces(7)).
        let path = format!("/proc/{pid}/setgroups");
        tare_sys::file::write_existing(&path, b"deny").during("write the id maps of the user namespace")?;
        return write_maps(pid, mapping);
    }
    for (name, map) in [("newuidmap", &mapping.uid), ("newgidmap", &mapping.gid)] {
        let words = [format!("{pid}")].into_iter().chain(map.split_whitespace().map(Into::into));
        let words: alloc::vec::Vec<_> = words.collect();
        crate::capture(&[&format!("/usr/bin/{name}"), &format!("/bin/{name}")], name, &words)?;
    }
    Ok(())
}

/// Gives a detached mount the id map of a user namespace.
pub(crate) fn map_mount_by(tree: BorrowedFd<'_>, recursive: bool, namespace: BorrowedFd<'_>) -> Result<()> {
    let attr =
        MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
    set_attributes(tree, recursive, &attr).during("map ids of a mount")
}

/// Gives a detached mount an id map. The kernel takes the map from a user namespace, which a short-lived
/// child provides.
pub(crate) fn map_mount(tree: BorrowedFd<'_>, recursive: bool, mapping: &UserMapping) -> Result<()> {
    let wait = Pipe::new()?;
    let report = Pipe::new()?;
    let ops = [Op::AwaitByte(wait.read.as_fd())];
    let program = Program { ops: &ops, report: report.write.as_fd(), root: None };
    let request = CloneRequest { namespaces: NEWUSER, cgroup: None };
    let holder = tare_launch::spawn(&request, &program)
        .map_err(|errno| Error::system("map ids of a mount", tare_sys::Error::new("clone3", "", errno)))?;
    let mapped = write_maps(holder.pid, mapping).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid);
        let namespace = tare_sys::file::open(&path, OFlags::RDONLY, 0).during("map ids of a mount")?;
        map_mount_by(tree, recursive, namespace.as_fd())
    });
    // The child ends at the end of file.
    drop(wait);
    let reaped = tare_sys::process::send_signal(holder.pidfd.as_fd(), 9)
        .and_then(|()| tare_sys::process::reap_within(holder.pidfd.as_fd(), crate::child::KILL_LIMIT))
        .during("map ids of a mount");
    mapped.and(reaped.map(drop))
}
