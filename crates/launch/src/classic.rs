//! New file systems by mount(2): one call where fsopen(2) takes five and more.
//!
//! mount(2) takes a path. The path here is `.` or a new name in the working directory, which the child enters by
//! descriptor: nothing is looked up that somebody else could have exchanged. Only after the change of root, when the
//! working directory is nobody's concern until the process's own is entered; and only for the kernel's own file
//! systems. Whatever fails is done again by the other way, which says what was wrong.

use crate::{
    FsOption,
    interpreter::Child,
    report::{At, Call, Outcome},
};
use core::ffi::CStr;
use rustix::{fd::BorrowedFd, mount::MountFlags};

/// A file system to be made.
pub(crate) struct NewFilesystem<'o> {
    pub(crate) kind: &'o CStr,
    pub(crate) options: &'o [FsOption<'o>],
    /// A `mode` option besides.
    pub(crate) mode: Option<&'o CStr>,
    /// `MOUNT_ATTR_*`.
    pub(crate) attributes: u32,
}

/// Where the working directory of a child that has changed its root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not changed yet: it is the caller's and must stay.
    Foreign,
    /// Anywhere in the container.
    Own,
    /// The child's own `/dev`.
    Dev,
    /// What `/proc` leads to.
    Proc,
}

/// Mounts over a directory. False when this way is not open, or failed.
pub(crate) fn over(child: &Child<'_>, directory: BorrowedFd<'_>, new: &NewFilesystem<'_>) -> bool {
    if child.place.get() == Place::Foreign {
        return false;
    }
    child.place.set(Place::Own);
    rustix::process::fchdir(directory).is_ok() && mount(new, c".")
}

/// Mounts over a name of a directory, which is the place `which`. False as above.
pub(crate) fn at(
    child: &Child<'_>,
    (directory, which): (BorrowedFd<'_>, Place),
    name: &CStr,
    new: &NewFilesystem<'_>,
) -> bool {
    if child.place.get() == Place::Foreign {
        return false;
    }
    if child.place.get() != which {
        child.place.set(Place::Own);
        if rustix::process::fchdir(directory).is_err() {
            return false;
        }
        child.place.set(which);
    }
    mount(new, name)
}

/// Back to the root, if the child has left it.
pub(crate) fn leave(child: &Child<'_>) -> Outcome {
    match child.place.get() {
        Place::Foreign => Ok(()),
        _ => rustix::process::chdir(c"/").at(Call::Chdir),
    }
}

fn mount(new: &NewFilesystem<'_>, target: &CStr) -> bool {
    const KINDS: [&CStr; 5] = [c"proc", c"sysfs", c"tmpfs", c"devpts", c"mqueue"];
    let mut text = [0; 512];
    let Some((source, data)) = words(new, &mut text).filter(|_| KINDS.contains(&new.kind)) else {
        return false;
    };
    let Some(flags) = flags(new.attributes) else { return false };
    rustix::mount::mount(source, target, new.kind, flags, data).is_ok()
}

/// Source, and the other options as mount(2) wants them: separated by commas.
fn words<'t>(new: &NewFilesystem<'t>, text: &'t mut [u8; 512]) -> Option<(&'t CStr, Option<&'t CStr>)> {
    let mut source = new.kind;
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        let room = text.get_mut(length..length + bytes.len())?;
        room.copy_from_slice(bytes);
        length += bytes.len();
        Some(())
    };
    let mode = new.mode.map(|mode| FsOption { key: c"mode", value: Some(mode) });
    for option in new.options.iter().chain(&mode) {
        let value = option.value.map(CStr::to_bytes);
        if option.key == c"source" {
            source = option.value?;
            continue;
        }
        if value.is_some_and(|value| value.iter().any(|byte| matches!(byte, b',' | b'\\' | b'"'))) {
            return None;
        }
        put(option.key.to_bytes())?;
        if let Some(value) = value {
            put(b"=")?;
            put(value)?;
        }
        put(b",")?;
    }
    if length == 0 {
        return Some((source, None));
    }
    text[length - 1] = 0;
    CStr::from_bytes_until_nul(text).ok().map(|data| (source, Some(data)))
}

/// `MS_*` for `MOUNT_ATTR_*`, if each has its counterpart.
fn flags(attributes: u32) -> Option<MountFlags> {
    const PAIRS: [(u32, MountFlags); 7] = [
        (0x1, MountFlags::RDONLY),
        (0x2, MountFlags::NOSUID),
        (0x4, MountFlags::NODEV),
        (0x8, MountFlags::NOEXEC),
        (0x10, MountFlags::NOATIME),
        (0x20, MountFlags::STRICTATIME),
        (0x80, MountFlags::NODIRATIME),
    ];
    let known = PAIRS.iter().fold(0, |known, (attribute, _)| known | attribute);
    let used = PAIRS.iter().filter(|(attribute, _)| attributes & attribute != 0);
    (attributes & !known == 0).then(|| used.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_as_one_text() {
        let options = [
            FsOption { key: c"source", value: Some(c"shm") },
            FsOption { key: c"newinstance", value: None },
            FsOption { key: c"gid", value: Some(c"5") },
        ];
        let new = NewFilesystem { kind: c"tmpfs", options: &options, mode: Some(c"1777"), attributes: 0 };
        let mut text = [0; 512];
        assert_eq!(words(&new, &mut text), Some((c"shm", Some(c"newinstance,gid=5,mode=1777"))));
        let none = NewFilesystem { kind: c"proc", options: &[], mode: None, attributes: 0 };
        assert_eq!(words(&none, &mut [0; 512]), Some((c"proc", None)));
    }

    #[test]
    fn what_cannot_be_written_is_left_to_the_other_way() {
        let option = |value| [FsOption { key: c"context", value: Some(value) }];
        for value in [c"a,b", c"a\\b", c"\"a\""] {
            let options = option(value);
            let new = NewFilesystem { kind: c"tmpfs", options: &options, mode: None, attributes: 0 };
            assert_eq!(words(&new, &mut [0; 512]), None);
        }
        assert_eq!(flags(0x20_0000), None);
        assert_eq!(flags(0x2f), Some(MountFlags::from_bits_retain(0xf | 1 << 24)));
    }
}
