//! Who is in a cgroup and what is below it.

use super::read;
use crate::{Errno, Result};
use alloc::{format, string::String, vec::Vec};
use rustix::fs::{Dir, FileType, Mode, OFlags};

/// Processes in a directory and all below it, ascending, as the caller's pid namespace numbers them. A cgroup that
/// is gone has none.
///
/// # Errors
/// Of reading `cgroup.procs`.
pub fn processes(directory: &str) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    collect(directory, &mut pids)?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(directory: &str, pids: &mut Vec<i32>) -> Result<()> {
    match read(directory, "cgroup.procs") {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // Removed meanwhile, or threaded: then the processes are listed above.
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    children(directory).iter().try_for_each(|child| collect(child, pids))
}

/// The cgroups directly below; none for a directory that is gone.
pub fn children(directory: &str) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::open(directory, flags, Mode::empty()) else { return Vec::new() };
    // The link count of a cgroup directory is two and one for each below it.
    if rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_nlink == 2) {
        return Vec::new();
    }
    let Ok(entries) = Dir::read_from(&fd) else { return Vec::new() };
    let child = |entry: rustix::fs::DirEntry| {
        let name = entry.file_name().to_str().ok()?;
        let wanted = entry.file_type() == FileType::Directory && name != "." && name != "..";
        wanted.then(|| format!("{directory}/{name}"))
    };
    entries.flatten().filter_map(child).collect()
}
