//! Tests that cannot run here: each says why, and is counted by `make test`.
//!
//! A test framework knows tests that pass and tests that fail. One that cannot run returns early and counts as passed;
//! so that nobody takes it for one that ran, it appends its name and its reason to the file that `TARE_SKIPPED` names.

use std::{fs::OpenOptions, io::Write as _, path::Path, thread};

/// The variable with the path of the file of skipped tests; one line each, `NAME<tab>REASON`.
pub const FILE: &str = "TARE_SKIPPED";

/// Says why the test that calls it does not run here. The caller returns.
#[allow(clippy::print_stdout, reason = "the test's output says it too")]
pub fn skipped(reason: &str) {
    println!("skipped: {reason}");
    let Some(path) = std::env::var_os(FILE) else { return };
    if let Err(error) = append(Path::new(&path), &name(), reason) {
        panic!("a skipped test must be counted: append to {}: {error}", path.display());
    }
}

/// Whether a test can run that needs all of these: what is there, and its name. Says what is missing first.
pub fn needs(all: &[(bool, &str)]) -> bool {
    let missing = all.iter().find(|(there, _)| !there);
    if let Some((_, what)) = missing {
        skipped(&format!("needs {what}"));
    }
    missing.is_none()
}

/// The test's name: nextest's `BINARY TEST`, else the thread's, which the standard harness names after the test.
fn name() -> String {
    match (std::env::var("NEXTEST_BINARY_ID"), std::env::var("NEXTEST_TEST_NAME")) {
        (Ok(binary), Ok(test)) => format!("{binary} {test}"),
        (binary, _) => {
            let thread = thread::current();
            let test = thread.name().unwrap_or("a thread of a test");
            binary.map_or_else(|_| test.to_owned(), |binary| format!("{binary} {test}"))
        }
    }
}

/// One write, so that tests that run at the same time do not mix their lines.
fn append(path: &Path, name: &str, reason: &str) -> std::io::Result<()> {
    let line = format!("{name}\t{}\n", reason.replace(['\n', '\t'], " "));
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_skipped_test_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("skipped");
        append(&path, "a::b", "needs\tthis\nand that").unwrap();
        append(&path, "c", "no root").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a::b\tneeds this and that\nc\tno root\n");
        assert!(name().ends_with("each_skipped_test_is_one_line"), "{}", name());
        assert!(needs(&[(true, "x")]));
    }
}
