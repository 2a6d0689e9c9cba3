//! The profile resolved for one architecture: which outcome each system call number has.

use super::arch::{self, Arch, X32_BIT};
use super::names;
use super::rule::{Action, Condition, Rule};
use alloc::vec::Vec;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The same whatever the arguments.
    Always(Action),
    /// The first rule that holds, in order; else the default. `wide` compares 64 bits.
    Depends { rules: Vec<Rule>, wide: bool },
}

/// One entry of the profile after its names were looked up.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) names: Vec<(&'a str, names::Numbers)>,
    pub(super) action: Action,
    /// Empty: unconditional.
    pub(super) alternatives: Vec<Vec<Condition>>,
    /// An action that is the default anyway: it decides nothing, but its numbers are known to the profile.
    pub(super) redundant: bool,
}

/// From this number on (to the next one), this outcome. The first range starts at zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) outcome: Outcome,
}

/// What the profile says about one architecture.
#[derive(Debug)]
pub(super) struct Policy {
    /// By number, ascending; numbers that are absent have the default action.
    calls: Vec<(u32, Outcome)>,
    /// The largest number that the profile names, if it names any.
    newest: Option<u32>,
    default: Action,
}

impl Policy {
    pub(super) fn resolve(entries: &[Entry<'_>], default: Action, arch: Arch) -> Self {
        let mut rules: Vec<(u32, Rule)> = Vec::with_capacity(512);
        let mut newest = None;
        for entry in entries {
            for (name, numbers) in &entry.names {
                let number = numbers.on(arch);
                let through = arch::multiplexed(arch, name)
                    .and_then(|(name, operation)| Some((names::numbers(name)?.on(arch)?, operation)));
                newest = newest.max(number).max(through.map(|(number, _)| number));
                if entry.redundant {
                    continue;
                }
                if let Some((number, operation)) = through {
                    push_multiplexed(&mut rules, number, operation, entry);
                }
                if let Some(number) = number {
                    push_direct(&mut rules, number, entry, arch);
                }
            }
        }
        // Stable: within one number the profile's order remains.
        rules.sort_by_key(|(number, _)| *number);
        let calls = rules
            .chunk_by(|a, b| a.0 == b.0)
            .map(|same| (same[0].0, decide(same, arch.compares_64_bits())))
            .collect();
        Self { calls, newest, default }
    }

    /// Appends this architecture's part of the number space, which ends before `end`.
    ///
    /// A number above all that the profile names is a call its author could not know: ENOSYS lets the program
    /// fall back, where EPERM would look like a refusal (runc does the same since 1.0-rc93).
    pub(super) fn ranges(self, ranges: &mut Vec<Range>, base: u32) {
        let fallback = Outcome::Always(self.default);
        let mut next = base;
        for (number, outcome) in self.calls {
            if number > next {
                ranges.push(Range { start: next, outcome: fallback.clone() });
            }
            ranges.push(Range { start: number, outcome });
            next = number + 1;
        }
        match self.newest {
            Some(newest) if !self.default.lets_unknown_pass() => {
                if newest >= next {
                    ranges.push(Range { start: next, outcome: fallback });
                }
                ranges.push(Range { start: newest + 1, outcome: Outcome::Always(Action::ENOSYS) });
            }
            _ => ranges.push(Range { start: next, outcome: fallback }),
        }
    }
}

/// The ranges of every number that arrives with the audit value of `arch`.
pub(super) fn number_space(entries: &[Entry<'_>], default: Action, arch: Arch, with_x32: bool) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(512);
    Policy::resolve(entries, default, arch).ranges(&mut ranges, 0);
    if arch == Arch::X86_64 {
        if with_x32 {
            Policy::resolve(entries, default, Arch::X32).ranges(&mut ranges, X32_BIT);
        } else {
            // A wrong architecture, but for -1, with which a tracer skips a call.
            ranges.push(Range { start: X32_BIT, outcome: Outcome::Always(Action::KILL_THREAD) });
            ranges.push(Range { start: u32::MAX, outcome: Outcome::Always(default) });
        }
    }
    ranges.dedup_by(|later, earlier| later.outcome == earlier.outcome);
    ranges
}

fn push_direct(rules: &mut Vec<(u32, Rule)>, number: u32, entry: &Entry<'_>, arch: Arch) {
    let action = entry.action;
    if entry.alternatives.is_empty() {
        rules.push((number, Rule { conditions: Vec::new(), action }));
    }
    for conditions in &entry.alternatives {
        // On 32 bits a mask of high bits alone holds always.
        let conditions = conditions.iter().map(|c| c.on(arch)).filter(|c| c.mask != 0).collect();
        rules.push((number, Rule { conditions, action }));
    }
}

/// The arguments of a multiplexed operation lie in memory, where no filter sees them: its first condition gives
/// way to the operation's number, as in libseccomp.
fn push_multiplexed(rules: &mut Vec<(u32, Rule)>, number: u32, operation: u64, entry: &Entry<'_>) {
    let action = entry.action;
    let selector = Condition::equal(0, operation);
    if entry.alternatives.is_empty() {
        rules.push((number, Rule { conditions: alloc::vec![selector], action }));
    }
    for conditions in &entry.alternatives {
        let rest = conditions.iter().filter(|c| c.index != 0 && c.on(Arch::X86).mask != 0);
        let mut all = alloc::vec![selector];
        all.extend(rest.map(|c| c.on(Arch::X86)));
        rules.push((number, Rule { conditions: all, action }));
    }
}

/// The rules of one number made one outcome. An unconditional rule stands above all conditional ones, and the
/// first of several unconditional ones decides.
fn decide(same: &[(u32, Rule)], wide: bool) -> Outcome {
    if let Some((_, rule)) = same.iter().find(|(_, rule)| rule.conditions.is_empty()) {
        return Outcome::Always(rule.action);
    }
    let mut rules: Vec<Rule> = same.iter().map(|(_, rule)| rule.clone()).collect();
    rules.sort_by(super::rule::order);
    rules.dedup_by(|later, earlier| later.conditions == earlier.conditions);
    Outcome::Depends { rules, wide }
}
