//! Code for decisions that depend on arguments.
//!
//! BPF compares 32 bits at a time, so that 64-bit arguments are compared by their halves. Rules that follow one
//! another and compare one argument with values of the same upper half (the families of `socket`, the values of
//! `personality`) share the loads.

use super::assembler::{Assembler, Compare, Label};
use super::rule::{Condition, Operator, Rule};

/// Where the halves of an argument lie in `struct seccomp_data` (little-endian, as all our architectures).
fn low(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

fn high(index: u8) -> u32 {
    low(index) + 4
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// The code that tries the rules in order and ends at `otherwise` if none holds.
pub(super) fn emit_rules(asm: &mut Assembler, rules: &[Rule], wide: bool, otherwise: Label) -> Label {
    let mut next = otherwise;
    let mut rest = rules;
    while let Some((last, before)) = rest.split_last() {
        let run = shared_tail(rest, wide);
        if run > 1 {
            let (head, group) = rest.split_at(rest.len() - run);
            next = emit_group(asm, group, wide, next);
            rest = head;
            continue;
        }
        let mut held = asm.ret(last.action.0);
        for condition in last.conditions.iter().rev() {
            held = emit_condition(asm, *condition, wide, held, next);
        }
        next = held;
        rest = before;
    }
    next
}

/// How many rules at the end share their loads.
fn shared_tail(rules: &[Rule], wide: bool) -> usize {
    let key = |rule: &Rule| match rule.conditions[..] {
        [one] if one.operator != Operator::MaskedEqual => {
            Some((one.index, if wide { one.value >> 32 } else { 0 }))
        }
        _ => None,
    };
    let Some(wanted) = rules.last().and_then(key) else { return 0 };
    rules.iter().rev().take_while(|rule| key(rule) == Some(wanted)).count()
}

/// Rules of one condition each on one argument, with one upper half.
fn emit_group(asm: &mut Assembler, group: &[Rule], wide: bool, otherwise: Label) -> Label {
    let mut code = otherwise;
    for rule in group.iter().rev() {
        let held = asm.ret(rule.action.0);
        code = emit_low(asm, rule.conditions[0], held, code);
    }
    let first = group[0].conditions[0];
    code = asm.load(low(first.index), code);
    if !wide {
        return code;
    }
    // With another upper half the lower one does not matter: the first rule that holds for all such values.
    let mut decided = |holds: fn(Operator) -> bool| {
        let rule = group.iter().find(|rule| holds(rule.conditions[0].operator));
        rule.map_or(otherwise, |rule| asm.ret(rule.action.0))
    };
    use Operator::{Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let above = decided(|op| matches!(op, NotEqual | Greater | GreaterOrEqual));
    let below = decided(|op| matches!(op, NotEqual | Less | LessOrEqual));
    let (half, _) = halves(first.value);
    let differs = if above == below { above } else { asm.branch(Compare::Greater, half, above, below) };
    let code = asm.branch(Compare::Equal, half, code, differs);
    asm.load(high(first.index), code)
}

/// The comparison of the loaded lower half, given equal upper halves.
fn emit_low(asm: &mut Assembler, condition: Condition, held: Label, failed: Label) -> Label {
    let (_, value) = halves(condition.value);
    match condition.operator {
        Operator::Equal | Operator::MaskedEqual => asm.branch(Compare::Equal, value, held, failed),
        Operator::NotEqual => asm.branch(Compare::Equal, value, failed, held),
        Operator::Greater => asm.branch(Compare::Greater, value, held, failed),
        Operator::LessOrEqual => asm.branch(Compare::Greater, value, failed, held),
        Operator::GreaterOrEqual => asm.branch(Compare::GreaterOrEqual, value, held, failed),
        Operator::Less => asm.branch(Compare::GreaterOrEqual, value, failed, held),
    }
}

fn emit_condition(
    asm: &mut Assembler,
    condition: Condition,
    wide: bool,
    held: Label,
    failed: Label,
) -> Label {
    let (high_mask, low_mask) = halves(condition.mask);
    let mut code = held;
    if low_mask != 0 {
        code = emit_low(asm, condition, held, failed);
        code = masked_load(asm, low(condition.index), low_mask, code);
    }
    if !wide || high_mask == 0 {
        return code;
    }
    let (value, _) = halves(condition.value);
    let code = match condition.operator {
        Operator::Equal | Operator::MaskedEqual => asm.branch(Compare::Equal, value, code, failed),
        Operator::NotEqual => asm.branch(Compare::Equal, value, code, held),
        Operator::Greater | Operator::GreaterOrEqual => {
            let equal = asm.branch(Compare::Equal, value, code, failed);
            asm.branch(Compare::Greater, value, held, equal)
        }
        Operator::Less | Operator::LessOrEqual => {
            let equal = asm.branch(Compare::Equal, value, code, held);
            asm.branch(Compare::Greater, value, failed, equal)
        }
    };
    masked_load(asm, high(condition.index), high_mask, code)
}

fn masked_load(asm: &mut Assembler, offset: u32, mask: u32, next: Label) -> Label {
    let next = if mask == u32::MAX { next } else { asm.and(mask, next) };
    asm.load(offset, next)
}
