//! `linux.seccomp` compiled to a classic BPF program for the kernel.
//!
//! Pure: a profile and an architecture in, instructions out; installing them is the child's last step before
//! `execve`. The semantics are those of runc with libseccomp, because profiles are written for them: rules equal
//! to the default action decide nothing, unconditional rules stand above conditional ones, calls newer than the
//! profile get ENOSYS, a foreign architecture kills the thread. Not here: sending the notification descriptor.

mod arch;
mod assembler;
mod check;
mod names;
mod policy;
mod rule;
#[cfg(test)]
mod tests;
mod tree;

pub use arch::Arch;

use alloc::vec::Vec;
use arch::NamedArch;
use assembler::{Assembler, Compare};
use policy::Entry;
use rule::{Action, invalid};
/// `struct sock_filter` of `linux/filter.h`, as the child installs it.
pub use tare_launch::SockFilter as Instruction;
use tare_types::InvalidValue;
use tare_types::spec::LinuxSeccomp;

/// A compiled filter, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// At most 4096 instructions (`BPF_MAXINSNS`).
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for the system call, among them [`FLAG_NEW_LISTENER`].
    pub flags: u32,
}

impl Program {
    /// Whether installing the program yields a descriptor for notifications.
    pub fn has_listener(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }
}

/// `SECCOMP_FILTER_FLAG_LOG`.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Compiles the profile for a kernel of `native`; `None` if it asks for nothing.
///
/// Unknown system call names are ignored; unknown actions, operators, architectures and flags are errors, and so
/// is SCMP_ACT_NOTIFY for `write` or as the default, with which a container could never be started.
///
/// # Errors
/// [`InvalidValue`] names the value.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Option<Program>, InvalidValue> {
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return Ok(None);
    }
    let default = Action::parse(&profile.default_action, profile.default_errno_ret)?;
    if default == Action::NOTIFY {
        let reason = "it cannot be the default action";
        return Err(invalid("seccomp action", &profile.default_action, reason));
    }
    let named = architectures(profile)?;
    let entries = entries(profile, default)?;
    let mut flags = flags(profile)?;
    if entries.iter().any(|entry| entry.action == Action::NOTIFY) {
        flags |= FLAG_NEW_LISTENER;
    }
    let instructions = emit(&entries, default, native, &named);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(invalid("seccomp profile", "", "it needs more than 4096 instructions"));
    }
    Ok(Some(Program { instructions, flags }))
}

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

fn emit(entries: &[Entry<'_>], default: Action, native: Arch, named: &[Arch]) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let mut code = asm.ret(Action::KILL_THREAD.0);
    // Backwards, so that the native architecture is asked for first.
    for arch in native.family().iter().rev() {
        let wanted = *arch == native || named.contains(arch);
        if *arch == Arch::X32 || !wanted {
            continue;
        }
        let ranges = policy::number_space(entries, default, *arch, named.contains(&Arch::X32));
        let tree = tree::emit(&mut asm, &ranges, default);
        let tree = asm.load(NUMBER, tree);
        code = asm.branch(Compare::Equal, arch.audit(), tree, code);
    }
    asm.load(ARCHITECTURE, code);
    asm.finish()
}

fn architectures(profile: &LinuxSeccomp) -> Result<Vec<Arch>, InvalidValue> {
    let mut known = Vec::new();
    for name in &profile.architectures {
        match Arch::parse(name) {
            Some(NamedArch::Known(arch)) => known.push(arch),
            Some(NamedArch::Foreign) => {}
            None => return Err(invalid("seccomp architecture", name, "it is not one of SCMP_ARCH_*")),
        }
    }
    Ok(known)
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, InvalidValue> {
    let mut flags = 0;
    for name in &profile.flags {
        flags |= match name.as_str() {
            // One thread installs the filter and then executes the program: nothing to synchronise.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FLAG_WAIT_KILLABLE_RECV,
            other => return Err(invalid("seccomp flag", other, "it is not known")),
        };
    }
    Ok(flags)
}

fn entries(profile: &LinuxSeccomp, default: Action) -> Result<Vec<Entry<'_>>, InvalidValue> {
    profile
        .syscalls
        .iter()
        .map(|syscall| {
            let action = Action::parse(&syscall.action, syscall.errno_ret)?;
            if action == Action::NOTIFY && syscall.names.iter().any(|name| name == "write") {
                // The start of the container itself needs to write after the filter is in force.
                return Err(invalid(
                    "seccomp action",
                    &syscall.action,
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
                ));
            }
            let known = |name| Some((name, names::numbers(name)?));
            Ok(Entry {
                names: syscall.names.iter().filter_map(|name| known(name.as_str())).collect(),
                action,
                alternatives: rule::alternatives(syscall)?,
                redundant: action == default,
            })
        })
        .collect()
}
