//! Compiled programs against the meaning of their profiles, and against libseccomp.

mod interpreter;
mod libseccomp;

use super::*;
use alloc::string::{String, ToString};
use alloc::vec;
use interpreter::{Call, evaluate, run};
use proptest::prelude::*;
use tare_types::spec::{LinuxSeccompArg, LinuxSyscall};

const ALL: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];

fn entry(names: &[&str], action: &str, args: &[(u32, &str, u64, u64)]) -> LinuxSyscall {
    let arg = |(index, op, value, value_two): &(u32, &str, u64, u64)| LinuxSeccompArg {
        index: *index,
        value: *value,
        value_two: *value_two,
        op: (*op).to_string(),
    };
    LinuxSyscall {
        names: names.iter().map(|name| (*name).to_string()).collect(),
        action: action.to_string(),
        errno_ret: None,
        args: args.iter().map(arg).collect(),
    }
}

fn profile(default: &str, arches: &[&str], syscalls: Vec<LinuxSyscall>) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action: default.to_string(),
        architectures: arches.iter().map(|arch| (*arch).to_string()).collect(),
        syscalls,
        ..LinuxSeccomp::default()
    }
}

fn program(profile: &LinuxSeccomp) -> Program {
    compile(profile, Arch::X86_64).unwrap().unwrap()
}

fn call(arch: Arch, name: &str, args: [u64; 6]) -> Call {
    Call { audit: arch.audit(), number: names::numbers(name).unwrap().on(arch).unwrap(), args }
}

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

#[test]
fn a_profile_that_says_nothing_installs_nothing() {
    assert_eq!(compile(&LinuxSeccomp::default(), Arch::X86_64), Ok(None));
}

#[test]
fn new_calls_get_enosys_and_old_ones_the_default() {
    let profile = profile("SCMP_ACT_ERRNO", &ALL, vec![entry(&["read", "statx"], "SCMP_ACT_ALLOW", &[])]);
    let program = program(&profile).instructions;
    let verdict = |audit, number| run(&program, &Call { audit, number, args: [0; 6] }).0;
    let x86_64 = Arch::X86_64.audit();
    assert_eq!(verdict(x86_64, 0), ALLOW);
    assert_eq!(verdict(x86_64, 1), ERRNO | 1);
    assert_eq!(verdict(x86_64, 332), ALLOW);
    assert_eq!(verdict(x86_64, 333), ERRNO | 38);
    assert_eq!(verdict(x86_64, 0x4000_0000 + 332), ALLOW);
    assert_eq!(verdict(x86_64, 0x4000_0000 + 400), ERRNO | 38);
    assert_eq!(verdict(Arch::X86.audit(), 383), ALLOW);
    assert_eq!(verdict(Arch::Aarch64.audit(), 63), 0, "a foreign architecture kills");
}

#[test]
fn x32_is_foreign_unless_named() {
    let profile = profile("SCMP_ACT_ALLOW", &[], vec![entry(&["read"], "SCMP_ACT_TRAP", &[])]);
    let program = program(&profile).instructions;
    let verdict = |number| run(&program, &Call { audit: Arch::X86_64.audit(), number, args: [0; 6] }).0;
    assert_eq!(verdict(0), 0x0003_0000);
    assert_eq!(verdict(400), ALLOW, "a permissive default answers new calls too");
    assert_eq!(verdict(0x4000_0000), 0);
    assert_eq!(verdict(u32::MAX), ALLOW);
    assert_eq!(run(&program, &call(Arch::X86, "read", [0; 6])).0, 0);
}

#[test]
fn values_of_one_argument_share_their_loads() {
    let values = [0, 8, 0x20000, 0x20008, 0xffff_ffff];
    let rules = values.map(|v| entry(&["personality"], "SCMP_ACT_ALLOW", &[(0, "SCMP_CMP_EQ", v, 0)]));
    let profile = profile("SCMP_ACT_ERRNO", &[], rules.to_vec());
    let program = program(&profile).instructions;
    for value in values {
        assert_eq!(run(&program, &call(Arch::X86_64, "personality", [value, 0, 0, 0, 0, 0])).0, ALLOW);
    }
    for value in [1, 9, 0x1_0000_0000, 0x1_0000_0008, u64::MAX] {
        assert_eq!(run(&program, &call(Arch::X86_64, "personality", [value, 0, 0, 0, 0, 0])).0, ERRNO | 1);
    }
    assert!(program.len() <= 22, "{}", program.len());
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let refused = |profile: LinuxSeccomp| compile(&profile, Arch::X86_64).unwrap_err().to_string();
    let allow = |syscalls| profile("SCMP_ACT_ALLOW", &[], syscalls);
    assert!(refused(profile("SCMP_ACT_PERHAPS", &[], vec![])).contains("SCMP_ACT_PERHAPS"));
    assert!(refused(profile("SCMP_ACT_NOTIFY", &[], vec![])).contains("default"));
    assert!(refused(profile("SCMP_ACT_ALLOW", &["SCMP_ARCH_Z80"], vec![])).contains("SCMP_ARCH_Z80"));
    assert!(refused(allow(vec![entry(&["write"], "SCMP_ACT_NOTIFY", &[])])).contains("write"));
    assert!(
        refused(allow(vec![entry(&["read"], "SCMP_ACT_LOG", &[(6, "SCMP_CMP_EQ", 0, 0)])]))
            .contains("0 to 5")
    );
    assert!(
        refused(allow(vec![entry(&["read"], "SCMP_ACT_LOG", &[(0, "SCMP_CMP_XX", 0, 0)])])).contains("XX")
    );
    let mut flagged = allow(vec![]);
    flagged.flags = vec!["SECCOMP_FILTER_FLAG_X".to_string()];
    assert!(refused(flagged).contains("SECCOMP_FILTER_FLAG_X"));
}

