//! Users and groups of an image by its own /etc/passwd and /etc/group, never the host's.
//!
//! Text of digits is a number and never a name (CVE-2026-46680); a number beyond 2³¹-1 is refused before it can wrap
//! around to root (CVE-2024-40635). The files are read below descriptors with openat2 and a bound on their size.

use crate::{Error, Result};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tare_types::{ErrorKind, spec::User};

/// Bytes of passwd or group that are read.
const MAX_FILE: u64 = 1 << 20;

/// A resolved user and where it is at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) home: String,
}

/// Layers of a root file system, topmost first; or one descriptor of a mounted one.
#[derive(Debug)]
pub(crate) struct Layers(pub(crate) Vec<OwnedFd>);

impl Layers {
    /// Reads a regular file from the topmost layer that has it; `None` when there is none or it is too large.
    fn read(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>> {
        for layer in &self.0 {
            match open(layer.as_fd(), &format!("{directory}/{name}")) {
                Ok(file) => return read_regular(file, name),
                // A whiteout: a character device 0/0, which cannot be opened.
                Err(Errno::NXIO | Errno::NODEV | Errno::NOTDIR) => return Ok(None),
                Err(Errno::NOENT) if is_opaque(layer.as_fd(), directory) => return Ok(None),
                Err(Errno::NOENT | Errno::LOOP | Errno::XDEV) => {}
                Err(errno) => return Err(failed(name, errno)),
            }
        }
        Ok(None)
    }
}

fn open(layer: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(layer, path, flags, Mode::empty(), resolve)
}

/// Whether a directory of an overlay layer hides what is below it.
fn is_opaque(layer: BorrowedFd<'_>, directory: &str) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(directory) = rustix::fs::openat2(layer, directory, flags, Mode::empty(), resolve) else {
        return false;
    };
    let mut value = [0_u8; 4];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        rustix::fs::fgetxattr(&directory, *name, &mut value).is_ok_and(|length| value[..length] == *b"y")
    })
}

fn read_regular(file: OwnedFd, name: &str) -> Result<Option<Vec<u8>>> {
    let status = rustix::fs::fstat(&file).map_err(|errno| failed(name, errno))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| {
        Error::new(ErrorKind::Internal, "read", "file of image", format!("/etc/{name}"), "")
            .with_source(error)
    })?;
    if bytes.len() as u64 > MAX_FILE {
        let detail = format!("it is larger than {MAX_FILE} bytes");
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            "read",
            "file of image",
            format!("/etc/{name}"),
            detail,
        ));
    }
    Ok(Some(bytes))
}

fn failed(name: &str, errno: Errno) -> Error {
    Error::new(ErrorKind::Internal, "read", "file of image", format!("/etc/{name}"), "")
        .with_source(std::io::Error::from(errno))
}

/// Resolves `user[:group]` and further groups.
///
/// # Errors
/// `InvalidArgument` for a name that the image does not know, or a number out of range.
pub(crate) fn resolve(layers: &Layers, text: &str, more: &[String]) -> Result<Account> {
    let passwd = layers.read("etc", "passwd")?.unwrap_or_default();
    let group = layers.read("etc", "group")?.unwrap_or_default();
    find(&passwd, &group, text, more)
}

/// Lines of a colon-separated file with at least so many fields. What is no UTF-8 is skipped.
fn lines(bytes: &[u8], fields: usize) -> impl Iterator<Item = Vec<&str>> {
    bytes.split(|byte| *byte == b'\n').filter_map(move |line| {
        let line = std::str::from_utf8(line).ok()?.trim();
        let parts: Vec<&str> = line.split(':').collect();
        (!line.starts_with('#') && parts.len() >= fields).then_some(parts)
    })
}

