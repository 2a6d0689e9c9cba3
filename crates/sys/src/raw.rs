//! System calls that rustix does not have, as plain functions of numbers. The only assembly of the crate.
//!
//! Only x86-64 is written down; another architecture needs its register convention here.
#![allow(unsafe_code, reason = "system calls without a safe wrapper")]

use core::arch::asm;
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    io::Errno,
};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tare-sys knows the system call convention of x86-64 only");

const CLOSE_RANGE: usize = 436;
const MOUNT_SETATTR: usize = 442;
const OPEN_TREE_ATTR: usize = 467;
const CLOCK_GETTIME: usize = 228;
const POLL: usize = 7;
const KILL: usize = 62;
const PIDFD_SEND_SIGNAL: usize = 424;
const EXECVEAT: usize = 322;
#[cfg(feature = "standalone")]
const EXIT_GROUP: usize = 231;
const RT_SIGPROCMASK: usize = 14;
const SIGNALFD4: usize = 289;
const BPF: usize = 321;
const IOCTL: usize = 16;

/// Six-argument system call; unused arguments are 0.
///
/// # Safety
/// The arguments must be what the kernel expects of call `number`: pointers valid for what it reads
/// and writes, and no effect that breaks an invariant of the program.
#[inline]
pub(crate) unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the x86-64 convention: number in rax, arguments in rdi rsi rdx r10 r8 r9, the kernel
    // clobbers rcx and r11. The caller answers for the meaning of the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&result) {
        return Err(Errno::from_raw_os_error(-result as i32));
    }
    Ok(result as usize)
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// User namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// mount_setattr(2) on the mount that `fd` stands for, with everything below it if `recursive`.
pub(crate) fn mount_setattr(fd: RawFd, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    const EMPTY_PATH: usize = 0x1000;
    const RECURSIVE: usize = 0x8000;
    let flags = EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    let args = [
        fd as usize,
        c"".as_ptr() as usize,
        flags,
        core::ptr::from_ref(attr) as usize,
        size_of::<MountAttr>(),
        0,
    ];
    // SAFETY: the path is a terminated empty string and the structure is valid for its whole size; the
    // kernel only reads both.
    unsafe { syscall(MOUNT_SETATTR, args) }.map(drop)
}

