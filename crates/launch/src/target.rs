//! Finding, and if need be making, the place below the root where something is attached.

use crate::{
    TargetKind,
    report::{At, Call, Failed, Outcome},
};
use core::ffi::CStr;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

const LIMIT: usize = 4096;

/// Links that lead nowhere and are followed one after the other; each takes some room on the stack.
const LINKS: u8 = 8;

/// How often a place is looked for again that changes meanwhile.
const RACES: u8 = 100;

/// Descriptors of higher numbers are closed at once: a configuration with many mounts must not meet the limit.
const LEFT_OPEN: i32 = 128;

/// Is done with a descriptor. Those of the child are close-on-exec and closed together before the process waits for
/// its program: one call instead of one each.
pub(crate) fn leave(fd: OwnedFd) {
    if fd.as_raw_fd() < LEFT_OPEN {
        let _ = fd.into_raw_fd();
    }
}

/// Opens what is at `path` below `root`, links followed inside the root, magic links never.
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_with(root, path, flags, ResolveFlags::empty())
}

/// As [`open_below`] without a symbolic link on the way.
pub(crate) fn open_strict(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_with(root, path, flags, ResolveFlags::NO_SYMLINKS)
}

fn open_with(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let mut tries = 0;
    loop {
        // EAGAIN: something was renamed while `..` was resolved; the kernel asks for another try.
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < 128 => tries += 1,
            result => return result,
        }
    }
}

/// Opens a mount's destination as a handle (O_PATH); makes it and its parents if they are missing, and says so.
///
/// With `strict` no symbolic link may be on the way.
pub(crate) fn open_target(
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: TargetKind,
    strict: bool,
) -> Outcome<(OwnedFd, bool)> {
    let mut tries = 0;
    loop {
        match open_or_make(root, path, kind, strict) {
            // What one step has found another step did not: somebody renames in there. Whoever shares a volume must
            // not be able to keep the container from starting, and what stays like this is told after a moment.
            Err(Failed { errno: Errno::NOENT | Errno::EXIST | Errno::NOTDIR, .. }) if tries < RACES => {
                tries += 1
            }
            done => return done,
        }
    }
}

fn open_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: TargetKind,
    strict: bool,
) -> Outcome<(OwnedFd, bool)> {
    let resolve = if strict { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    let directory = if strict && kind == TargetKind::Directory { OFlags::DIRECTORY } else { OFlags::empty() };
    match open_with(root, path, OFlags::PATH | directory, resolve) {
        Err(Errno::NOENT) => make(root, path, kind, if strict { 0 } else { LINKS }).map(|made| (made, true)),
        found => found.at(Call::Openat2).map(|found| (found, false)),
    }
}

/// Makes a directory and its parents, and opens it.
pub(crate) fn make_directory(root: BorrowedFd<'_>, path: &CStr) -> Outcome<OwnedFd> {
    open_target(root, path, TargetKind::Directory, false).map(|(directory, _)| directory)
}

/// Opens the directory that holds `path`, made if missing, and gives the last name.
pub(crate) fn open_parent<'p>(root: BorrowedFd<'_>, path: &'p CStr) -> Outcome<(OwnedFd, &'p CStr)> {
    let bytes = path.to_bytes_with_nul();
    let name_at = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = CStr::from_bytes_with_nul(&bytes[name_at..]).map_err(|_| invalid())?;
    if name.is_empty() || name == c"." || name == c".." {
        return Err(invalid());
    }
    let mut buffer = [0; LIMIT];
    let parent = prefix(&mut buffer, &bytes[..name_at])?;
    Ok((make_directory(root, parent)?, name))
}

/// Mostly only the last name is missing.
///
/// Where a symbolic link leads nowhere (`/etc/resolv.conf` of many images), what it names is made, inside the root;
/// at most `links` of them one after the other.
fn make(root: BorrowedFd<'_>, path: &CStr, kind: TargetKind, links: u8) -> Outcome<OwnedFd> {
    let bytes = path.to_bytes();
    if let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/').filter(|slash| slash + 1 < bytes.len())
    {
        let mut buffer = [0; LIMIT];
        let above = prefix(&mut buffer, &bytes[..slash])?;
        if let Ok(parent) = open_below(root, above, OFlags::PATH | OFlags::DIRECTORY) {
            let mut name = [0; 256];
            let name = prefix(&mut name, &bytes[slash + 1..])?;
            let made = match kind {
                TargetKind::File => make_file(parent.as_fd(), name),
                TargetKind::Directory => step(root, parent.as_fd(), path, name, false),
            };
            let link = Link { parent: parent.as_fd(), name, above: &bytes[..slash], rest: b"" };
            let made = made.or_else(|failed| follow(root, &link, kind, links, failed));
            leave(parent);
            return made;
        }
    }
    make_all(root, bytes, kind, links)
}

