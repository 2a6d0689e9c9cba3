//! What a log of CRIU says about a failure.

use alloc::{string::String, vec::Vec};
use rustix::fs::{OFlags, SeekFrom};

/// How much of the end of a log is looked at, in bytes: the reason comes last.
const TAIL: u64 = 256 << 10;
/// Lines quoted at most. What CRIU finds out about the kernel comes before, some of it as an error.
const LINES: usize = 3;

/// The last lines about errors, joined; empty without a log or without such a line.
pub(super) fn errors(path: &str) -> String {
    let read = || {
        let file = tare_sys::file::open(path, OFlags::RDONLY, 0).ok()?;
        let size = rustix::fs::fstat(&file).ok()?.st_size as u64;
        rustix::fs::seek(&file, SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
        tare_sys::file::read_fd(&file, 2 * TAIL as usize).ok()
    };
    let text = read().unwrap_or_default();
    quote(&String::from_utf8_lossy(&text))
}

fn quote(log: &str) -> String {
    let about: Vec<&str> = log.lines().filter(|line| line.contains("Error")).map(without_time).collect();
    about[about.len().saturating_sub(LINES)..].join("; ")
}

/// `(00.012345) Error (criu/mount.c:1088): words` without the time.
fn without_time(line: &str) -> &str {
    let line = line.trim();
    match line.split_once(") ") {
        Some((time, rest)) if time.starts_with('(') => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_errors() {
        let log = "(00.01) Error (criu/tun.c:85): no tun\n(00.02) Error (criu/files-reg.c:1): Can't lookup mount=1\n(00.03) Error (criu/cr-dump.c:1): Dump files failed\n\
                   (00.04) Error (criu/cr-dump.c:2): Dumping FAILED.\n";
        let quoted = "Error (criu/files-reg.c:1): Can't lookup mount=1; \
                      Error (criu/cr-dump.c:1): Dump files failed; Error (criu/cr-dump.c:2): Dumping FAILED.";
        assert_eq!(quote(log), quoted);
        assert_eq!(quote("(00.01) all is well\n"), "");
        assert_eq!(errors("/nonexistent/dump.log"), "");
    }
}