/// open_tree_attr(2): a detached copy of the tree at a path of the host, its attributes changed.
pub(crate) fn open_tree_attr(
    path: &core::ffi::CStr,
    recursive: bool,
    attr: &MountAttr,
) -> Result<OwnedFd, Errno> {
    const CWD: usize = -100_isize as usize;
    const CLONE: usize = 1;
    const CLOEXEC: usize = 0o2_000_000;
    const RECURSIVE: usize = 0x8000;
    let flags = CLONE | CLOEXEC | if recursive { RECURSIVE } else { 0 };
    let (path, attr) = (path.as_ptr() as usize, core::ptr::from_ref(attr) as usize);
    // SAFETY: the path is terminated, the structure is valid for its size; both are only read.
    let fd = unsafe { syscall(OPEN_TREE_ATTR, [CWD, path, flags, attr, size_of::<MountAttr>(), 0]) }?;
    // SAFETY: the call made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// clock_gettime(2): seconds and nanoseconds of a clock that every kernel has.
pub(crate) fn clock_gettime(clock: i32) -> (i64, i64) {
    let mut now = [0_i64; 2];
    let args = [clock as usize, core::ptr::from_mut(&mut now) as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes the two words of `struct timespec`. For these clocks the call cannot fail.
    let _ = unsafe { syscall(CLOCK_GETTIME, args) };
    (now[0], now[1])
}

/// Closes descriptors that are the caller's, those with numbers in a row by one close_range(2).
pub(crate) fn close_all(fds: alloc::vec::Vec<OwnedFd>) {
    let mut numbers: alloc::vec::Vec<RawFd> = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
    numbers.sort_unstable();
    let mut row: Option<(RawFd, RawFd)> = None;
    for number in numbers {
        row = match row {
            Some((first, last)) if last + 1 == number => Some((first, number)),
            Some((first, last)) => {
                close_row(first, last);
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some((first, last)) = row {
        close_row(first, last);
    }
}

fn close_row(first: RawFd, last: RawFd) {
    // SAFETY: no pointers; `close_all` owned every descriptor of the row and gave all of them up. As with any close,
    // a failure leaves nothing to be done.
    let _ = unsafe { syscall(CLOSE_RANGE, [first as usize, last as usize, 0, 0, 0, 0]) };
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: descriptors from `first` on close at the next execve.
pub(crate) fn close_range_cloexec(first: u32) -> Result<(), Errno> {
    const CLOEXEC: usize = 4;
    // SAFETY: no pointers; close-on-exec takes no descriptor from its owner before an execve.
    unsafe { syscall(CLOSE_RANGE, [first as usize, u32::MAX as usize, CLOEXEC, 0, 0, 0]) }.map(drop)
}

/// pidfd_send_signal(2) with any signal number; rustix's type has the named ones only.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed and no pointer is given (the siginfo is null).
    unsafe { syscall(PIDFD_SEND_SIGNAL, [pidfd.as_raw_fd() as usize, signal as usize, 0, 0, 0, 0]) }.map(drop)
}

/// kill(2) with any signal number, one process only.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::SRCH);
    }
    // SAFETY: no pointers; a positive number names one process.
    unsafe { syscall(KILL, [pid as usize, signal as usize, 0, 0, 0, 0]) }.map(drop)
}

/// ioctl(2) SIOCOUTQ: bytes of memory that sent data still takes because nobody read it.
pub(crate) fn unread_by_peer(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    const SIOCOUTQ: usize = 0x5411;
    let mut bytes: i32 = 0;
    let args = [socket.as_raw_fd() as usize, SIOCOUTQ, core::ptr::from_mut(&mut bytes) as usize, 0, 0, 0];
    // SAFETY: the descriptor is borrowed and the kernel writes one int, for which the address is valid.
    unsafe { syscall(IOCTL, args) }?;
    Ok(bytes.max(0).cast_unsigned())
}

/// execveat(2) of the file behind `fd`; returns only on failure.
///
/// # Safety
/// `argv` and `envp` must be arrays of pointers to terminated strings, ending with a null pointer.
pub(crate) unsafe fn execveat_self(
    fd: BorrowedFd<'_>,
    argv: *const *const u8,
    envp: *const *const u8,
) -> Errno {
    const EMPTY_PATH: usize = 0x1000;
    let path = c"".as_ptr() as usize;
    let args = [fd.as_raw_fd() as usize, path, argv as usize, envp as usize, EMPTY_PATH, 0];
    // SAFETY: the path is an empty terminated string; the caller answers for the arrays.
    match unsafe { syscall(EXECVEAT, args) } {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// bpf(2). `attr` is one of the kernel's attribute structures as bytes; it may be written to.
///
/// # Safety
/// Addresses inside `attr` must be valid for what command `command` reads and writes.
pub unsafe fn bpf(command: u32, attr: &mut [u8]) -> Result<usize, Errno> {
    let args = [command as usize, attr.as_mut_ptr() as usize, attr.len(), 0, 0, 0];
    // SAFETY: the slice is valid for reads and writes of its length; the caller answers for addresses in it.
    unsafe { syscall(BPF, args) }
}

/// exit_group(2).
#[cfg(feature = "standalone")]
pub(crate) fn exit_group(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; the call does not return.
        let _ = unsafe { syscall(EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Blocks the signals of `mask` (bit 0 is signal 1) for the calling thread.
pub(crate) fn block_signals(mask: u64) -> Result<(), Errno> {
    const BLOCK: usize = 0;
    let address = core::ptr::from_ref(&mask) as usize;
    // SAFETY: the kernel reads the eight bytes of the set; nothing is written back.
    unsafe { syscall(RT_SIGPROCMASK, [BLOCK, address, 0, 8, 0, 0]) }.map(drop)
}

/// signalfd4(2), close-on-exec, not blocking.
pub(crate) fn signalfd(mask: u64) -> Result<OwnedFd, Errno> {
    const CLOEXEC: usize = 0o2_000_000;
    const NONBLOCK: usize = 0o4_000;
    let address = core::ptr::from_ref(&mask) as usize;
    // SAFETY: the kernel reads the eight bytes of the set.
    let fd = unsafe { syscall(SIGNALFD4, [usize::MAX, address, 8, CLOEXEC | NONBLOCK, 0, 0]) }?;
    // SAFETY: the call made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Descriptors 0, 1 and 2.
pub(crate) fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: the numbers are only borrowed; a program that closes one gets EBADF from calls on it.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PollEntry {
    number: RawFd,
    events: i16,
    revents: i16,
}

/// Which of these numbers are open descriptors: poll(2) that waits for nothing answers POLLNVAL for the others.
pub(crate) fn are_open<const COUNT: usize>(numbers: [RawFd; COUNT]) -> Result<[bool; COUNT], Errno> {
    const NVAL: i16 = 0x20;
    let mut entries = numbers.map(|number| PollEntry { number, events: 0, revents: 0 });
    // SAFETY: the kernel reads and writes the entries, as many as it is told.
    unsafe { syscall(POLL, [entries.as_mut_ptr() as usize, COUNT, 0, 0, 0, 0]) }?;
    Ok(entries.map(|entry| entry.revents & NVAL == 0))
}
