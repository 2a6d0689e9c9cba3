//! The same profiles through libseccomp, where its headers and a C compiler are installed.
//!
//! runc adds ENOSYS for new calls to what libseccomp makes. libseccomp 2.5.4 goes wrong where conditions meet a
//! second architecture (it forgets to load the number again), and loses rules when it merges overlapping ranges of
//! one call; those profiles are left to the comparison with `evaluate`.

use super::interpreter::{evaluate, run};
use super::*;
use crate::seccomp::arch::multiplexed;
use crate::seccomp::rule::{Action, alternatives};
use core::fmt::Write as _;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn build(directory: &Path) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/seccomp/tests/libseccomp.c");
    let program = directory.join("libseccomp-oracle");
    let built = Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lseccomp").output().ok()?;
    built.status.success().then_some(program)
}

/// The profile in the oracle's words; actions and operators as libseccomp numbers them.
fn describe(profile: &LinuxSeccomp) -> String {
    let default = Action::parse(&profile.default_action, None).unwrap();
    let mut text = alloc::format!("default {:#x}\n", default.0);
    for arch in &profile.architectures {
        let short = arch.trim_start_matches("SCMP_ARCH_").to_ascii_lowercase();
        writeln!(text, "arch {short}").unwrap();
    }
    for entry in &profile.syscalls {
        let action = Action::parse(&entry.action, None).unwrap();
        if action == default {
            continue;
        }
        let mut ways = alternatives(entry).unwrap();
        if ways.is_empty() {
            ways.push(Vec::new());
        }
        for (name, conditions) in entry.names.iter().flat_map(|name| ways.iter().map(move |way| (name, way)))
        {
            write!(text, "rule {name} {:#x}", action.0).unwrap();
            for c in conditions {
                let operator = c.operator as u8 + 1;
                let (a, b) = if operator == 7 { (c.mask, c.value) } else { (c.value, 0) };
                write!(text, " {} {operator} {a:#x} {b:#x}", c.index).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

fn oracle(program: &Path, profile: &LinuxSeccomp) -> Option<Vec<Instruction>> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(describe(profile).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let instruction = |raw: &[u8]| Instruction {
        code: u16::from_le_bytes([raw[0], raw[1]]),
        jt: raw[2],
        jf: raw[3],
        k: u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]),
    };
    output.status.success().then(|| output.stdout.chunks_exact(8).map(instruction).collect())
}

/// At most one conditional rule per call, on x86_64 alone; no multiplexed calls.
fn comparable(profile: &mut LinuxSeccomp) {
    let mut seen: Vec<String> = Vec::new();
    profile.syscalls.retain_mut(|entry| {
        if entry.names.iter().any(|name| name == "no_such_call" || multiplexed(Arch::X86, name).is_some()) {
            return false;
        }
        if entry.args.is_empty() {
            return true;
        }
        entry.names.dedup();
        if !profile.architectures.is_empty() {
            return false;
        }
        let fresh = entry.names.iter().all(|name| !seen.contains(name));
        seen.extend(entry.names.iter().cloned());
        let ways = alternatives(entry).unwrap();
        fresh && ways.len() == 1 && ways[0].iter().all(|condition| condition.mask as u32 != 0)
    });
}

#[test]
fn libseccomp_decides_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = build(directory.path()) else {
        tare_testkit::skip::skipped("needs a C compiler and the headers of libseccomp");
        return;
    };
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), seed);
    let (mut compared, mut refused) = (0, 0);
    for _ in 0..200 {
        let mut profile = any_profile().new_tree(&mut runner).unwrap().current();
        comparable(&mut profile);
        let Some(theirs) = oracle(&program, &profile) else {
            refused += 1;
            continue;
        };
        let ours = super::program(&profile).instructions;
        for value in VALUES {
            for call in calls([value, VALUES[3], value, 0, 0, 0]) {
                let (mine, _) = run(&ours, &call);
                let (reference, _) = run(&theirs, &call);
                let added = mine == Action::ENOSYS.0 && evaluate(&profile, &call) == mine;
                assert!(
                    mine == reference || added,
                    "{mine:#x} {reference:#x} {call:x?}\n{}",
                    describe(&profile)
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000 && refused < 30, "{compared} compared, {refused} refused");
}
