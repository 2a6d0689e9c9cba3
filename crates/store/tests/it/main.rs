//! Boundary tests of the store, against the real kernel. Everything lives below a temporary directory of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod apply;
mod content;
mod crash;
mod diff;
mod disk_full;
mod fuzz;
mod gc;
mod hostile;
mod metadata;
mod snapshot_suite;
mod snapshots;
mod support;

/// Every file of this directory is part of the binary.
#[test]
fn no_file_is_forgotten() {
    let main = include_str!("main.rs");
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name} is not in main.rs");
    }
}
