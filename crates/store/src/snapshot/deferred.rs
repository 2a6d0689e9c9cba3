//! Snapshots whose files are synced after their row: which, how the mark goes, and what a power cut leaves of them.
//!
//! A pull answers when its blobs and rows are durable and its files are in the page cache. Until a `syncfs` has run, the
//! row names the kernel that has them. Nothing durable may stand on such a snapshot, so under another kernel it can be
//! taken away whole, and be made again from the content store. `docs/adr/0008-layers-are-synced-after-the-answer.md`.

use super::records;
use crate::{Error, Metadata, Result, Tables, metadata::SnapshotRow};
use std::os::fd::BorrowedFd;
use tare_types::Namespace;

/// Identifies the running kernel: proc(5), `/proc/sys/kernel/random/boot_id`.
pub(super) fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).map_err(|error| Error::io("read boot id", PATH, error))?;
    match text.trim() {
        "" => Err(Error::invalid("read boot id", PATH, "it is empty")),
        id => Ok(id.to_string()),
    }
}

/// Makes the files durable and takes the marks away. Returns how many there were.
pub(super) fn sync(metadata: &Metadata, snapshotter: &str, root: BorrowedFd<'_>) -> Result<usize> {
    let marked = marked(metadata, snapshotter)?;
    if marked.is_empty() {
        return Ok(0);
    }
    crate::sync::sync_filesystems([root])?;
    metadata.update(|tx| {
        for (namespace, row) in &marked {
            // Removed, or replaced by one that was not there when the sync began.
            let now = tx.snapshot(namespace, snapshotter, &row.info.name)?;
            if let Some(mut now) = now.filter(|now| now.id == row.id) {
                now.unsynced = None;
                tx.put_snapshot(namespace, snapshotter, &now)?;
            }
        }
        Ok(())
    })?;
    Ok(marked.len())
}

/// Removes the rows whose files another kernel had in its page cache. Their directories are garbage from then on.
pub(super) fn forget_lost(metadata: &Metadata, snapshotter: &str, boot: &str) -> Result<usize> {
    let mut lost = marked(metadata, snapshotter)?;
    lost.retain(|(_, row)| row.unsynced.as_deref() != Some(boot));
    if lost.is_empty() {
        return Ok(0);
    }
    let count = lost.len();
    metadata.update(|tx| {
        // Topmost first: only what nothing stands on can go.
        while !lost.is_empty() {
            let before = lost.len();
            let mut kept = Vec::new();
            for (namespace, row) in lost {
                match tx.snapshot_has_children(&namespace, snapshotter, &row.info.name)? {
                    true => kept.push((namespace, row)),
                    false => tx.remove_snapshot(&namespace, snapshotter, &row)?,
                }
            }
            lost = kept;
            if lost.len() == before {
                let detail = "its files may be lost, and other snapshots stand on it";
                let name = lost.first().map_or("", |(_, row)| row.info.name.as_str());
                return Err(Error::data_loss("open snapshotter", format_args!("snapshot {name}"), detail));
            }
        }
        Ok(())
    })?;
    Ok(count)
}

fn marked(metadata: &Metadata, snapshotter: &str) -> Result<Vec<(Namespace, SnapshotRow)>> {
    let mut rows = records::everywhere(metadata, snapshotter)?;
    rows.retain(|(_, row)| row.unsynced.is_some());
    Ok(rows)
}

#[cfg(test)]
mod tests;
