//! The dispatch on the system call number: a binary tree over ranges of numbers.
//!
//! The kernel runs a new filter once for every number to fill its cache of calls that are always allowed, so the
//! depth counts at installation already; later each uncached call pays for it.

use super::assembler::{Assembler, Compare, Label};
use super::check;
use super::policy::{Outcome, Range};
use super::rule::Action;
use alloc::vec::Vec;

/// Where the tree can be cut, or a single number that differs from its surroundings.
#[derive(Debug, Clone, Copy)]
struct Item {
    start: u32,
    outcome: usize,
    /// A lone number inside a range: one comparison for equality instead of two cuts.
    lone: bool,
}

/// Emits the tree and what its leaves need; `default` is where failed argument checks end.
pub(super) fn emit(asm: &mut Assembler, ranges: &[Range], default: Action) -> Label {
    let mut outcomes: Vec<&Outcome> = Vec::new();
    let mut items = Vec::with_capacity(ranges.len());
    for range in ranges {
        // Compare the cheap kind first: most outcomes are one of three actions.
        let known = outcomes.iter().position(|known| **known == range.outcome);
        let outcome = known.unwrap_or_else(|| {
            outcomes.push(&range.outcome);
            outcomes.len() - 1
        });
        items.push(Item { start: range.start, outcome, lone: false });
    }
    let items = fold_lone_numbers(&items);
    let labels = emit_outcomes(asm, &outcomes, default);
    emit_slice(asm, &items[1..], items[0].outcome, &labels)
}

fn emit_outcomes(asm: &mut Assembler, outcomes: &[&Outcome], default: Action) -> Vec<Label> {
    let mut labels = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        labels.push(match outcome {
            Outcome::Always(action) => asm.ret(action.0),
            Outcome::Depends { rules, wide } => {
                let otherwise = asm.ret(default.0);
                check::emit_rules(asm, rules, *wide, otherwise)
            }
        });
    }
    labels
}

/// Turns "A, one number of B, A again" into a lone B within A.
fn fold_lone_numbers(items: &[Item]) -> Vec<Item> {
    let mut folded: Vec<Item> = Vec::with_capacity(items.len());
    let mut surrounding = usize::MAX;
    let mut i = 0;
    while i < items.len() {
        let item = items[i];
        let alone = items
            .get(i + 1)
            .is_some_and(|next| next.start - item.start == 1 && next.outcome == surrounding && i > 0);
        if alone {
            folded.push(Item { lone: true, ..item });
            i += 2;
            continue;
        }
        surrounding = item.outcome;
        folded.push(item);
        i += 1;
    }
    folded
}

/// Code for the numbers of `items`, where `outer` is the outcome in force before the first of them.
fn emit_slice(asm: &mut Assembler, items: &[Item], outer: usize, labels: &[Label]) -> Label {
    let cuts = items.iter().filter(|item| !item.lone).count();
    if cuts == 0 && items.len() <= 2 {
        let mut code = labels[outer];
        for item in items.iter().rev() {
            code = asm.branch(Compare::Equal, item.start, labels[item.outcome], code);
        }
        return code;
    }
    let middle = items.len() / 2;
    // Cut where the outcome changes anyway, if such a place is near the middle.
    let near = |distance: usize| [middle.checked_sub(distance), Some(middle + distance)];
    let reach = items.len() / 4 + 1;
    let at = (0..=reach)
        .flat_map(near)
        .flatten()
        .find(|i| items.get(*i).is_some_and(|item| !item.lone))
        .unwrap_or(middle);
    let before = items[..at].iter().rev().find(|item| !item.lone).map_or(outer, |item| item.outcome);
    let cut = items[at];
    let upper = if cut.lone {
        emit_slice(asm, &items[at..], before, labels)
    } else {
        emit_slice(asm, &items[at + 1..], cut.outcome, labels)
    };
    let lower = emit_slice(asm, &items[..at], outer, labels);
    asm.branch(Compare::GreaterOrEqual, cut.start, upper, lower)
}
