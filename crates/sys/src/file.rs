//! Whole files: read with a limit, write, replace.

use crate::{Context, Errno, Error, Result};
use alloc::{string::String, vec::Vec};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
};

/// Opens a file of the host, close-on-exec.
///
/// # Errors
/// open(2)'s.
pub fn open(path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode)).on("open", || path)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// open(2)'s, read(2)'s; EFBIG for a longer file.
pub fn read(path: &str, limit: usize) -> Result<Vec<u8>> {
    let fd = open(path, OFlags::RDONLY, 0)?;
    read_fd(&fd, limit).on("read", || path)
}

/// As [`read`] for a file whose size the kernel tells: a regular file that nobody writes to.
///
/// # Errors
/// As [`read_fd`]'s, and EINVAL for something that is no regular file.
pub fn read_regular(fd: impl AsFd, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let stat = fs::fstat(&fd)?;
    if !fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Errno::INVAL);
    }
    let size = usize::try_from(stat.st_size).map_err(|_| Errno::FBIG)?;
    if size > limit {
        return Err(Errno::FBIG);
    }
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let read =
            rustix::io::retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes)))?;
        if read == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// As [`read`], relative to a directory.
///
/// # Errors
/// As [`read`].
pub fn read_at(dir: impl AsFd, name: &str, limit: usize) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = fs::openat(dir, name, flags, Mode::empty()).on("openat", || name)?;
    read_fd(&fd, limit).on("read", || name)
}

/// As [`read`], as text.
///
/// # Errors
/// As [`read`]; EILSEQ when it is no UTF-8.
pub fn read_text(path: &str, limit: usize) -> Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| Error::new("read", path, Errno::ILSEQ))
}

/// Reads the text of a kernel file whose content is one record of less than 4096 bytes: one read(2) gives it whole.
///
/// # Errors
/// open(2)'s, read(2)'s; EFBIG for a longer one, EILSEQ when it is no UTF-8.
pub fn read_once(path: &str) -> Result<String> {
    let fd = open(path, OFlags::RDONLY, 0)?;
    read_once_fd(&fd, path)
}

/// As [`read_once`] from a descriptor; `path` is for the error.
///
/// # Errors
/// As [`read_once`]'s.
pub fn read_once_fd(fd: impl AsFd, path: &str) -> Result<String> {
    let mut bytes = [0; 4096];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut bytes)).on("read", || path)?;
    if length == bytes.len() {
        return Err(Error::new("read", path, Errno::FBIG));
    }
    let text = core::str::from_utf8(&bytes[..length]).map_err(|_| Error::new("read", path, Errno::ILSEQ))?;
    Ok(text.into())
}

/// Reads from a descriptor to its end.
///
/// # Errors
/// read(2)'s; EFBIG when there is more than `limit`.
pub fn read_fd(fd: impl AsFd, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096.min(limit + 1));
    loop {
        if bytes.len() > limit {
            return Err(Errno::FBIG);
        }
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.capacity().max(4096));
        }
        let read =
            rustix::io::retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes)))?;
        if read == 0 {
            return Ok(bytes);
        }
    }
}

/// Writes all bytes to a descriptor.
///
/// # Errors
/// write(2)'s.
pub fn write_fd(fd: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Writes to a file that exists, in one write, as kernel files want it.
///
/// # Errors
/// open(2)'s, write(2)'s.
pub fn write_existing(path: &str, bytes: &[u8]) -> Result<()> {
    let fd = open(path, OFlags::WRONLY, 0)?;
    write_fd(&fd, bytes).on("write", || path)
}

/// Puts a file in place whole or not at all: a temporary name beside it, then rename(2). No fsync.
///
/// # Errors
/// openat(2)'s, write(2)'s, renameat(2)'s; the temporary file is removed.
pub fn replace_at(dir: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let dir = dir.as_fd();
    let mut temporary = String::from(".");
    temporary.push_str(name);
    temporary.push_str(".new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(dir, temporary.as_str(), flags, Mode::from_raw_mode(mode))
        .on("openat", || temporary.as_str())?;
    let done = write_fd(&fd, bytes)
        .on("write", || name)
        .and_then(|()| fs::renameat(dir, temporary.as_str(), dir, name).on("renameat", || name));
    if done.is_err() {
        // The first error is what the caller must see; a left temporary file is overwritten next time.
        let _ = fs::unlinkat(dir, temporary.as_str(), AtFlags::empty());
    }
    done
}

/// Writes a new file; one that exists is an error.
///
/// # Errors
/// openat(2)'s, EEXIST among them; write(2)'s.
pub fn create_at(dir: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(dir, name, flags, Mode::from_raw_mode(mode)).on("openat", || name)?;
    write_fd(&fd, bytes).on("write", || name)
}

/// Makes a directory of the host and those above it that are missing.
///
/// # Errors
/// mkdir(2)'s.
pub fn make_dir_all(path: &str, mode: u32) -> Result<()> {
    match fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(Error::new("mkdir", path, errno)),
    }
    if let Some((parent, _)) =
        path.trim_end_matches('/').rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
    {
        make_dir_all(parent, mode)?;
    }
    match fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::new("mkdir", path, errno)),
    }
}

/// Descriptors 0, 1 and 2 of the program. One that is closed answers EBADF to every call.
pub fn standard_streams() -> [rustix::fd::BorrowedFd<'static>; 3] {
    crate::raw::standard_streams()
}

/// Whether a descriptor of this number is open.
pub fn is_open(number: i32) -> bool {
    are_open([number]).is_ok_and(|[open]| open)
}

/// Which of these numbers are open descriptors; one call for all.
///
/// # Errors
/// poll(2)'s.
pub fn are_open<const COUNT: usize>(numbers: [i32; COUNT]) -> Result<[bool; COUNT]> {
    crate::raw::are_open(numbers).on("poll", || "descriptors")
}

/// Closes descriptors: those whose numbers follow each other by one call.
pub fn close_all(fds: Vec<OwnedFd>) {
    crate::raw::close_all(fds);
}

/// Leaves a descriptor open for the rest of the program, also over execve.
pub fn leave_open(fd: OwnedFd) {
    use rustix::fd::IntoRawFd;
    // A flag that cannot be cleared only means that the descriptor closes at an execve.
    let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty());
    let _ = fd.into_raw_fd();
}
