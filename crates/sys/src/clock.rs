//! The clocks.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970 and nanoseconds within the second.
pub fn realtime() -> (i64, u32) {
    let now = clock_gettime(ClockId::Realtime);
    (now.tv_sec, now.tv_nsec as u32)
}

/// Milliseconds of a clock that only goes forward, for deadlines.
pub fn monotonic_millis() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