/// The prefix ends at each `/` in turn; every step is resolved from the root again, since a link on the
/// way may lead anywhere inside it.
fn make_all(root: BorrowedFd<'_>, bytes: &[u8], kind: TargetKind, links: u8) -> Outcome<OwnedFd> {
    let mut parent = open_below(root, c"/", OFlags::PATH | OFlags::DIRECTORY).at(Call::Openat2)?;
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes[start..].iter().position(|byte| *byte == b'/').map_or(bytes.len(), |at| start + at);
        if end > start {
            let rest = bytes.get(end + 1..).unwrap_or_default();
            let last = rest.iter().all(|byte| *byte == b'/');
            let mut whole = [0; LIMIT];
            let whole = prefix(&mut whole, &bytes[..end])?;
            let mut name = [0; 256];
            let name = prefix(&mut name, &bytes[start..end])?;
            let made = if last && kind == TargetKind::File {
                make_file(parent.as_fd(), name)
            } else {
                step(root, parent.as_fd(), whole, name, true)
            };
            let above = &bytes[..start.saturating_sub(1)];
            match made {
                Ok(made) if last => return Ok(made),
                Ok(made) => parent = made,
                Err(failed) => {
                    let link = Link { parent: parent.as_fd(), name, above, rest };
                    return follow(root, &link, kind, links, failed);
                }
            }
        }
        start = end + 1;
    }
    Ok(parent)
}

/// A name that could not be made because something is there.
struct Link<'a> {
    parent: BorrowedFd<'a>,
    name: &'a CStr,
    /// Path of the parent below the root.
    above: &'a [u8],
    /// What comes after the name.
    rest: &'a [u8],
}

/// Makes what a link names that leads nowhere. Its text is a path below the root, or below the link's directory,
/// resolved and made like any other: it cannot lead outside.
fn follow(
    root: BorrowedFd<'_>,
    link: &Link<'_>,
    kind: TargetKind,
    links: u8,
    failed: Failed,
) -> Outcome<OwnedFd> {
    if !matches!(failed.errno, Errno::EXIST | Errno::NOENT) {
        return Err(failed);
    }
    let mut path = [0; LIMIT];
    let mut text = [0; LIMIT / 2];
    // Something else than a link: the first failure says more.
    let length = rustix::fs::readlinkat_raw(link.parent, link.name, &mut text[..]).map_err(|_| failed)?;
    let text = text.get(..length).filter(|text| !text.is_empty() && text.len() < LIMIT / 2).ok_or(failed)?;
    if links == 0 {
        return Err(Failed { call: Call::Openat2, errno: Errno::LOOP });
    }
    let above = if text[0] == b'/' { &b""[..] } else { link.above };
    let mut length = 0;
    for part in [above, b"/", text, b"/", link.rest] {
        let room = path.get_mut(length..length + part.len());
        room.ok_or(Failed { call: Call::Openat2, errno: Errno::NAMETOOLONG })?.copy_from_slice(part);
        length += part.len();
    }
    while length > 1 && path[length - 1] == b'/' {
        length -= 1;
        path[length] = 0;
    }
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| invalid())?;
    match open_below(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make(root, path, kind, links - 1),
        found => found.at(Call::Openat2),
    }
}

fn step(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    whole: &CStr,
    name: &CStr,
    may_exist: bool,
) -> Outcome<OwnedFd> {
    const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
    if may_exist {
        match open_below(root, whole, DIRECTORY) {
            Err(Errno::NOENT) => {}
            found => return found.at(Call::Openat2),
        }
    }
    // A dangling link exists and leads nowhere: mkdirat answers EEXIST and the next open ENOENT.
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open_below(root, whole, DIRECTORY).at(Call::Openat2),
        Err(errno) => Err(Failed { call: Call::Mkdirat, errno }),
    }
}

fn make_file(parent: BorrowedFd<'_>, name: &CStr) -> Outcome<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o755)).at(Call::Open)
}

fn prefix<'b>(buffer: &'b mut [u8], bytes: &[u8]) -> Outcome<&'b CStr> {
    if bytes.is_empty() {
        return Ok(c"/");
    }
    let room =
        buffer.get_mut(..=bytes.len()).ok_or(Failed { call: Call::Openat2, errno: Errno::NAMETOOLONG })?;
    room[..bytes.len()].copy_from_slice(bytes);
    room[bytes.len()] = 0;
    CStr::from_bytes_with_nul(room).map_err(|_| invalid())
}

fn invalid() -> Failed {
    Failed { call: Call::Openat2, errno: Errno::INVAL }
}
