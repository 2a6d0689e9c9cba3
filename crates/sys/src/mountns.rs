//! Mount namespaces: a private copy of the host's mounts for the calling thread alone.

use crate::{Context, Result, mount, raw::MountAttr};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    thread::{UnshareFlags, unshare_unsafe},
};

/// `MS_PRIVATE`.
const PRIVATE: u64 = 1 << 18;

/// Gives the calling thread a copy of all mounts from which nothing spreads back. The thread must end afterwards: it
/// also has a working directory and a umask of its own from now on.
///
/// # Errors
/// unshare(2)'s and mount_setattr(2)'s; in the latter case too the thread must end.
pub fn unshare_private() -> Result<()> {
    #[allow(unsafe_code, reason = "sys is where unsafe lives")]
    // SAFETY: the flags hold CLONE_NEWNS alone (which implies CLONE_FS); the descriptor table stays shared, which is
    // what the precondition of `unshare_unsafe` is about.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    unshared.on("unshare", || "mount namespace")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty()).on("openat", || "/")?;
    mount::set_attributes(&root, true, &MountAttr { propagation: PRIVATE, ..MountAttr::default() })
}
