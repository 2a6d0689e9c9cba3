//! The few forms of text that cgroup files have.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

/// A file of one number; `max` is `u64::MAX`.
pub fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        // Version 1 shows "no limit" of some files as -1.
        negative if negative.starts_with('-') => Some(0),
        digits => digits.parse().ok(),
    }
}

/// A file of lines `key value`; lines of another form are left out.
pub fn flat(text: &str) -> Vec<(String, u64)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_string(), number(value)?))
    };
    text.lines().filter_map(pair).collect()
}

/// The value of one key of a file of lines `key value`.
pub fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?))
}
