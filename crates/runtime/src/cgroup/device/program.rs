//! The eBPF program of version 2 that answers for each use of a device.
//!
//! It gets `struct bpf_cgroup_dev_ctx` (`linux/bpf.h`): kind in the low 16 bits and access in the high ones of the
//! first word, then major and minor. It returns 1 to let the access pass.

use super::{Device, MAKE_NODE, Policy, READ, WRITE};
use alloc::vec::Vec;
use tare_sys::cgroup::device::BpfInstruction;

// linux/bpf.h: BPF_DEVCG_ACC_*, BPF_DEVCG_DEV_*.
const ACCESS_MAKE_NODE: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const KIND_BLOCK: i32 = 1;
const KIND_CHARACTER: i32 = 2;

// Operations: 64-bit and 32-bit moves and arithmetic, loads of words, jumps.
const LOAD_WORD: u8 = 0x61;
const AND32: u8 = 0x54;
const SHIFT_RIGHT32: u8 = 0x74;
const MOVE32: u8 = 0xbc;
const MOVE_CONSTANT64: u8 = 0xb7;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

pub(super) fn assemble(policy: &Policy) -> Vec<BpfInstruction> {
    let mut program = alloc::vec![
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(AND32, KIND, 0, 0, 0xffff),
        op(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        op(SHIFT_RIGHT32, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for (device, access) in &policy.exceptions {
        emit(&mut program, *device, *access, policy.allow);
    }
    answer(&mut program, policy.allow);
    program
}

/// One exception: all checks, then the answer; any failed check jumps behind it.
fn emit(program: &mut Vec<BpfInstruction>, device: Device, access: u8, default: bool) {
    let mut checks = Vec::with_capacity(6);
    let kind = if device.block { KIND_BLOCK } else { KIND_CHARACTER };
    checks.push(op(JUMP_NOT_EQUAL, KIND, 0, 0, kind));
    let mut wanted = 0;
    for (bit, value) in [(READ, ACCESS_READ), (WRITE, ACCESS_WRITE), (MAKE_NODE, ACCESS_MAKE_NODE)] {
        wanted |= if access & bit != 0 { value } else { 0 };
    }
    if wanted != ACCESS_READ | ACCESS_WRITE | ACCESS_MAKE_NODE {
        checks.push(op(MOVE32, SCRATCH, ACCESS, 0, 0));
        checks.push(op(AND32, SCRATCH, 0, 0, wanted));
        checks.push(if default {
            // Denied if any of the accesses is.
            op(JUMP_EQUAL, SCRATCH, 0, 0, 0)
        } else {
            // Allowed if all of the accesses are.
            op(JUMP_NOT_EQUAL_REGISTER, SCRATCH, ACCESS, 0, 0)
        });
    }
    for (register, number) in [(MAJOR, device.major), (MINOR, device.minor)] {
        if let Some(number) = number {
            checks.push(op(JUMP_NOT_EQUAL, register, 0, 0, number as i32));
        }
    }
    let end = checks.len() + 2;
    for (at, check) in checks.iter_mut().enumerate() {
        if matches!(check.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER | JUMP_EQUAL) {
            check.offset = (end - at - 1) as i16;
        }
    }
    program.append(&mut checks);
    answer(program, !default);
}

fn answer(program: &mut Vec<BpfInstruction>, allow: bool) {
    program.push(op(MOVE_CONSTANT64, 0, 0, 0, i32::from(allow)));
    program.push(op(EXIT, 0, 0, 0, 0));
}

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> BpfInstruction {
    BpfInstruction { code, registers: destination | source << 4, offset, immediate }
}
