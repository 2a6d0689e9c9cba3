//! The clocks.

//!
//! By the system call, where others use the kernel's shared page: to find that takes a program without libc another
//! call and some page faults, and no program here asks often.

use rustix::time::ClockId;

/// Seconds since 1970 and nanoseconds within the second.
pub fn realtime() -> (i64, u32) {
    let (seconds, nanoseconds) = crate::raw::clock_gettime(ClockId::Realtime as i32);
    (seconds, nanoseconds as u32)
}

/// Milliseconds of a clock that only goes forward, for deadlines.
pub fn monotonic_millis() -> u64 {
    let (seconds, nanoseconds) = crate::raw::clock_gettime(ClockId::Monotonic as i32);
    seconds as u64 * 1000 + nanoseconds as u64 / 1_000_000
}
