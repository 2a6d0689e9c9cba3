//! What a benchmark needs of the machine: the floor, a root file system, a private mount namespace, counts.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Source of the floor.
const FLOOR: &str = include_str!("../../floor/floor.c");

/// Source of what counts page faults.
const USAGE: &str = include_str!("../../floor/usage.c");

/// Runs a command and requires exit status 0.
///
/// # Errors
/// When it cannot be started or fails; the message has what it said.
pub fn output(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}: {}", arguments.join(" "), output.status, said.trim());
    Ok(output)
}

/// Compiles the floor.
///
/// # Errors
/// When the compiler fails.
pub fn build_floor(directory: &Path) -> Result<PathBuf> {
    compile("floor", FLOOR, directory)
}

fn compile(name: &str, text: &str, directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join(format!("{name}.c")), directory.join(name));
    std::fs::write(&source, text).with_context(|| format!("write {}", source.display()))?;
    let words = ["-O2", "-Wall", "-o", path(&program)?, path(&source)?];
    output("gcc", &words)?;
    Ok(program)
}

/// Page faults (without input from a disk) of a command and the children it waited for: the median of `rounds` runs.
///
/// # Errors
/// When it cannot be started or fails.
pub fn page_faults(directory: &Path, rounds: usize, mut words: impl FnMut() -> Vec<String>) -> Result<u64> {
    let program = directory.join("usage");
    if !program.exists() {
        compile("usage", USAGE, directory)?;
    }
    let mut faults = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let words = words();
        let said = output(path(&program)?, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let first = text.split_whitespace().next().context("no count of faults")?;
        faults.push(first.parse::<u64>().context("the count of faults")?);
    }
    faults.sort_unstable();
    Ok(faults.get(faults.len() / 2).copied().unwrap_or_default())
}

/// The largest resident set that a process has had, in KiB (VmHWM of proc_pid_status(5)).
///
/// # Errors
/// When the process is gone.
pub fn peak_memory(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    line.split_whitespace().next().context("VmHWM is empty")?.parse().context("VmHWM")
}

/// A root file system with busybox, made by `tare image bootstrap`.
///
/// # Errors
/// When it cannot be made.
pub fn busybox(tare: &Path, directory: &Path) -> Result<PathBuf> {
    let rootfs = directory.join("rootfs");
    if !rootfs.exists() {
        output(path(tare)?, &["image", "bootstrap", "--rootfs", path(&rootfs)?, "busybox"])?;
    }
    Ok(rootfs)
}

/// A bundle: the root file system, and the default configuration with `command` as its program.
///
/// # Errors
/// When a file cannot be written.
pub fn bundle(directory: &Path, rootfs: &Path, command: &[&str]) -> Result<()> {
    changed_bundle(directory, rootfs, command, |_| ())
}

/// As [`bundle`], with a configuration that `change` was at.
///
/// # Errors
/// When a file cannot be written.
pub fn changed_bundle(
    directory: &Path,
    rootfs: &Path,
    command: &[&str],
    change: impl FnOnce(&mut serde_json::Value),
) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("mkdir {}", directory.display()))?;
    let _old = std::fs::remove_file(directory.join("config.json"));
    output("runc", &["spec", "--bundle", path(directory)?])?;
    let config = directory.join("config.json");
    let text = std::fs::read_to_string(&config).with_context(|| format!("read {}", config.display()))?;
    let mut spec: serde_json::Value = serde_json::from_str(&text).context("parse config.json")?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(command);
    spec["root"] = serde_json::json!({"path": path(rootfs)?, "readonly": true});
    change(&mut spec);
    std::fs::write(&config, spec.to_string()).with_context(|| format!("write {}", config.display()))
}

/// A path as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// System calls of a command and all its children, counted by strace.
///
/// # Errors
/// When strace fails.
pub fn count_calls(words: &[&str]) -> Result<u64> {
    let file = std::env::temp_dir().join(format!("tare-strace-{}", std::process::id()));
    let mut arguments = vec!["-f", "-c", "-o", path(&file)?];
    arguments.extend(words);
    output("strace", &arguments)?;
    let text = std::fs::read_to_string(&file).context("read strace's table")?;
    let _removed = std::fs::remove_file(&file);
    let total =
        text.lines().find(|line| line.trim_end().ends_with(" total")).context("strace printed no total")?;
    let calls = total.split_whitespace().nth(3).context("strace's total has no count")?;
    calls.parse().context("strace's count")
}

/// Proportional and resident memory of a process in KiB, from /proc/PID/smaps_rollup.
///
/// # Errors
/// When the process is gone.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    Ok((field("Pss:"), field("Rss:")))
}
