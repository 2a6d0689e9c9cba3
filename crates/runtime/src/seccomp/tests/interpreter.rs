//! Classic BPF as the kernel runs it for seccomp, and the meaning of a profile evaluated without compiling.

use super::super::Instruction;
use super::super::arch::{Arch, multiplexed};
use super::super::names;
use super::super::rule::{self, Action, Condition, Operator, Rule};
use alloc::vec::Vec;
use tare_types::spec::LinuxSeccomp;

/// `struct seccomp_data` but for the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16.. => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load of offset {offset}"),
        }
    }
}

/// Runs the program; returns its verdict and the number of steps.
pub(super) fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        steps += 1;
        at += 1;
        let skip = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += skip(accumulator == k),
            0x25 => at += skip(accumulator > k),
            0x35 => at += skip(accumulator >= k),
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What runc and libseccomp would answer, read off the profile.
pub(super) fn evaluate(profile: &LinuxSeccomp, call: &Call) -> u32 {
    let default = Action::parse(&profile.default_action, profile.default_errno_ret).unwrap();
    let has = |arch: Arch| profile.architectures.iter().any(|name| name == arch.name());
    let arch = match call.audit {
        0xc000_003e if call.number < 0x4000_0000 => Arch::X86_64,
        0xc000_003e if has(Arch::X32) => Arch::X32,
        0xc000_003e if call.number == u32::MAX => return default.0,
        0x4000_0003 if has(Arch::X86) => Arch::X86,
        _ => return 0,
    };
    let mut rules: Vec<Rule> = Vec::new();
    let mut newest = None;
    for entry in &profile.syscalls {
        let action = Action::parse(&entry.action, entry.errno_ret).unwrap();
        for name in &entry.names {
            let Some(numbers) = names::numbers(name) else { continue };
            let through = multiplexed(arch, name).and_then(|(name, _)| names::numbers(name)?.on(arch));
            newest = newest.max(numbers.on(arch)).max(through);
            if action == default {
                continue;
            }
            let mut alternatives = rule::alternatives(entry).unwrap();
            if alternatives.is_empty() {
                alternatives.push(Vec::new());
            }
            for conditions in alternatives {
                if numbers.on(arch) == Some(call.number) {
                    rules.push(Rule { conditions: conditions.clone(), action });
                }
                if let Some((through, operation)) = multiplexed(arch, name)
                    && names::numbers(through).unwrap().on(arch) == Some(call.number)
                {
                    let mut all = alloc::vec![Condition::equal(0, operation)];
                    all.extend(conditions.into_iter().filter(|c| c.index != 0));
                    rules.push(Rule { conditions: all, action });
                }
            }
        }
    }
    let wide = matches!(arch, Arch::X86_64 | Arch::X32);
    for rule in &mut rules {
        rule.conditions.retain(|c| if wide { c.mask != 0 } else { c.mask as u32 != 0 });
    }
    if let Some(rule) = rules.iter().find(|rule| rule.conditions.is_empty()) {
        return rule.action.0;
    }
    if !wide {
        for condition in rules.iter_mut().flat_map(|rule| &mut rule.conditions) {
            condition.value &= 0xffff_ffff;
        }
    }
    rules.sort_by(rule::order);
    let decided = rules.iter().find(|rule| rule.conditions.iter().all(|c| holds(*c, call, wide)));
    match decided {
        Some(rule) => rule.action.0,
        None if newest.is_some_and(|newest| call.number > newest) && !default.lets_unknown_pass() => {
            Action::ENOSYS.0
        }
        None => default.0,
    }
}

fn holds(condition: Condition, call: &Call, wide: bool) -> bool {
    let cut = if wide { u64::MAX } else { 0xffff_ffff };
    let (arg, value) = (call.args[usize::from(condition.index)] & cut, condition.value & cut);
    match condition.operator {
        Operator::NotEqual => arg != value,
        Operator::Less => arg < value,
        Operator::LessOrEqual => arg <= value,
        Operator::Equal => arg == value,
        Operator::GreaterOrEqual => arg >= value,
        Operator::Greater => arg > value,
        Operator::MaskedEqual => arg & condition.mask & cut == value,
    }
}
