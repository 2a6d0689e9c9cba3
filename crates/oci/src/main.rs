//! tare-oci, the runc-compatible command: entry without libc.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point")]

extern crate alloc;

use alloc::{string::String, vec::Vec};
use tare_sys::standalone::Start;

/// The kernel jumps here with the argument count at the stack pointer.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {begin}", "ud2", begin = sym begin)
}

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack pointer as the kernel set it.
    let start = unsafe { Start::new(stack) };
    // First of all, with as little as possible: the kernel maps each page that is touched here twice.
    let words = start.arguments().skip(1).map(core::ffi::CStr::to_bytes);
    if tare_oci::enters_containers(words) && !tare_sys::sealed::is_sealed(start.execfn()) {
        if let Some(fd) = tare_sys::sealed::sealed_at_once() {
            // SAFETY: both are the arrays that the kernel handed over.
            let _ = unsafe { tare_sys::sealed::execute(&fd, start.argv(), start.envp()) };
        }
        seal(start);
    }
    run(start)
}

#[inline(never)]
fn run(start: Start) -> ! {
    let text = |string: &core::ffi::CStr| String::from_utf8_lossy(string.to_bytes()).into_owned();
    let arguments: Vec<String> = start.arguments().map(text).collect();
    let environment: Vec<String> = start.environment().map(text).collect();
    tare_sys::standalone::exit(tare_oci::run(&arguments, &environment))
}

/// Executes the program again from where nobody can write it, on hosts that need more than one call for that; one
/// that cannot do it at all is told so.
#[inline(never)]
fn seal(start: Start) -> ! {
    match tare_sys::sealed::sealed_self() {
        Ok(fd) => {
            // SAFETY: both are the arrays that the kernel handed over.
            let errno = unsafe { tare_sys::sealed::execute(&fd, start.argv(), start.envp()) };
            tare_oci::complain(&alloc::format!(
                "cannot protect the own binary: {}",
                tare_sys::errno::describe(errno)
            ));
        }
        Err(error) => tare_oci::complain(&alloc::format!("cannot protect the own binary: {error}")),
    }
    tare_sys::standalone::exit(1)
}
