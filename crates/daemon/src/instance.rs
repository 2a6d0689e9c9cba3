//! What makes a daemon one: locks on its directories, and the name of its objects in the kernel.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Locks of the root and the state directory; held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Locks {
    _root: File,
    _state: File,
}

/// Locks both directories, which are made when absent.
///
/// # Errors
/// When another daemon holds one; the message names the directory.
pub fn lock(root: &Path, state: &Path) -> anyhow::Result<Locks> {
    Ok(Locks { _root: lock_directory(root, 0o700)?, _state: lock_directory(state, 0o711)? })
}

fn lock_directory(directory: &Path, mode: u32) -> anyhow::Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .with_context(|| format!("make {}", directory.display()))?;
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).with_context(|| format!("open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another tared uses {}: give this one its own --root and --state", directory.display())
        }
        Err(errno) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

/// The instance id: eight hexadecimal digits in `<root>/instance`, made once. The caller holds the lock.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub fn id(root: &Path) -> anyhow::Result<String> {
    let path = root.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            if id.len() != 8 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                bail!("{} holds {id:?}, not eight hexadecimal digits", path.display());
            }
            Ok(id.to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0_u8; 4];
            File::open("/dev/urandom")
                .and_then(|mut file| file.read_exact(&mut bytes))
                .context("read /dev/urandom")?;
            let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let new = root.join(".instance.new");
            let write = || -> std::io::Result<()> {
                let mut file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
                file.write_all(id.as_bytes())?;
                // It names what is left in the kernel after a crash: it must not be lost.
                file.sync_all()?;
                fs::rename(&new, &path)?;
                File::open(root)?.sync_all()
            };
            write().with_context(|| format!("write {}", path.display()))?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once_and_the_lock_is_exclusive() {
        let directory = tempfile::tempdir().unwrap();
        let (root, state) = (directory.path().join("root"), directory.path().join("state"));
        let locks = lock(&root, &state).unwrap();
        assert!(lock(&root, &directory.path().join("other")).is_err());
        let first = id(&root).unwrap();
        assert_eq!(id(&root).unwrap(), first);
        fs::write(root.join("instance"), "../../x").unwrap();
        assert!(id(&root).is_err());
        drop(locks);
        lock(&root, &state).unwrap();
    }
}
