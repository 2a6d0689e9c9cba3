//! The commands that are timed.

use super::super::{Figures, Row, interleave, time};
use super::{Bundles, Setup, fresh_id};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl Setup {
    pub(super) fn root(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    fn floor_words(&self, bundles: &Bundles, mode: &str) -> Vec<String> {
        vec![self.floor.clone(), bundles.variant.floor(mode), self.rootfs.clone(), "/bin/true".into()]
    }

    fn floor_row(&self, bundles: &Bundles, name: &str, mode: &str) -> Row {
        let words = self.floor_words(bundles, mode);
        Row::action(name, move || time(&words))
    }

    /// The words of `run` with a new id.
    pub(super) fn run_words(
        &self,
        runtime: &(String, String),
        bundle: &str,
    ) -> impl FnMut() -> Vec<String> + 'static {
        let (name, program) = runtime;
        let words = [program, "--root", &self.root(name), "run", "--bundle", bundle].map(str::to_owned);
        move || words.iter().cloned().chain([fresh_id()]).collect()
    }

    pub(super) fn run_rows(&self, bundles: &Bundles) -> Vec<Row> {
        let mut rows = vec![
            self.floor_row(bundles, "floor", "none"),
            self.floor_row(bundles, "floor+cg", "parent"),
            self.floor_row(bundles, "floor+cgself", "self"),
        ];
        rows.extend(self.runtimes.iter().map(|runtime| {
            let mut words = self.run_words(runtime, &bundles.once);
            Row::action(&runtime.0, move || time(&words()))
        }));
        rows
    }

    pub(super) fn step_rows(&self, bundles: &Bundles) -> Vec<Row> {
        let mut rows = vec![self.floor_row(bundles, "floor+cgself", "self")];
        rows.extend(self.runtimes.iter().map(|(name, program)| {
            let (program, root, bundle) = (program.clone(), self.root(name), bundles.once.clone());
            Row::action(name, move || {
                let id = fresh_id();
                let begin = Instant::now();
                time(&[&program, "--root", &root, "create", "--bundle", &bundle, &id])?;
                time(&[&program, "--root", &root, "start", &id])?;
                time(&[&program, "--root", &root, "delete", "--force", &id])?;
                Ok(begin.elapsed())
            })
        }));
        rows
    }

    pub(super) fn exec(&self, bundles: &Bundles, rounds: usize) -> Result<Vec<Figures>> {
        let mut rows = Vec::new();
        let mut running = Vec::new();
        for (name, program) in &self.runtimes {
            let (id, root) = (fresh_id(), self.root(name));
            time(&[program, "--root", &root, "run", "--detach", "--bundle", &bundles.sleeper, &id])
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

    pub(super) fn storm_rows(&self, bundles: &Bundles) -> Vec<Row> {
        let floor = self.floor_words(bundles, "parent");
        let mut rows = vec![Row::action("floor+cg", move || storm(|| floor.clone()))];
        rows.extend(self.runtimes.iter().map(|runtime| {
            let mut words = self.run_words(runtime, &bundles.once);
            Row::action(&runtime.0, move || storm(&mut words))
        }));
        rows
    }
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
