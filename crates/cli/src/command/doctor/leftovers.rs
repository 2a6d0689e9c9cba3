//! What is there without a daemon that owns it: shims, mounts, bundles, bridges, cgroups.

use super::{Finding, Grade};
use std::path::Path;

/// All leftovers of an instance. With a daemon running its objects are in use and only counted by it.
pub(crate) fn find(root: &Path, state: &Path, daemon: bool) -> Vec<Finding> {
    if daemon {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(mounts(&[root, state]));
    findings.extend(shims(state));
    findings.extend(bundles(state));
    let instance = std::fs::read_to_string(root.join("instance")).unwrap_or_default().trim().to_owned();
    if !instance.is_empty() {
        findings.extend(links(&instance));
        findings.extend(cgroups(&instance));
    }
    findings
}

fn mounts(directories: &[&Path]) -> Vec<Finding> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| {
            directories.iter().any(|dir| Path::new(point).starts_with(dir) && Path::new(point) != *dir)
        })
        .map(|point| Finding::new(Grade::Note, "mount", point))
        .collect()
}

fn shims(state: &Path) -> Vec<Finding> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut findings = Vec::new();
    for process in processes.filter_map(Result::ok) {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<String> =
            line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is_shim = words.first().is_some_and(|program| program.ends_with("containerd-shim-tare-v2"));
        if is_shim && words.iter().any(|word| word.contains(&*state.to_string_lossy())) {
            let id = words.iter().skip_while(|word| *word != "-id").nth(1).cloned().unwrap_or_default();
            findings.push(Finding::new(
                Grade::Note,
                "shim",
                format!("pid {name}, container {id}: it goes on running and a new daemon takes it up"),
            ));
        }
    }
    findings
}

fn bundles(state: &Path) -> Vec<Finding> {
    let tasks = state.join("io.containerd.runtime.v2.task");
    let Ok(namespaces) = std::fs::read_dir(&tasks) else { return Vec::new() };
    namespaces
        .filter_map(Result::ok)
        .filter_map(|namespace| std::fs::read_dir(namespace.path()).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .map(|entry| Finding::new(Grade::Note, "bundle", entry.path().display().to_string()))
        .collect()
}

fn links(instance: &str) -> Vec<Finding> {
    let Ok(links) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    links
        .filter_map(Result::ok)
        .map(|link| link.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(instance))
        .map(|name| Finding::new(Grade::Note, "link", name))
        .collect()
}

fn cgroups(instance: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut parents = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    if let Ok(entries) = std::fs::read_dir("/sys/fs/cgroup") {
        parents.extend(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    for parent in parents {
        let path = parent.join(format!("tare-{instance}"));
        if path.is_dir() {
            findings.push(Finding::new(Grade::Note, "cgroup", path.display().to_string()));
        }
    }
    findings
}
