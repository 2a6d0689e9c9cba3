//! What can be counted: system calls, page faults, memory, bytes. Firm where times are not.

use super::super::{machine, time, verdict};
use super::{Bundles, Setup, Variant, fresh_id};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs of which the median of page faults is taken.
const ROUNDS: usize = 5;

#[derive(Debug, Default)]
struct Counts {
    name: String,
    run_calls: u64,
    faults: u64,
    exec_calls: Option<u64>,
    peak: Option<u64>,
    bytes: u64,
}

/// The table of counts with what `tare-oci` is to reach.
pub(super) fn table(setup: &Setup) -> Result<String> {
    let bundles = setup.bundles(Variant::Usual)?;
    let mut rows = vec![setup.floor_counts()?];
    for runtime in &setup.runtimes {
        rows.push(setup.counts(runtime, &bundles)?);
    }
    let mut text = String::from(
        "\ncounts: of a run of true, children and true itself included; of exec; of the runtime's own process\n",
    );
    text.push_str(&format!(
        "  {:<12}{:>12}{:>12}{:>12}{:>16}{:>14}\n",
        "", "run: calls", "page faults", "exec: calls", "peak RSS (KiB)", "binary (B)"
    ));
    let shown = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    for row in &rows {
        let (exec, peak) = (shown(row.exec_calls), shown(row.peak));
        text.push_str(&format!(
            "  {:<12}{:>12}{:>12}{exec:>12}{peak:>16}{:>14}\n",
            row.name, row.run_calls, row.faults, row.bytes
        ));
    }
    if let Some(own) = rows.iter().find(|row| row.name == "tare-oci") {
        let judged = [
            ("system calls of run", own.run_calls, 300.0),
            ("page faults of run", own.faults, 90.0),
            ("peak RSS of run, KiB", own.peak.unwrap_or_default(), 1024.0),
            ("bytes of the binary", own.bytes, 1_048_576.0),
        ];
        text.extend(judged.map(|(what, count, bound)| verdict(what, count as f64, bound)));
    }
    Ok(text)
}

impl Setup {
    fn floor_counts(&self) -> Result<Counts> {
        let words = [self.floor.as_str(), "none", &self.rootfs, "/bin/true"];
        let faults = machine::page_faults(&self.directory, ROUNDS, || {
            words.iter().map(|&word| word.to_owned()).collect()
        })?;
        let bytes = std::fs::metadata(&self.floor).map_or(0, |meta| meta.len());
        let run_calls = machine::count_calls(&words)?;
        Ok(Counts { name: "floor".into(), run_calls, faults, bytes, ..Counts::default() })
    }

    fn counts(&self, runtime: &(String, String), bundles: &Bundles) -> Result<Counts> {
        let (name, program) = runtime;
        let mut words = self.run_words(runtime, &bundles.once);
        let faults = machine::page_faults(&self.directory, ROUNDS, &mut words)?;
        let words = words();
        let run_calls = machine::count_calls(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (id, root) = (fresh_id(), self.root(name));
        let mut foreground = Command::new(program)
            .args(["--root", &root, "run", "--bundle", &bundles.sleeper, &id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("run {program}"))?;
        let exec = ["--root", &root, "exec", &id, "/bin/true"];
        let measured = wait_running(program, &root, &id, &mut foreground).and_then(|()| {
            let peak = machine::peak_memory(foreground.id())?;
            let words: Vec<&str> = [program.as_str()].into_iter().chain(exec).collect();
            Ok((machine::count_calls(&words)?, peak))
        });
        let removed = time(&[program, "--root", &root, "delete", "--force", &id]);
        foreground.wait().context("wait for a container in the foreground")?;
        let (exec_calls, peak) = measured?;
        // Whose container it is may have removed it first.
        drop(removed);
        let bytes = std::fs::metadata(which(program)).map_or(0, |meta| meta.len());
        let name = name.clone();
        Ok(Counts { name, run_calls, faults, exec_calls: Some(exec_calls), peak: Some(peak), bytes })
    }
}

/// Waits until a container that was started in the foreground runs.
fn wait_running(program: &str, root: &str, id: &str, foreground: &mut Child) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let state = Command::new(program).args(["--root", root, "state", id]).output();
        let state = state.with_context(|| format!("run {program}"))?;
        if String::from_utf8_lossy(&state.stdout).contains("running") {
            return Ok(());
        }
        let ended = foreground.try_wait().context("look at a container in the foreground")?;
        anyhow::ensure!(ended.is_none(), "a container in the foreground has ended");
        anyhow::ensure!(Instant::now() < deadline, "{program}: no container runs after ten seconds");
        super::super::pause(Duration::from_millis(5));
    }
}

fn which(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file()).unwrap_or_default()
}
