//! What a program without libc and without Rust's std brings along: entry, allocator, memory functions.
//!
//! Behind the feature `standalone`, which only `tare-oci` turns on and only when it is built alone: the
//! symbols here are those of a C library. The program has one thread and ends soon, so memory is handed out
//! from one end and only the last piece is ever taken back.
#![allow(unsafe_code, reason = "entry point, allocator and memory functions")]

mod allocator;
mod memory;

use core::{ffi::CStr, fmt::Write};

/// What the kernel hands a new program: arguments, environment and the path it was executed by.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    stack: *const usize,
}

impl Start {
    /// Takes the stack pointer as it was at the entry.
    ///
    /// # Safety
    /// `stack` must point to the argument count that the kernel put there.
    pub unsafe fn new(stack: *const usize) -> Self {
        Self { stack }
    }

    /// The arguments as a raw array, for execveat.
    pub fn argv(self) -> *const *const u8 {
        // SAFETY: the argument pointers follow the count.
        unsafe { self.stack.add(1).cast() }
    }

    /// The environment as a raw array.
    pub fn envp(self) -> *const *const u8 {
        // SAFETY: the count is at the stack pointer's place.
        let count = unsafe { *self.stack };
        // SAFETY: the environment follows the arguments and their null pointer.
        unsafe { self.argv().add(count + 1) }
    }

    /// The arguments.
    pub fn arguments(self) -> impl Iterator<Item = &'static CStr> {
        strings(self.argv())
    }

    /// The environment.
    pub fn environment(self) -> impl Iterator<Item = &'static CStr> {
        strings(self.envp())
    }

    /// AT_EXECFN of the auxiliary vector: `/dev/fd/N` after execveat by descriptor.
    pub fn execfn(self) -> &'static CStr {
        const AT_EXECFN: usize = 31;
        // SAFETY: the auxiliary vector follows the environment and its null pointer.
        let mut entry: *const usize = unsafe { self.envp().add(self.environment().count() + 1).cast() };
        loop {
            // SAFETY: the vector ends with an entry of type 0, which is not passed.
            let kind = unsafe { *entry };
            if kind == 0 {
                return c"";
            }
            // SAFETY: each entry is two words.
            let value = unsafe { entry.add(1).read() };
            if kind == AT_EXECFN {
                // SAFETY: the value of this type is the address of a terminated string.
                return unsafe { CStr::from_ptr(value as *const core::ffi::c_char) };
            }
            // SAFETY: as above.
            entry = unsafe { entry.add(2) };
        }
    }
}

fn strings(mut at: *const *const u8) -> impl Iterator<Item = &'static CStr> {
    core::iter::from_fn(move || {
        // SAFETY: the array ends with a null pointer, behind which this never looks.
        let string = unsafe { *at };
        if string.is_null() {
            return None;
        }
        // SAFETY: the one just read was not the last.
        at = unsafe { at.add(1) };
        // SAFETY: the kernel terminated the string, and it stays for the program's life.
        Some(unsafe { CStr::from_ptr(string.cast()) })
    })
}

/// Ends the program.
pub fn exit(code: i32) -> ! {
    crate::raw::exit_group(code)
}

/// Standard error for the panic message: no allocation, no lock.
struct Complaint;

impl Write for Complaint {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: descriptor 2 is only written to; if it is closed the write fails and nothing happens.
        let stderr = unsafe { rustix::fd::BorrowedFd::borrow_raw(2) };
        rustix::io::write(stderr, text.as_bytes()).map(drop).map_err(|_| core::fmt::Error)
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing is left to do about a failure to complain.
    let _ = writeln!(Complaint, "tare-oci: internal error: {info}");
    exit(70)
}

/// Named by the unwind tables of the precompiled standard crates. The program aborts on a panic, so nothing ever
/// unwinds and this is never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(70)
}
