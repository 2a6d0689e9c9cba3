//! Device programs of version 2: eBPF attached to a cgroup directory (`BPF_CGROUP_DEVICE`).

use crate::{Context, Errno, Error, Result, raw};
use alloc::vec::Vec;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `struct bpf_insn` of `linux/bpf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInstruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source in the high ones.
    pub registers: u8,
    /// Jump distance or offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

// linux/bpf.h: commands, types and flags.
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Loads a program; it lives as long as the descriptor or an attachment.
///
/// # Errors
/// bpf(2)'s: EINVAL or EACCES from the verifier, EPERM without CAP_BPF and CAP_SYS_ADMIN.
pub fn load(program: &[BpfInstruction]) -> Result<OwnedFd> {
    let license = c"Apache";
    let mut attr = Attr::default();
    attr.put_u32(0, PROG_TYPE_CGROUP_DEVICE);
    attr.put_u32(4, program.len() as u32);
    attr.put_u64(8, program.as_ptr() as u64);
    attr.put_u64(16, license.as_ptr() as u64);
    // The name that bpftool shows, 15 bytes and a zero.
    attr.put_bytes(48, b"tare_device");
    let fd = call("BPF_PROG_LOAD", PROG_LOAD, &mut attr)?;
    // The kernel returned a new descriptor that nobody else knows.
    Ok(own(fd))
}

/// Attaches the program to the cgroup directory, in place of `replaced` if there is one. Programs of other
/// owners and of parents stay in force: access needs the consent of all.
///
/// # Errors
/// bpf(2)'s.
pub fn attach(directory: impl AsFd, program: impl AsFd, replaced: Option<&OwnedFd>) -> Result<()> {
    let mut attr = Attr::default();
    attr.put_u32(0, directory.as_fd().as_raw_fd() as u32);
    attr.put_u32(4, program.as_fd().as_raw_fd() as u32);
    attr.put_u32(8, CGROUP_DEVICE);
    attr.put_u32(12, ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 });
    attr.put_u32(16, replaced.map_or(0, |fd| fd.as_raw_fd() as u32));
    call("BPF_PROG_ATTACH", PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches a program.
///
/// # Errors
/// bpf(2)'s; ENOENT when it is not attached there.
pub fn detach(directory: impl AsFd, program: impl AsFd) -> Result<()> {
    let mut attr = Attr::default();
    attr.put_u32(0, directory.as_fd().as_raw_fd() as u32);
    attr.put_u32(4, program.as_fd().as_raw_fd() as u32);
    attr.put_u32(8, CGROUP_DEVICE);
    call("BPF_PROG_DETACH", PROG_DETACH, &mut attr).map(drop)
}

/// The programs attached to the directory itself.
///
/// # Errors
/// bpf(2)'s.
pub fn attached(directory: impl AsFd) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attr = Attr::default();
    attr.put_u32(0, directory.as_fd().as_raw_fd() as u32);
    attr.put_u32(4, CGROUP_DEVICE);
    attr.put_u64(16, ids.as_mut_ptr() as u64);
    attr.put_u32(24, ids.len() as u32);
    call("BPF_PROG_QUERY", PROG_QUERY, &mut attr)?;
    let count = attr.get_u32(24) as usize;
    let mut programs = Vec::with_capacity(count);
    for id in ids.iter().take(count) {
        let mut attr = Attr::default();
        attr.put_u32(0, *id);
        match call("BPF_PROG_GET_FD_BY_ID", PROG_GET_FD_BY_ID, &mut attr) {
            Ok(fd) => programs.push(own(fd)),
            // Detached and gone since the query.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

/// `union bpf_attr`, as much of it as these commands use.
#[derive(Debug)]
struct Attr([u8; 72]);

impl Default for Attr {
    fn default() -> Self {
        Self([0; 72])
    }
}

impl Attr {
    fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn put_u32(&mut self, at: usize, value: u32) {
        self.put_bytes(at, &value.to_ne_bytes());
    }
    fn put_u64(&mut self, at: usize, value: u64) {
        self.put_bytes(at, &value.to_ne_bytes());
    }
    fn get_u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

#[allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]
fn call(name: &'static str, command: u32, attr: &mut Attr) -> Result<usize> {
    // SAFETY: the callers above put only addresses of live local slices into `attr`, with their lengths; the
    // kernel reads instructions and licence, and writes at most the given number of ids.
    unsafe { raw::bpf(command, &mut attr.0) }.on("bpf", || name)
}

#[allow(unsafe_code, reason = "a descriptor number of the kernel becomes an owned descriptor")]
fn own(fd: usize) -> OwnedFd {
    // SAFETY: the kernel has just returned this number for a new descriptor; nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Whether the error says that this host or caller cannot use device programs at all.
pub fn is_unsupported(error: &Error) -> bool {
    matches!(error.errno(), Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP)
}
