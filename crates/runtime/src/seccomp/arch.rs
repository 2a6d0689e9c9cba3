//! The architectures a filter can see, and the calls that one of them hides behind a single number.

/// A system call convention: what `SCMP_ARCH_*` names in a profile.
///
/// x32 shares x86_64's audit value and is told apart by a bit of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86 (i386).
    X86,
    /// x86_64 with 32-bit pointers.
    X32,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

/// Set in the number of every x32 call (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// What `SCMP_ARCH_*` may say in a profile: one of ours, or one that this family of kernels never reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedArch {
    Known(Arch),
    Foreign,
}

impl Arch {
    /// The architecture this program was built for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::X86_64
    };

    /// The name in a profile, `SCMP_ARCH_X86_64` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`: machine number, 64-bit flag, little-endian flag.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Arm => 0x4000_0028,
            Self::Aarch64 => 0xc000_00b7,
            Self::Riscv64 => 0xc000_00f3,
        }
    }

    /// Whether arguments are compared over 64 bits. x32 has registers of 64.
    pub(super) fn compares_64_bits(self) -> bool {
        matches!(self, Self::X86_64 | Self::X32 | Self::Aarch64 | Self::Riscv64)
    }

    /// The architectures that a kernel of this native one reports to a filter; no other can ever occur.
    pub(super) fn family(self) -> &'static [Self] {
        match self {
            Self::X86_64 | Self::X86 | Self::X32 => &[Self::X86_64, Self::X32, Self::X86],
            Self::Aarch64 | Self::Arm => &[Self::Aarch64, Self::Arm],
            Self::Riscv64 => &[Self::Riscv64],
        }
    }

    pub(super) fn parse(name: &str) -> Option<NamedArch> {
        const FOREIGN: [&str; 13] = [
            "LOONGARCH64",
            "M68K",
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
        ];
        const ALL: [Arch; 6] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Arm, Arch::Aarch64, Arch::Riscv64];
        if let Some(arch) = ALL.into_iter().find(|arch| arch.name() == name) {
            return Some(NamedArch::Known(arch));
        }
        let short = name.strip_prefix("SCMP_ARCH_")?;
        let parisc = matches!(short, "PARISC" | "PARISC64" | "SH" | "SHEB");
        (parisc || FOREIGN.contains(&short)).then_some(NamedArch::Foreign)
    }
}

/// On i386 sockets and System V IPC can also be reached through `socketcall` and `ipc`, with the operation as
/// first argument (`linux/net.h` SYS_*, `linux/ipc.h`). A rule for the operation has to reach both ways.
pub(super) fn multiplexed(arch: Arch, name: &str) -> Option<(&'static str, u64)> {
    const SOCKET: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if arch != Arch::X86 {
        return None;
    }
    if let Some(index) = SOCKET.iter().position(|s| *s == name) {
        return Some(("socketcall", index as u64 + 1));
    }
    IPC.iter().find(|(s, _)| *s == name).map(|(_, operation)| ("ipc", *operation))
}
