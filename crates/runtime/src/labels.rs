//! SELinux on this host: a label that nobody would enforce is refused.
//!
//! Not here: setting the labels, which the child does (`program`), and AppArmor, whose refusal is the kernel's.

use crate::{Error, Result, plan::ProcessPlan};
use core::ffi::CStr;
use tare_types::ErrorKind;

/// Where selinuxfs is (selinux(8)).
const SELINUXFS: &str = "/sys/fs/selinux";
/// Its `f_type` (linux/magic.h).
const MAGIC: u64 = 0xf97c_ff8c;

/// Refuses labels where SELinux does not work: the container would run less confined than it was promised.
pub(crate) fn check(process: &ProcessPlan, mounts: Option<&CStr>) -> Result<()> {
    let object = match (&process.selinux, mounts) {
        (Some(_), _) => "process.selinuxLabel",
        (None, Some(_)) => "linux.mountLabel",
        (None, None) => return Ok(()),
    };
    if is_enabled() {
        return Ok(());
    }
    // runc's words.
    let text = "selinux label is specified in config, but selinux is disabled or not supported";
    Err(Error::new(ErrorKind::FailedPrecondition, "", object, text))
}

/// The file system is there, and a policy is loaded: until then everything has the label of the kernel.
fn is_enabled() -> bool {
    let there = rustix::fs::statfs(SELINUXFS).is_ok_and(|stat| stat.f_type as u64 & 0xffff_ffff == MAGIC);
    let own = || tare_sys::file::read_text("/proc/self/attr/current", 4096);
    there && own().is_ok_and(|label| label.trim_end_matches(['\0', '\n']) != "kernel")
}
