//! System calls that rustix does not have, and clone3 into a function. The assembly of the crate.
#![allow(unsafe_code, reason = "system calls without a safe wrapper")]

use core::arch::asm;
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tare-launch knows the system call convention of x86-64 only");

const RT_SIGACTION: usize = 13;
const RT_SIGPROCMASK: usize = 14;
const GETCWD: usize = 79;
const PERSONALITY: usize = 135;
const KEYCTL: usize = 250;
const IOPRIO_SET: usize = 251;
const SECCOMP: usize = 317;
const EXECVE: usize = 59;
const SCHED_SETATTR: usize = 314;
const CLOSE_RANGE: usize = 436;
const CLONE3: usize = 435;
const MOUNT_SETATTR: usize = 442;
const OPEN_TREE_ATTR: usize = 467;
const IOCTL: usize = 16;
const DUP3: usize = 292;
const PRCTL: usize = 157;
const LSEEK: usize = 8;
const EXIT_GROUP: usize = 231;
const SCHED_SETAFFINITY: usize = 203;
const SET_MEMPOLICY: usize = 238;

/// Six-argument system call; unused arguments are 0.
///
/// # Safety
/// The arguments must be what the kernel expects of call `number`, pointers valid for what it does.
#[inline]
unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the x86-64 convention: number in rax, arguments in rdi rsi rdx r10 r8 r9, the kernel
    // clobbers rcx and r11. The caller answers for the meaning of the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    check(result)
}

fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        return Err(Errno::from_raw_os_error(-result as i32));
    }
    Ok(result as usize)
}

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// clone3(2); the child continues in `entry(argument)` on its copy of the stack and never comes back.
///
/// # Safety
/// `args` must not ask for shared memory (CLONE_VM), `args.pidfd` must be 0 or the address of an i32,
/// and `argument` must be what `entry` expects.
pub(crate) unsafe fn clone_into(
    args: &CloneArgs,
    entry: unsafe extern "C" fn(*const u8) -> !,
    argument: *const u8,
) -> Result<i32, Errno> {
    let result: isize;
    // SAFETY: the kernel reads `args` for the size given. The parent falls through with the child's id
    // in rax. The child has a copy of this stack, aligns it as the ABI wants and calls `entry`, which
    // does not return, so no frame above is ever returned into twice.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") CLONE3 as isize => result,
            in("rdi") core::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    check(result).map(|pid| pid as i32)
}