fn find(passwd: &[u8], group: &[u8], text: &str, more: &[String]) -> Result<Account> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let wanted = if user_text.is_empty() { Some(0) } else { number("user", user_text)? };
    let entry = lines(passwd, 4).find(|entry| match wanted {
        Some(id) => entry[2].parse() == Ok(id),
        None => entry[0] == user_text,
    });
    let uid = match (wanted, &entry) {
        (Some(id), _) => id,
        (None, Some(entry)) => number("user", entry[2])?.ok_or_else(|| unknown("user", user_text))?,
        (None, None) => return Err(unknown("user", user_text)),
    };
    let gid = if group_text.is_empty() {
        match &entry {
            Some(entry) => number("group", entry[3])?.unwrap_or(0),
            None => 0,
        }
    } else {
        group_id(group, group_text)?
    };
    // The primary group comes first: a group that denies access must count too (CVE-2022-36109).
    let mut groups = vec![gid];
    if let (true, Some(entry)) = (group_text.is_empty(), &entry) {
        let of_user = lines(group, 4).filter(|line| line[3].split(',').any(|member| member == entry[0]));
        groups.extend(of_user.filter_map(|line| number("group", line[2]).ok().flatten()));
    }
    for text in more {
        groups.push(group_id(group, text)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let home = entry.as_ref().and_then(|entry| entry.get(5)).filter(|home| home.starts_with('/'));
    let home = home.map_or_else(|| "/".to_owned(), |home| (*home).to_owned());
    let user = User { uid, gid, additional_gids: groups, ..User::default() };
    Ok(Account { user, home })
}

fn group_id(group: &[u8], text: &str) -> Result<u32> {
    if let Some(id) = number("group", text)? {
        return Ok(id);
    }
    let entry = lines(group, 3).find(|entry| entry[0] == text).ok_or_else(|| unknown("group", text))?;
    number("group", entry[2])?.ok_or_else(|| unknown("group", text))
}

/// The number in a text of digits; `None` for a text that is none.
fn number(what: &'static str, text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= i32::MAX as u32 => Ok(Some(id)),
        _ => {
            let detail = "uids and gids must be in range 0-2147483647";
            Err(Error::new(ErrorKind::InvalidArgument, "use", what, text, detail))
        }
    }
}

fn unknown(what: &'static str, name: &str) -> Error {
    let detail = if what == "user" {
        format!("unable to find user {name}: no matching entries in passwd file")
    } else {
        format!("unable to find group {name}: no matching entries in group file")
    };
    Error::new(ErrorKind::InvalidArgument, "use", what, name, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/false\n7:x:99:99::/:/x\nbig:x:4294967296:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:root,web\nweb:x:33:\nextra:x:50:web\n";

    fn ids(text: &str, more: &[&str]) -> Result<(u32, u32, Vec<u32>, String)> {
        let more: Vec<String> = more.iter().map(|text| (*text).to_owned()).collect();
        let account = find(PASSWD, GROUP, text, &more)?;
        Ok((account.user.uid, account.user.gid, account.user.additional_gids, account.home))
    }

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(ids("", &[]).unwrap(), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(ids("web", &[]).unwrap(), (33, 33, vec![33, 10, 50], "/var/www".into()));
        assert_eq!(ids("33", &[]).unwrap(), (33, 33, vec![33, 10, 50], "/var/www".into()));
        assert_eq!(ids("web:root", &["extra", "60"]).unwrap().2, [0, 50, 60]);
        assert_eq!(ids("1000:1001", &[]).unwrap(), (1000, 1001, vec![1001], "/".into()));
    }

    #[test]
    fn digits_are_never_a_name_and_never_wrap() {
        // A user whose name is "7" and id 99 must not be found by the number 7.
        assert_eq!(ids("7", &[]).unwrap(), (7, 0, vec![0], "/".into()));
        for bad in
            ["4294967296", "2147483648", "99999999999999999999", "nobody", "web:none", "big", "-1", "+1"]
        {
            assert!(ids(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_found_through_layers_and_not_outside() {
        let (top, low) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(low.path().join("etc")).unwrap();
        std::fs::write(low.path().join("etc/passwd"), PASSWD).unwrap();
        let fd = |path: &std::path::Path| OwnedFd::from(File::open(path).unwrap());
        let layers = || Layers(vec![fd(top.path()), fd(low.path())]);
        assert_eq!(resolve(&layers(), "web", &[]).unwrap().user.uid, 33);
        std::fs::create_dir(top.path().join("etc")).unwrap();
        std::fs::write(top.path().join("etc/passwd"), b"web:x:44:44::/w:\n").unwrap();
        assert_eq!(resolve(&layers(), "web", &[]).unwrap().user.uid, 44);
        // A link that leads out of the layer stays below it.
        std::fs::remove_file(top.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/../../../../../../etc/passwd", top.path().join("etc/passwd")).unwrap();
        assert!(resolve(&layers(), "root", &[]).is_ok_and(|account| account.home == "/root"));
    }
}