#[test]
fn flags_and_the_listener_are_reported() {
    let mut notifying = profile("SCMP_ACT_ALLOW", &[], vec![entry(&["mkdir"], "SCMP_ACT_NOTIFY", &[])]);
    notifying.flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"]
        .map(|flag| alloc::format!("SECCOMP_FILTER_FLAG_{flag}"))
        .to_vec();
    let program = program(&notifying);
    assert!(program.has_listener());
    assert_eq!(program.flags, 0b10_1110);
}

/// Names that meet in every way: on one architecture only, multiplexed, with x32 numbers of their own.
const NAMES: [&str; 16] = [
    "read",
    "write",
    "open",
    "execve",
    "clone",
    "clone3",
    "socket",
    "socketcall",
    "bind",
    "semop",
    "ipc",
    "personality",
    "prctl",
    "statx",
    "openat2",
    "no_such_call",
];
const ACTIONS: [&str; 6] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
/// Values on both sides of every boundary that code for halves can get wrong.
const VALUES: [u64; 12] = [
    0,
    1,
    2,
    38,
    39,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7e02_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

fn any_entry() -> impl Strategy<Value = LinuxSyscall> {
    let arg = (
        0..3_u32,
        prop::sample::select(&OPERATORS[..]),
        prop::sample::select(&VALUES[..]),
        prop::sample::select(&VALUES[..]),
    );
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3);
    (names, prop::sample::select(&ACTIONS[..]), prop::collection::vec(arg, 0..3))
        .prop_map(|(names, action, args)| entry(&names, action, &args))
}

fn any_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let arches = prop::sample::subsequence(&ALL[..], 0..=3);
    let default = prop::sample::select(&ACTIONS[..]);
    (default, arches, prop::collection::vec(any_entry(), 0..12))
        .prop_map(|(default, arches, entries)| profile(default, &arches, entries))
}

/// Every call that matters to these profiles: each name on each architecture, unknown and new numbers.
fn calls(args: [u64; 6]) -> Vec<Call> {
    let mut calls = Vec::new();
    for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64] {
        let named = NAMES.iter().filter_map(|name| names::numbers(name)?.on(arch));
        for number in named.chain([15, 16, 450, 600, 0x4000_0000, 0x4000_0208, 0x4000_1000, u32::MAX]) {
            calls.push(Call { audit: arch.audit(), number, args });
        }
    }
    calls
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_program_means_what_the_profile_says(
        profile in any_profile(),
        args in prop::array::uniform6(prop::sample::select(&VALUES[..])),
    ) {
        let program = program(&profile).instructions;
        for call in calls(args) {
            prop_assert_eq!(run(&program, &call).0, evaluate(&profile, &call), "{:?}", call);
        }
    }
}

#[test]
fn the_dispatch_is_a_tree() {
    let capabilities = tare_types::specgen::DEFAULT_CAPABILITIES.map(String::from);
    let profile =
        tare_types::specgen::default_seccomp(&capabilities, tare_types::specgen::NativeArch::X86_64);
    let program = program(&profile).instructions;
    let depth = |number| run(&program, &Call { audit: Arch::X86_64.audit(), number, args: [0; 6] }).1;
    let deepest = (0..500).map(depth).max().unwrap();
    assert!(deepest <= 20, "{deepest} steps, {} instructions", program.len());
    assert!(program.len() <= 270, "{} instructions", program.len());
}

#[test]
fn jumps_over_more_than_255_instructions_arrive() {
    // Each of many calls has its own argument rules, so that the tree lies far from its leaves.
    let names: Vec<&str> = "read open stat fstat lstat poll lseek mmap mprotect munmap brk ioctl pread64 pwrite64 \
        readv writev access pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2 \
        pause nanosleep getitimer alarm setitimer getpid sendfile"
        .split_whitespace()
        .collect();
    let entries = names.iter().enumerate().map(|(i, name)| {
        let value = 0x1_0000_0000_u64 * i as u64;
        let args =
            [(0, "SCMP_CMP_GE", value, 0), (1, "SCMP_CMP_LT", value + 7, 0), (2, "SCMP_CMP_NE", value, 0)];
        entry(&[name], "SCMP_ACT_ERRNO", &args)
    });
    let profile = profile("SCMP_ACT_ALLOW", &ALL, entries.collect());
    let program = program(&profile).instructions;
    assert!(program.len() > 600, "{}", program.len());
    for (name, value) in names.iter().flat_map(|name| VALUES.map(|value| (name, value))) {
        let call = call(Arch::X86_64, name, [value, value, value ^ 1, 0, 0, 0]);
        assert_eq!(run(&program, &call).0, evaluate(&profile, &call));
    }
}
