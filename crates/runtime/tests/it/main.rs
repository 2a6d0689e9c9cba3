//! The library against the real kernel, with busybox as the root file system. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

mod attack;
mod bundle;
mod cgroup;
mod fuzz;
mod isolation;
mod lifecycle;
mod policy;

/// A file that nobody names is never compiled, and its tests pass for ever.
#[test]
fn no_file_is_forgotten() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else { continue };
        assert!(include_str!("main.rs").contains(&format!("mod {module};")), "{name} is not in main.rs");
    }
}