/// execve(2); returns only on failure.
///
/// # Safety
/// All three must be what execve expects: terminated string, arrays ending with a null pointer.
pub(crate) unsafe fn execve(path: *const u8, argv: *const *const u8, envp: *const *const u8) -> Errno {
    // SAFETY: the caller answers for the pointers.
    match unsafe { syscall(EXECVE, [path as usize, argv as usize, envp as usize, 0, 0, 0]) } {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// mount_setattr(2) on the mount behind `fd`.
pub(crate) fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    const EMPTY_PATH: usize = 0x1000;
    const RECURSIVE: usize = 0x8000;
    let flags = EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    let path = c"".as_ptr() as usize;
    let attr = core::ptr::from_ref(attr) as usize;
    let args = [fd.as_raw_fd() as usize, path, flags, attr, size_of::<MountAttr>(), 0];
    // SAFETY: the path is an empty terminated string, the structure is valid for its size; both are only read.
    unsafe { syscall(MOUNT_SETATTR, args) }.map(drop)
}

/// open_tree_attr(2): a detached copy of `name` in a directory with everything below, its attributes changed.
/// A symbolic link is not followed.
pub(crate) fn open_tree_attr(
    directory: BorrowedFd<'_>,
    name: &core::ffi::CStr,
    attr: &MountAttr,
) -> Result<OwnedFd, Errno> {
    const CLONE: usize = 1;
    const CLOEXEC: usize = 0o2_000_000;
    const EMPTY_PATH: usize = 0x1000;
    const RECURSIVE: usize = 0x8000;
    const NOFOLLOW: usize = 0x100;
    let flags = CLONE | CLOEXEC | EMPTY_PATH | RECURSIVE | NOFOLLOW;
    let (name, attr) = (name.as_ptr() as usize, core::ptr::from_ref(attr) as usize);
    let args = [directory.as_raw_fd() as usize, name, flags, attr, size_of::<MountAttr>(), 0];
    // SAFETY: the name is terminated, the structure is valid for its size; both are only read.
    let fd = unsafe { syscall(OPEN_TREE_ATTR, args) }?;
    // SAFETY: the call made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// close_range(2): closes `first..=last`, or marks them close-on-exec.
pub(crate) fn close_range(first: u32, last: u32, on_exec: bool) -> Result<(), Errno> {
    let flags = if on_exec { 4 } else { 0 };
    // SAFETY: no pointers. Descriptors that the child's code still holds are not in the range: the
    // interpreter closes before it opens any of its own.
    unsafe { syscall(CLOSE_RANGE, [first as usize, last as usize, flags, 0, 0, 0]) }.map(drop)
}

/// dup3(2) without close-on-exec onto a fixed number: what the child does to its standard streams.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: no pointers; the child owns its descriptor table alone and holds 0, 1 and 2 nowhere as owned.
    unsafe { syscall(DUP3, [fd.as_raw_fd() as usize, number as usize, 0, 0, 0, 0]) }.map(drop)
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING).
pub(crate) fn join_session_keyring(name: &core::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: the name is terminated and only read.
    unsafe { syscall(KEYCTL, [1, name.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// getcwd(2) as the kernel answers it: a path that begins with `/`, or `(unreachable)` before one.
pub(crate) fn getcwd(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is valid for writes of its length.
    unsafe { syscall(GETCWD, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) }
}

/// personality(2).
pub(crate) fn personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { syscall(PERSONALITY, [domain as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// sched_setattr(2) of the calling thread.
pub(crate) fn sched_setattr(attr: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads the size that the structure's first field says; the parent made both.
    unsafe { syscall(SCHED_SETATTR, [0, attr.as_ptr() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// sched_setaffinity(2) of the calling thread.
pub(crate) fn sched_setaffinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    unsafe { syscall(SCHED_SETAFFINITY, [0, size_of_val(mask), mask.as_ptr() as usize, 0, 0, 0]) }.map(drop)
}

/// set_mempolicy(2) of the calling thread. Without a node the mask is null.
pub(crate) fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let (address, bits) =
        if nodes.is_empty() { (0, 0) } else { (nodes.as_ptr() as usize, nodes.len() * 64 + 1) };
    // SAFETY: the kernel reads one bit less than it is told, which are the bits of the slice, or nothing.
    unsafe { syscall(SET_MEMPOLICY, [mode as usize, address, bits, 0, 0, 0]) }.map(drop)
}

/// ioprio_set(2) of the calling process.
pub(crate) fn ioprio_set(value: u32) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { syscall(IOPRIO_SET, [1, 0, value as usize, 0, 0, 0]) }.map(drop)
}

/// `struct sock_fprog`.
#[repr(C)]
struct SockProgram {
    length: u16,
    filter: *const crate::SockFilter,
}

/// seccomp(SECCOMP_SET_MODE_FILTER); the listener's descriptor if `flags` ask for one.
pub(crate) fn seccomp(filter: &[crate::SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    const NEW_LISTENER: u32 = 1 << 3;
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = SockProgram { length, filter: filter.as_ptr() };
    // SAFETY: the kernel copies `length` instructions from the slice and keeps no pointer.
    let result =
        unsafe { syscall(SECCOMP, [1, flags as usize, core::ptr::from_ref(&program) as usize, 0, 0, 0]) }?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the result is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as RawFd) }))
}

/// Removes a capability from the bounding set; false when the kernel does not know the number.
pub(crate) fn drop_bounding(capability: u32) -> Result<bool, Errno> {
    const PR_CAPBSET_DROP: usize = 24;
    // SAFETY: no pointers.
    match unsafe { syscall(PRCTL, [PR_CAPBSET_DROP, capability as usize, 0, 0, 0, 0]) } {
        Ok(_) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Clears the ambient set, or raises one capability in it.
pub(crate) fn ambient(raise: Option<u32>) -> Result<(), Errno> {
    const PR_CAP_AMBIENT: usize = 47;
    let (operation, capability) = raise.map_or((4, 0), |capability| (2, capability as usize));
    // SAFETY: no pointers.
    unsafe { syscall(PRCTL, [PR_CAP_AMBIENT, operation, capability, 0, 0, 0]) }.map(drop)
}

/// Sets a file's position to its beginning.
pub(crate) fn rewind(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { syscall(LSEEK, [fd.as_raw_fd() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// Empties the signal mask and gives SIGPIPE its default action, which Rust's start-up ignores.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    const SET_SIZE: usize = 8;
    const SETMASK: usize = 2;
    const SIGPIPE: usize = 13;
    let empty = [0_u64; 4];
    let address = core::ptr::from_ref(&empty) as usize;
    // SAFETY: all zeroes are an empty set, of which the kernel reads eight bytes.
    unsafe { syscall(RT_SIGPROCMASK, [SETMASK, address, 0, SET_SIZE, 0, 0]) }?;
    // SAFETY: all zeroes are `struct sigaction` with SIG_DFL; the kernel reads its 32 bytes.
    unsafe { syscall(RT_SIGACTION, [SIGPIPE, address, 0, SET_SIZE, 0, 0]) }.map(drop)
}

/// The kernel's `struct sigaction`.
#[repr(C)]
struct SignalAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Ends the process by SIGHUP, SIGINT, SIGQUIT and SIGTERM until the execve: without a handler the first process of
/// a pid namespace is spared them.
pub(crate) fn end_on_signals() -> Result<(), Errno> {
    const RESTORER: u64 = 0x0400_0000;
    extern "C" fn end(signal: i32) -> ! {
        exit_group(128 + signal)
    }
    let handler = end as extern "C" fn(i32) -> ! as usize;
    // The kernel wants somewhere to return to, though the handler does not.
    let action = SignalAction { handler, flags: RESTORER, restorer: handler, mask: 0 };
    for signal in [1, 2, 3, 15] {
        let address = core::ptr::from_ref(&action) as usize;
        // SAFETY: the kernel reads the 32 bytes of a whole structure; the handler makes one system call and does not
        // return, so that it may interrupt anything.
        unsafe { syscall(RT_SIGACTION, [signal, address, 0, 8, 0, 0]) }?;
    }
    Ok(())
}

/// `struct ifreq` with flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// SIOCSIFFLAGS: sets IFF_UP on `lo`, which in a new namespace has no other flag that can be set or cleared.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    const SET_FLAGS: usize = 0x8914;
    const UP: i16 = 1;
    let request = InterfaceRequest { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: UP, rest: [0; 22] };
    let fd = socket.as_raw_fd() as usize;
    let address = core::ptr::from_ref(&request) as usize;
    // SAFETY: the request is a whole `struct ifreq` of 40 bytes with a terminated name, and only read.
    unsafe { syscall(IOCTL, [fd, SET_FLAGS, address, 0, 0, 0]) }.map(drop)
}

/// exit_group(2).
pub(crate) fn exit_group(code: i32) -> ! {
    loop {
        // SAFETY: no pointers; the call does not return.
        let _ = unsafe { syscall(EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Descriptors 0, 1 and 2, which stay open until the execve.
pub(crate) fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: the child owns its descriptor table alone and never closes these three; a number that is
    // not open only makes the calls on it fail with EBADF.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}
