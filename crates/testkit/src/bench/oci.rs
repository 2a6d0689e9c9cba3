//! `tare-oci` beside its peers and the floor: what a container costs, by operation and by bundle.
//!
//! Runs in a mount namespace of its own without /sys/fs/cgroup/unified, since crun 1.8 refuses the hybrid layout.

mod counts;
mod rows;
mod variant;

use super::machine::{self, path};
use super::{Figures, interleave, table, verdict};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use variant::Variant;

/// Runtimes that are measured where they are there, by name.
const PEERS: [&str; 3] = ["crun", "runc", "youki"];

/// What the medians of the summary are of, in its order.
const COLUMNS: [&str; 6] = ["floor+cgself", "floor+cg", "tare-oci", "crun", "runc", "youki"];

/// A rest after which the kernel's grace periods are those of a quiet machine.
const REST: Duration = Duration::from_millis(60);

/// What is done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Hot,
    Rested,
    Steps,
    Exec,
    Storm,
}

impl Operation {
    const ALL: [Self; 5] = [Self::Hot, Self::Rested, Self::Steps, Self::Exec, Self::Storm];

    fn name(self) -> &'static str {
        match self {
            Self::Hot => "run of true, hot",
            Self::Rested => "run of true, after 60 ms of rest",
            Self::Steps => "create, start, delete",
            Self::Exec => "exec of true",
            Self::Storm => "50 runs at once",
        }
    }

    /// The rows that the ratios are to.
    fn anchors(self) -> [&'static str; 2] {
        match self {
            Self::Exec => ["tare-oci", "crun"],
            Self::Storm => ["floor+cg", "crun"],
            _ => ["floor+cgself", "crun"],
        }
    }

    /// What `tare-oci` is to reach with the usual bundle: row, factor. Where there are two, the first is the older.
    fn bounds(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Hot => &[("floor+cgself", 1.4), ("floor+cgself", 1.2)],
            Self::Rested => &[("crun", 0.3), ("crun", 0.25)],
            Self::Steps => &[("floor+cgself", 1.6)],
            Self::Exec => &[("crun", 0.4)],
            Self::Storm => &[("floor+cg", 1.3), ("floor+cg", 1.1)],
        }
    }

    /// How often, where the usual bundle is run `rounds` times hot.
    fn rounds(self, rounds: usize, variant: Variant) -> usize {
        let part = if variant == Variant::Usual { 1 } else { 4 };
        match self {
            Self::Hot => rounds.div_ceil(part),
            Self::Storm => rounds.div_ceil(30 * part).max(if part == 1 { 5 } else { 3 }),
            _ => rounds.div_ceil(3 * part),
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn fresh_id() -> String {
    format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What all variants share.
struct Setup {
    directory: PathBuf,
    floor: String,
    rootfs: String,
    state: PathBuf,
    runtimes: Vec<(String, String)>,
}

/// Bundles of one variant.
struct Bundles {
    variant: Variant,
    /// Of `true`, and of a program that stays.
    once: String,
    sleeper: String,
}

/// Prints the tables of the OCI runtime. `rounds` of the usual bundle run hot; everything else scales with it. 200 takes
/// about five minutes, 20 one.
///
/// # Errors
/// When a command fails.
pub fn run(bin: &Path, directory: &Path, rounds: usize) -> Result<String> {
    let rootfs = machine::busybox(&bin.join("tare"), directory)?;
    let setup = Setup {
        directory: directory.to_owned(),
        floor: path(&machine::build_floor(directory)?)?.to_owned(),
        rootfs: path(&rootfs)?.to_owned(),
        state: directory.join("state"),
        runtimes: runtimes(bin),
    };
    let mut text = String::new();
    let mut summary = String::new();
    for variant in Variant::ALL {
        let bundles = setup.bundles(variant)?;
        for operation in Operation::ALL {
            let figures = setup
                .measure(operation, &bundles, operation.rounds(rounds, variant))
                .with_context(|| format!("{}, {}", operation.name(), variant.name()))?;
            if variant == Variant::Usual {
                text.push_str(&table(operation.name(), &figures, &operation.anchors()));
                text.push_str(&judge(operation, &figures));
            }
            summary.push_str(&line(operation, variant, &figures));
        }
    }
    text.push_str(&heading());
    text.push_str(&summary);
    text.push_str(&counts::table(&setup)?);
    Ok(text)
}

fn runtimes(bin: &Path) -> Vec<(String, String)> {
    let mut found = vec![("tare-oci".to_owned(), bin.join("tare-oci").display().to_string())];
    for name in PEERS {
        let mut command = Command::new(name);
        let asked = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if asked.is_ok_and(|status| status.success()) {
            found.push((name.to_owned(), name.to_owned()));
        }
    }
    found
}

impl Setup {
    fn bundles(&self, variant: Variant) -> Result<Bundles> {
        let make = |kind: &str, command: &[&str]| {
            let directory = self.directory.join(variant.name().replace(' ', "-")).join(kind);
            variant.make(&directory, Path::new(&self.rootfs), command)?;
            Ok::<_, anyhow::Error>(path(&directory)?.to_owned())
        };
        Ok(Bundles {
            variant,
            once: make("once", &["/bin/true"])?,
            sleeper: make("sleeper", &["/bin/sleep", "1000"])?,
        })
    }

    fn measure(&self, operation: Operation, bundles: &Bundles, rounds: usize) -> Result<Vec<Figures>> {
        match operation {
            Operation::Hot => interleave(self.run_rows(bundles), rounds, Duration::ZERO),
            Operation::Rested => interleave(self.run_rows(bundles), rounds, REST),
            Operation::Steps => interleave(self.step_rows(bundles), rounds, Duration::ZERO),
            Operation::Exec => self.exec(bundles, rounds),
            Operation::Storm => interleave(self.storm_rows(bundles), rounds, Duration::ZERO),
        }
    }
}

fn find<'f>(figures: &'f [Figures], name: &str) -> Option<&'f Figures> {
    figures.iter().find(|figures| figures.name == name)
}

/// Whether `tare-oci` keeps its bounds.
fn judge(operation: Operation, figures: &[Figures]) -> String {
    let one = |(anchor, bound): &(&str, f64)| match (find(figures, "tare-oci"), find(figures, anchor)) {
        (Some(row), Some(anchor)) => {
            verdict(&format!("{} x {}", row.name, anchor.name), row.ratio_to(anchor), *bound)
        }
        _ => format!("  skipped: no {anchor} on this host\n"),
    };
    operation.bounds().iter().map(one).collect()
}

fn heading() -> String {
    let mut text =
        "\nall bundles: medians in milliseconds, and tare-oci as a multiple of the others\n".to_owned();
    text.push_str(&format!("  {:<34}{:<20}{:>5}", "", "", "n"));
    for column in COLUMNS {
        text.push_str(&format!("{column:>14}"));
    }
    text + "   x floor  x crun\n"
}

fn line(operation: Operation, variant: Variant, figures: &[Figures]) -> String {
    let rounds = figures.first().map_or(0, |figures| figures.samples.len());
    let mut text = format!("  {:<34}{:<20}{rounds:>5}", operation.name(), variant.name());
    for column in COLUMNS {
        match find(figures, column) {
            Some(row) => text.push_str(&format!("{:>14.2}", row.median().as_secs_f64() * 1e3)),
            None => text.push_str(&format!("{:>14}", "-")),
        }
    }
    let floor = if operation == Operation::Storm { "floor+cg" } else { "floor+cgself" };
    for (anchor, width) in [(floor, 10), ("crun", 8)] {
        match (find(figures, "tare-oci"), find(figures, anchor)) {
            (Some(row), Some(anchor)) => text.push_str(&format!("{:>width$.2}", row.ratio_to(anchor))),
            _ => text.push_str(&format!("{:>width$}", "-")),
        }
    }
    text + "\n"
}
