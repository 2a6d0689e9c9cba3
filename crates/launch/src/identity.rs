//! Who the process becomes: bounding set, groups, ids, capabilities, working directory.
//!
//! The order is fixed by the kernel. The bounding set needs CAP_SETPCAP, groups and ids need their
//! capabilities, and a change of the user id clears what PR_SET_KEEPCAPS does not keep; so the final sets
//! come last. The working directory is tried as root first (a directory that only root may enter is
//! accepted, as in runc) and as the user if that is refused (a directory on a network file system).

use crate::{
    IdentityOp, raw,
    report::{At, Call, Failed, Outcome},
};
use core::ffi::CStr;
use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets, Gid, Uid},
};

/// Enters the working directory; false if this user may not, which the user to become perhaps may.
pub(crate) fn enter_directory(path: &CStr) -> Outcome<bool> {
    match change_directory(path) {
        Err(Failed { errno: Errno::ACCESS | Errno::PERM, .. }) => return Ok(false),
        entered => entered?,
    }
    verify_directory().map(|()| true)
}

/// Becomes the user.
pub(crate) fn assume(op: &IdentityOp<'_>, entered: bool) -> Outcome {
    limit_bounding(op.bounding)?;
    // Only a change away from root takes capabilities away.
    let changes = op.uid != 0;
    if changes {
        rustix::thread::set_keep_capabilities(true).at(Call::Prctl)?;
    }
    if let Some(groups) = op.groups {
        rustix::thread::set_thread_groups(groups).at(Call::Setgroups)?;
    }
    let gid = Gid::from_raw(op.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Call::Setresgid)?;
    let uid = Uid::from_raw(op.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Call::Setresuid)?;
    if changes {
        rustix::thread::set_keep_capabilities(false).at(Call::Prctl)?;
    }
    set_capabilities(op)?;
    // What is ambient is inheritable too: without that there is nothing to clear.
    if op.inheritable != 0 {
        raw::ambient(None).at(Call::Prctl)?;
    }
    for capability in (0..64).filter(|bit| op.ambient & (1 << bit) != 0) {
        match raw::ambient(Some(capability)) {
            // Not in both the permitted and the inheritable set: the kernel refuses, runc warns and goes on.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(Failed { call: Call::Prctl, errno }),
        }
    }
    if entered {
        return Ok(());
    }
    change_directory(op.cwd)?;
    verify_directory()
}

/// What the runtime does not have itself it cannot give; the specification wants that tolerated.
fn set_capabilities(op: &IdentityOp<'_>) -> Outcome {
    let sets = |own| CapabilitySets {
        effective: CapabilitySet::from_bits_retain(op.effective) & own,
        permitted: CapabilitySet::from_bits_retain(op.permitted) & own,
        inheritable: CapabilitySet::from_bits_retain(op.inheritable) & own,
    };
    match rustix::thread::set_capabilities(None, sets(CapabilitySet::from_bits_retain(u64::MAX))) {
        Err(Errno::PERM) => {}
        set => return set.at(Call::Capset),
    }
    let own = rustix::thread::capabilities(None).at(Call::Capset)?.permitted;
    rustix::thread::set_capabilities(None, sets(own)).at(Call::Capset)
}

fn limit_bounding(keep: u64) -> Outcome {
    for capability in 0..64 {
        if keep & (1 << capability) == 0 && !raw::drop_bounding(capability).at(Call::Prctl)? {
            break;
        }
    }
    Ok(())
}

/// By chdir(2) and nothing newer: without no_new_privs the filter is in force already, and profiles older than
/// openat2(2) refuse or kill it. The root is the container's by now; a link into the runtime's descriptors
/// (`/proc/self/fd/7`) is found out afterwards.
fn change_directory(path: &CStr) -> Outcome {
    rustix::process::chdir(path).at(Call::Chdir)
}

/// The working directory must be inside the root (CVE-2024-21626): the kernel's name of one that is
/// outside begins with `(unreachable)`.
fn verify_directory() -> Outcome {
    let mut path = [0; 4096];
    let length = match raw::getcwd(&mut path) {
        // Deeper than PATH_MAX: the kernel fills from the end and cannot say; such a path is inside.
        Err(Errno::RANGE | Errno::NAMETOOLONG) => return Ok(()),
        length => length.at(Call::Getcwd)?,
    };
    if length > 0 && path[0] == b'/' {
        Ok(())
    } else {
        Err(Failed { call: Call::Outside, errno: Errno::NOENT })
    }
}
