//! Making a cgroup for the calling process, in every tree.

use super::{Mounts, join, read_value, write};
use crate::{Errno, Error, Result, file};
use alloc::{string::String, vec::Vec};

/// Makes the cgroup `path` with all above it where it is missing: in every tree of version 1, or in that of version 2. A
/// new one of the tree of cpuset begins with what is above it, for nobody may enter one without processors and memory.
///
/// # Errors
/// mkdir(2)'s and write(2)'s; EINVAL for a path that leads upwards.
pub fn make(path: &str) -> Result<()> {
    if path.split('/').any(|part| part == "..") || path.trim_matches('/').is_empty() {
        return Err(Error::new("make cgroup", path, Errno::INVAL));
    }
    let trees: Vec<String> = match Mounts::detect()? {
        Mounts::V2 { mount } => Vec::from([mount]),
        Mounts::V1 { hierarchies, .. } => hierarchies.into_iter().map(|tree| tree.mount).collect(),
    };
    for tree in trees {
        let mut above = tree;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let directory = join(&above, part);
            file::make_dir_all(&directory, 0o755)?;
            inherit(&above, &directory)?;
            above = directory;
        }
    }
    Ok(())
}

fn inherit(above: &str, directory: &str) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        // Only version 1 has to be told, and only its tree of cpuset has these.
        let Ok(value) = read_value(directory, name) else { continue };
        if value.trim().is_empty() {
            let inherited = read_value(above, name)?;
            if !inherited.trim().is_empty() {
                write(directory, name, inherited.trim())?;
            }
        }
    }
    Ok(())
}
