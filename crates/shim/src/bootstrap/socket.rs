//! The shim's socket: where it is and how it comes to be. A path socket, 0600 in a directory of mode 0700 or one
//! that others may only pass through (CVE-2020-15257: abstract sockets are reachable from every network namespace).

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::args::Args;

/// containerd's place for sockets; used where the daemon's own directory makes the path too long.
const FALLBACK_DIR: &str = "/run/containerd/s";
/// Longest path of a unix socket (sun_path without its final NUL).
const MAX_PATH: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// `<dir of the daemon's socket>/s/<sha256 of address/namespace/group>`; for a containerd with its default
/// address this is what its own shims use.
pub(super) fn path(args: &Args, group: &str, dir: Option<&str>) -> PathBuf {
    let key = format!("{}/{}/{group}", args.address, args.namespace);
    let name = Sha256::digest(key.as_bytes()).iter().fold(String::new(), |mut name, byte| {
        // Writing to a String cannot fail.
        write!(name, "{byte:02x}").unwrap_or_default();
        name
    });
    let address = args.address.strip_prefix("unix://").unwrap_or(&args.address);
    let beside = Path::new(address).parent().filter(|dir| dir.is_absolute()).map(|dir| dir.join("s"));
    let candidates = [dir.map(PathBuf::from), beside];
    let fits = |dir: &PathBuf| dir.is_absolute() && dir.as_os_str().len() + 1 + name.len() <= MAX_PATH;
    candidates.into_iter().flatten().find(fits).unwrap_or_else(|| PathBuf::from(FALLBACK_DIR)).join(&name)
}

/// Listens at `path`; `None` when a shim answers there already.
///
/// # Errors
/// The step that failed, with the path.
pub(super) fn listen(path: &Path) -> Result<Option<OwnedFd>, String> {
    let failed = |step: &str, error: &dyn std::fmt::Display| format!("{step} {}: {error}", path.display());
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed("make directory of", &error))?;
        refuse_foreign_dir(dir)?;
    }
    let address = SocketAddrUnix::new(path).map_err(|error| failed("socket path", &error))?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| failed("socket for", &error))?;
    // The mode counts at bind already: there is no moment in which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed("chmod socket", &error))?;
    if let Err(error) = rustix::net::bind(&socket, &address) {
        if error != rustix::io::Errno::ADDRINUSE {
            return Err(failed("bind", &error));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Ok(None);
        }
        fs::remove_file(path).map_err(|error| failed("remove dead socket", &error))?;
        rustix::net::bind(&socket, &address).map_err(|error| failed("bind", &error))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| failed("chmod", &error))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| failed("listen", &error))?;
    Ok(Some(socket))
}

/// A directory that others may write to would let them take the socket's place.
fn refuse_foreign_dir(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(dir).map_err(|error| format!("stat {}: {error}", dir.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() || (meta.uid() != own && meta.uid() != 0) || meta.mode() & 0o022 != 0 {
        return Err(format!(
            "socket directory {} must be a directory of root that nobody else can write",
            dir.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(address: &str) -> Args {
        let line = ["-namespace", "n", "-id", "a", "-address", address, "start"];
        crate::args::parse_args(line.iter().map(Into::into)).unwrap()
    }

    #[test]
    fn the_path_is_containerds_and_never_too_long() {
        let socket = path(&args("/run/containerd/containerd.sock"), "g", None);
        assert!(socket.starts_with("/run/containerd/s"));
        assert_eq!(socket.file_name().unwrap().len(), 64);
        assert_ne!(socket, path(&args("/run/containerd/containerd.sock"), "h", None));
        let long = format!("/{}/c.sock", "d".repeat(60));
        assert!(path(&args(&long), "g", None).starts_with(FALLBACK_DIR));
        assert!(path(&args(""), "g", None).starts_with(FALLBACK_DIR));
        assert!(path(&args("/run/c.sock"), "g", Some("/run/other")).starts_with("/run/other"));
    }

    #[test]
    fn a_live_socket_is_found_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/sock");
        let first = listen(&path).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("s")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(listen(&path).unwrap().is_none());
        drop(first);
        assert!(listen(&path).unwrap().is_some());
    }

    #[test]
    fn a_directory_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(listen(&dir.path().join("sock")).is_err());
    }
}
