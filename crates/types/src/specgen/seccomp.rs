//! The default system call filter: what a program in a container needs, and what its capabilities open.
//!
//! The list is Docker's, so that what runs there runs here: calls with names of their own are allowed, everything
//! else fails with EPERM, and calls newer than the list with ENOSYS (the runtime's doing). io_uring, keyrings,
//! userfaultfd, kexec and module loading are left out; AF_ALG and AF_VSOCK sockets are refused.

mod allowed;

use crate::spec::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};

/// The architecture of the host whose kernel applies the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeArch {
    /// 64-bit x86 with i386 and x32.
    X86_64,
    /// 64-bit ARM with 32-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl NativeArch {
    /// The one this program was built for.
    pub const CURRENT: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::X86_64
    };

    /// Go's name, which profiles use in conditions.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The native architecture's name in a profile.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
        }
    }

    /// The native architecture and those its kernel also runs.
    fn names(self) -> Vec<String> {
        let others: &[&str] = match self {
            Self::X86_64 => &["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            Self::Aarch64 => &["SCMP_ARCH_ARM"],
            Self::Riscv64 => &[],
        };
        core::iter::once(self.name()).chain(others.iter().copied()).map(ToString::to_string).collect()
    }
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Execution domains that change nothing of importance: PER_LINUX, PER_LINUX32, UNAME26 of both, and the query.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default profile for a container with these capabilities (`CAP_*` names of its bounding set).
pub fn default_seccomp(capabilities: &[String], arch: NativeArch) -> LinuxSeccomp {
    let has = |name: &str| capabilities.iter().any(|known| known == name);
    let mut syscalls =
        alloc::vec![allow(&allowed::ALWAYS), allow(&["process_vm_readv", "process_vm_writev", "ptrace"])];
    let socket = |op: &str, family: u64| conditional("socket", op, family, 0);
    syscalls.push(socket("SCMP_CMP_LT", AF_ALG));
    syscalls.push(socket("SCMP_CMP_EQ", AF_ALG + 1));
    syscalls.push(socket("SCMP_CMP_GT", AF_VSOCK));
    syscalls.extend(PERSONALITIES.map(|domain| conditional("personality", "SCMP_CMP_EQ", domain, 0)));
    syscalls.push(allow(match arch {
        NativeArch::X86_64 => &["arch_prctl", "modify_ldt"],
        NativeArch::Aarch64 => &allowed::ARM,
        NativeArch::Riscv64 => &["riscv_flush_icache"],
    }));
    for (capability, names) in allowed::BY_CAPABILITY {
        if has(capability) {
            syscalls.push(allow(names));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        // New namespaces need the privilege. clone3 hides its flags in memory: programs fall back to clone.
        syscalls.push(conditional("clone", "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES, 0));
        syscalls.push(LinuxSyscall {
            names: alloc::vec!["clone3".to_string()],
            action: "SCMP_ACT_ERRNO".to_string(),
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    LinuxSeccomp {
        default_action: "SCMP_ACT_ERRNO".to_string(),
        default_errno_ret: Some(EPERM),
        architectures: arch.names(),
        syscalls,
        ..LinuxSeccomp::default()
    }
}

fn allow(names: &[&str]) -> LinuxSyscall {
    LinuxSyscall {
        names: names.iter().map(ToString::to_string).collect(),
        action: "SCMP_ACT_ALLOW".to_string(),
        errno_ret: None,
        args: Vec::new(),
    }
}

fn conditional(name: &str, op: &str, value: u64, value_two: u64) -> LinuxSyscall {
    let arg = LinuxSeccompArg { index: 0, value, value_two, op: op.to_string() };
    LinuxSyscall { args: alloc::vec![arg], ..allow(&[name]) }
}
