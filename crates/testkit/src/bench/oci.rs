//! `tare-oci` beside runc, crun and the floor.
//!
//! Runs in a mount namespace of its own without /sys/fs/cgroup/unified, since crun 1.8 refuses the hybrid layout.

use super::machine::{self, path};
use super::{Figures, Row, interleave, table, time, verdict};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runtimes that are measured, by name and program.
fn runtimes(bin: &Path) -> Vec<(String, String)> {
    let mut found = vec![("tare-oci".to_owned(), bin.join("tare-oci").display().to_string())];
    for name in ["crun", "runc"] {
        if Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
        {
            found.push((name.to_owned(), name.to_owned()));
        }
    }
    found
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn fresh_id() -> String {
    format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Setup {
    floor: String,
    rootfs: String,
    bundle: String,
    sleeper: String,
    state: PathBuf,
    runtimes: Vec<(String, String)>,
}

/// Prints the tables of the OCI runtime. `rounds` of the hot rows; the others scale with it.
///
/// # Errors
/// When a command fails.
pub fn run(bin: &Path, directory: &Path, rounds: usize) -> Result<String> {
    let rootfs = machine::busybox(&bin.join("tare"), directory)?;
    let (bundle, sleeper) = (directory.join("bundle"), directory.join("sleeper"));
    machine::bundle(&bundle, &rootfs, &["/bin/true"])?;
    machine::bundle(&sleeper, &rootfs, &["/bin/sleep", "1000"])?;
    let setup = Setup {
        floor: path(&machine::build_floor(directory)?)?.to_owned(),
        rootfs: path(&rootfs)?.to_owned(),
        bundle: path(&bundle)?.to_owned(),
        sleeper: path(&sleeper)?.to_owned(),
        state: directory.join("state"),
        runtimes: runtimes(bin),
    };
    let anchors = ["floor+cgself", "crun"];
    let mut text = String::new();
    let hot = interleave(setup.run_rows(), rounds, Duration::ZERO)?;
    text.push_str(&table("run of true, hot", &hot, &anchors));
    text.push_str(&judge(&hot, "tare-oci", "floor+cgself", 1.4));
    let cold = interleave(setup.run_rows(), rounds.div_ceil(3), Duration::from_millis(60))?;
    text.push_str(&table("run of true, after 60 ms of rest", &cold, &anchors));
    text.push_str(&judge(&cold, "tare-oci", "crun", 0.3));
    let steps = interleave(setup.step_rows(), rounds.div_ceil(3), Duration::ZERO)?;
    text.push_str(&table("create, start, delete", &steps, &["tare-oci", "crun"]));
    text.push_str(&table("exec of true", &setup.exec(rounds.div_ceil(3))?, &["tare-oci", "crun"]));
    let storm = interleave(setup.storm_rows(), rounds.div_ceil(30).max(5), Duration::ZERO)?;
    text.push_str(&table("50 runs at once", &storm, &["floor+cg", "crun"]));
    text.push_str(&judge(&storm, "tare-oci", "floor+cg", 1.3));
    text.push_str(&setup.counts()?);
    Ok(text)
}

/// Whether a row keeps its bound against another.
fn judge(figures: &[Figures], row: &str, anchor: &str, bound: f64) -> String {
    let find = |name: &str| figures.iter().find(|figures| figures.name == name);
    match (find(row), find(anchor)) {
        (Some(row), Some(anchor)) => {
            verdict(&format!("{} x {}", row.name, anchor.name), row.ratio_to(anchor), bound)
        }
        _ => format!("  skipped: no {anchor} on this host\n"),
    }
}

impl Setup {
    fn root(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    fn run_rows(&self) -> Vec<Row> {
        let floor =
            |name: &str, mode: &str| Row::command(name, &[&self.floor, mode, &self.rootfs, "/bin/true"]);
        let mut rows =
            vec![floor("floor", "none"), floor("floor+cg", "parent"), floor("floor+cgself", "self")];
        for (name, program) in &self.runtimes {
            let (program, root, bundle) = (program.clone(), self.root(name), self.bundle.clone());
            rows.push(Row::action(name, move || {
                time(&[&program, "--root", &root, "run", "--bundle", &bundle, &fresh_id()])
            }));
        }
        rows
    }

    fn step_rows(&self) -> Vec<Row> {
        let rows = self.runtimes.iter().map(|(name, program)| {
            let (program, root, bundle) = (program.clone(), self.root(name), self.bundle.clone());
            Row::action(name, move || {
                let id = fresh_id();
                let begin = Instant::now();
                time(&[&program, "--root", &root, "create", "--bundle", &bundle, &id])?;
                time(&[&program, "--root", &root, "start", &id])?;
                time(&[&program, "--root", &root, "delete", "--force", &id])?;
                Ok(begin.elapsed())
            })
        });
        rows.collect()
    }

    fn exec(&self, rounds: usize) -> Result<Vec<Figures>> {
        let mut rows = Vec::new();
        let mut running = Vec::new();
        for (name, program) in &self.runtimes {
            let (id, root) = (fresh_id(), self.root(name));
            time(&[program, "--root", &root, "run", "--detach", "--bundle", &self.sleeper, &id])
                .with_context(|| format!("start a container with {name}"))?;
            rows.push(Row::command(name, &[program, "--root", &root, "exec", &id, "/bin/true"]));
            running.push((program, root, id));
        }
        let figures = interleave(rows, rounds, Duration::ZERO);
        for (program, root, id) in running {
            time(&[program, "--root", &root, "delete", "--force", &id])?;
        }
        figures
    }

    fn storm_rows(&self) -> Vec<Row> {
        let (floor, rootfs) = (self.floor.clone(), self.rootfs.clone());
        let mut rows = vec![Row::action("floor+cg", move || {
            storm(|| vec![floor.clone(), "parent".into(), rootfs.clone(), "/bin/true".into()])
        })];
        for (name, program) in &self.runtimes {
            let (program, root, bundle) = (program.clone(), self.root(name), self.bundle.clone());
            rows.push(Row::action(name, move || {
                storm(|| {
                    let words = [&program, "--root", &root, "run", "--bundle", &bundle];
                    words.iter().map(|word| (*word).to_string()).chain([fresh_id()]).collect()
                })
            }));
        }
        rows
    }

    fn counts(&self) -> Result<String> {
        let mut text = "\nsystem calls of one run of true (strace, children included)\n".to_owned();
        let floor = machine::count_calls(&[&self.floor, "none", &self.rootfs, "/bin/true"])?;
        text.push_str(&format!("  {:<34}{floor:>9}\n", "floor"));
        for (name, program) in &self.runtimes {
            let (root, id) = (self.root(name), fresh_id());
            let calls =
                machine::count_calls(&[program, "--root", &root, "run", "--bundle", &self.bundle, &id])?;
            let size = std::fs::metadata(which(program)).map_or(0, |meta| meta.len() / 1024);
            text.push_str(&format!("  {name:<34}{calls:>9}   binary {size} KiB\n"));
        }
        Ok(text)
    }
}

fn which(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file()).unwrap_or_default()
}

/// Starts fifty commands at once and waits for all.
fn storm(mut words: impl FnMut() -> Vec<String>) -> Result<Duration> {
    let begin = Instant::now();
    let mut children = Vec::new();
    for _ in 0..50 {
        let words = words();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("run {}", words[0]))?;
        children.push(child);
    }
    for mut child in children {
        let status = child.wait().context("wait for a runtime")?;
        anyhow::ensure!(status.success(), "one of fifty ended with {status}");
    }
    Ok(begin.elapsed())
}
