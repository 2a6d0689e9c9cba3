//! Making bytes durable, with as few barriers as there are file systems.

use crate::{Error, Result};
use std::os::fd::BorrowedFd;

/// One `syncfs` per distinct file system of these descriptors.
pub(crate) fn sync_filesystems<'a>(roots: impl IntoIterator<Item = BorrowedFd<'a>>) -> Result<()> {
    let mut done = Vec::new();
    for root in roots {
        let failed = |errno| Error::io("sync file system", "", errno);
        let device = rustix::fs::fstat(root).map_err(failed)?.st_dev;
        if !done.contains(&device) {
            rustix::fs::syncfs(root).map_err(failed)?;
            done.push(device);
        }
    }
    Ok(())
}
