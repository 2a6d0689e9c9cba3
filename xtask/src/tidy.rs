//! `xtask tidy`: file budgets and module documentation.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The longest production file, in lines without its inline tests.
const MAX_LINES: usize = 600;

/// Tables, which are long and still one room. Each with its reason.
const TABLES: [(&str, &str); 0] = [];

/// Checks every Rust file of the workspace.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    let mut files = rust_files(&root.join("crates"))?;
    files.extend(rust_files(&root.join("xtask"))?);
    for file in &files {
        let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
        if shown.contains("/generated/") || shown.contains("/tests/") || shown.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("read {shown}"))?;
        let lines = production_lines(&text);
        if lines > MAX_LINES && !TABLES.iter().any(|(table, _)| shown.ends_with(table)) {
            faults.push(format!("{shown}: {lines} lines of production code, more than {MAX_LINES}"));
        }
        if !text.starts_with("//!") && !text.starts_with("#!") {
            faults.push(format!("{shown}: no //! that says what the file is for"));
        }
    }
    ensure!(faults.is_empty(), "tidy:\n  {}", faults.join("\n  "));
    println!("tidy: {} files within their budget", files.len());
    Ok(())
}

fn production_lines(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

/// All Rust files below `dir`, build output excluded.
pub(crate) fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
