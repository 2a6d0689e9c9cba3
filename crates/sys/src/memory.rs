//! Memory of the calling process.

use crate::{Context, Result};
use rustix::mm::{Advice, madvise};

/// Lets go of the pages of the program's code that this process has mapped; the page cache keeps them.
///
/// For a process that will be idle for long: what it executes next is mapped again, page by page, from the cache
/// (about a microsecond each). Memory that was written is not touched.
///
/// # Errors
/// Reading `/proc/self/maps`, madvise(2)'s.
#[allow(unsafe_code, reason = "madvise takes an address range")]
pub fn release_code() -> Result<()> {
    let maps = crate::file::read_text("/proc/self/maps", 1 << 20)?;
    for (start, end) in maps.lines().filter_map(code_range) {
        let address = core::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is one private mapping of a file that is executable and not writable, so no page of
        // it differs from the file; a dropped page is read again from there on the next access.
        unsafe { madvise(address, end - start, Advice::LinuxDontNeed) }.on("madvise", || "code")?;
    }
    Ok(())
}

/// Gives free memory in the middle of the C library's heap back to the kernel.
///
/// The allocator by itself returns only what is free at the heap's end. Inlined, so that a program without a C
/// library, which never calls it, does not need the symbol.
#[cfg(target_env = "gnu")]
#[inline]
#[allow(unsafe_code, reason = "a function of the C library")]
pub fn trim_heap() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> core::ffi::c_int;
    }
    // SAFETY: malloc_trim(3) takes no pointer and locks the heap itself; memory in use stays where it is.
    unsafe { malloc_trim(0) };
}

/// Bounds what the C library's heap keeps: so many arenas, and so many free bytes at the end of each.
///
/// Without it every thread that meets another in the allocator makes an arena of its own, and each keeps at its end
/// what its largest moment took: [`trim_heap`] gives back the end of the first one only. To be called before the
/// first thread.
#[cfg(target_env = "gnu")]
#[inline]
#[allow(unsafe_code, reason = "a function of the C library")]
pub fn bound_heap(arenas: i32, free_bytes: i32) {
    /// `malloc.h`.
    const M_TRIM_THRESHOLD: core::ffi::c_int = -1;
    const M_ARENA_MAX: core::ffi::c_int = -8;
    unsafe extern "C" {
        fn mallopt(parameter: core::ffi::c_int, value: core::ffi::c_int) -> core::ffi::c_int;
    }
    // SAFETY: mallopt(3) takes two numbers; a value that it refuses changes nothing.
    unsafe { mallopt(M_ARENA_MAX, arenas) };
    // SAFETY: as above.
    unsafe { mallopt(M_TRIM_THRESHOLD, free_bytes) };
}

/// The range of a line that is executable, not writable, private and of a file.
fn code_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, path) = (fields.next()?, fields.nth(3)?);
    if permissions != "r-xp" || !path.starts_with('/') {
        return None;
    }
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_released() {
        assert_eq!(
            code_range("401000-510000 r-xp 00001000 fe:00 12 /usr/bin/x"),
            Some((0x40_1000, 0x51_0000))
        );
        for line in [
            "401000-510000 r--p 00001000 fe:00 12 /usr/bin/x",
            "401000-510000 rwxp 00001000 fe:00 12 /usr/bin/x",
            "401000-510000 r-xp 00000000 00:00 0 [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "nonsense",
            "",
        ] {
            assert_eq!(code_range(line), None, "{line}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        release_code().unwrap();
        assert!(crate::file::read_text("/proc/self/comm", 64).is_ok());
    }
}
