//! A classic BPF program written from its end to its start.
//!
//! All jumps of classic BPF go forward, so that whoever writes backwards always knows the distance. A
//! conditional jump reaches 255 instructions; what is farther gets a copy of the return or an unconditional jump
//! placed in between.

use super::Instruction;
use alloc::vec::Vec;

// linux/bpf_common.h, linux/filter.h.
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;

/// How the accumulator is compared with the constant, all unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Compare {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// A place in the program: its distance from the end, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
}

impl Assembler {
    /// The finished program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    pub(super) fn ret(&mut self, value: u32) -> Label {
        // A recent copy serves as well as a new one.
        let wanted = Instruction { code: RETURN, jt: 0, jf: 0, k: value };
        let recent = self.reversed.len().saturating_sub(200);
        match self.reversed[recent..].iter().rposition(|i| *i == wanted) {
            Some(index) => Label(recent + index),
            None => self.push(RETURN, 0, 0, value),
        }
    }

    /// Loads the 32-bit word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_to(next);
        self.push(LOAD_WORD, 0, 0, offset)
    }

    /// Keeps the bits of `mask` in the accumulator, then goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_to(next);
        self.push(AND, 0, 0, mask)
    }

    /// Goes to `yes` if the accumulator compares so with `value`, else to `no`.
    pub(super) fn branch(&mut self, compare: Compare, value: u32, yes: Label, no: Label) -> Label {
        // Bringing `no` near may push one instruction, which moves `yes` away by one.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        // `near` has bounded both to what a byte holds.
        self.push(compare as u16, jt as u8, jf as u8, value)
    }

    /// A label for the same place that a conditional jump written next (after `slack` more) can reach.
    fn near(&mut self, target: Label, slack: usize) -> Label {
        if self.distance(target) + slack <= usize::from(u8::MAX) {
            return target;
        }
        match self.reversed[target.0] {
            Instruction { code: RETURN, k, .. } => self.push(RETURN, 0, 0, k),
            _ => {
                let distance = self.distance(target) as u32;
                self.push(JUMP, 0, 0, distance)
            }
        }
    }

    /// Makes `target` what runs after the instruction written next.
    fn fall_to(&mut self, target: Label) {
        let distance = self.distance(target);
        if distance != 0 {
            self.push(JUMP, 0, 0, distance as u32);
        }
    }

    /// Instructions to skip from the one written next.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }
}
