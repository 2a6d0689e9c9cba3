//! A small disk of the test's own, to be filled: ext4 on a loop device, or tmpfs of that size where there is none.
//!
//! It is mounted in a mount namespace of the calling thread: programs that this thread starts see it, and it goes with
//! the last of them.

use crate::skip;
use rustix::{mount::MountPropagationFlags, thread::UnshareFlags};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The disk; it is unmounted with this value.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
    /// `ext4 on a loop device` or `tmpfs`.
    pub kind: &'static str,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of so many MiB, empty; `None`, counted as skipped, where nothing can be mounted.
    #[allow(clippy::print_stdout, reason = "a test's output says on what it ran")]
    pub fn new(mebibytes: u64) -> Option<Self> {
        #[allow(
            deprecated,
            reason = "the descriptor table stays shared: what the unsafe one warns of is not done"
        )]
        let own = rustix::thread::unshare(UnshareFlags::NEWNS);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        if let Err(error) = own.and_then(|()| rustix::mount::mount_change("/", private)) {
            skip::skipped(&format!("needs a mount namespace of its own ({error})"));
            return None;
        }
        let directory = tempfile::Builder::new().prefix("tare-disk-").tempdir_in("/var/tmp").ok()?;
        let mount = directory.path().join("disk");
        fs::create_dir(&mount).ok()?;
        let kind = if on_loop(&directory.path().join("image"), &mount, mebibytes) {
            "ext4 on a loop device"
        } else if run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], &mount) {
            "tmpfs"
        } else {
            skip::skipped("needs a loop device or a tmpfs that can be mounted");
            return None;
        };
        println!("the disk is {kind}");
        Some(Self { mount, kind, _directory: directory })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes in use.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mount).expect("statvfs of a mounted disk");
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    /// Takes every byte that is left, with a file that [`SmallDisk::free`] removes.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self) {
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(self.ballast()).expect("ballast");
        for size in [1 << 20, 4096, 512] {
            while file.write_all(&vec![0x5a; size]).is_ok() {}
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Panics
    /// When the file cannot be removed.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("remove ballast");
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.mount);
    }
}

fn on_loop(image: &Path, mount: &Path, mebibytes: u64) -> bool {
    let made = fs::File::create(image).and_then(|file| file.set_len(mebibytes << 20));
    made.is_ok()
        && run("mkfs.ext4", &["-q", "-F", "-m", "0", "-O", "^has_journal"], image)
        && run("mount", &["-o", "loop", &image.to_string_lossy()], mount)
}

fn run(program: &str, arguments: &[&str], last: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(last).output();
    output.is_ok_and(|output| output.status.success())
}
