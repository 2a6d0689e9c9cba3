//! Binding the daemon's sockets: 0660, below directories that only root can change.

use crate::config::Socket;
use anyhow::{Context, bail};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
    path::Path,
};
use tokio::net::UnixListener;

/// Binds a socket. A dead daemon's socket is replaced; anything else at its path is an error.
///
/// # Errors
/// What the kernel refuses, with the path.
pub fn bind(socket: &Socket, group: Option<u32>) -> anyhow::Result<UnixListener> {
    let path = &socket.address;
    if let Some(parent) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(parent);
        made.with_context(|| format!("make {}", parent.display()))?;
    }
    match fs::symlink_metadata(path) {
        // The lock of the directories is held: whoever bound it is dead.
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(_) => bail!("{} exists and is not a socket", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    }
    // Nobody but root can connect before the mode is set: the umask keeps write permission from others.
    let listener = UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))?;
    let gid = if socket.gid == 0 { group } else { Some(socket.gid) };
    chown(path, Some(socket.uid), gid).with_context(|| format!("change owner of {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("change mode of {}", path.display()))?;
    Ok(listener)
}

/// Removes a socket at the daemon's end: a client sees that nobody is there, not that somebody refuses.
pub fn remove(path: &Path) {
    if path.as_os_str().is_empty() {
        return;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "the socket stays");
        }
        _ => {}
    }
}

/// The number of a group of the host, from /etc/group.
pub fn group_id(name: &str) -> Option<u32> {
    find_group(&fs::read_to_string(Path::new("/etc/group")).ok()?, name)
}

fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_replaces_a_dead_one_only() {
        let directory = tempfile::tempdir().unwrap();
        let socket = Socket { address: directory.path().join("a/x.sock"), uid: 0, gid: 0 };
        drop(bind(&socket, None).unwrap());
        let _again = bind(&socket, None).unwrap();
        assert_eq!(fs::metadata(&socket.address).unwrap().permissions().mode() & 0o777, 0o660);
        let file = Socket { address: directory.path().join("file"), ..socket };
        fs::write(&file.address, "x").unwrap();
        assert!(bind(&file, None).is_err());
        remove(&socket.address);
        assert!(!socket.address.exists());
        remove(&socket.address);
    }

    #[test]
    fn groups() {
        assert_eq!(find_group("root:x:0:\ndocker:x:999:me\n", "docker"), Some(999));
        assert_eq!(find_group("root:x:0:\n", "docker"), None);
    }
}
