//! `bench oci|daemon BIN_DIRECTORY [--rounds N]`: prints tables with ratios and whether each bound is reached.
#![allow(clippy::print_stdout, reason = "a command")]

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use tare_testkit::bench;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let kind = words.next().context("bench oci|daemon BIN_DIRECTORY [--rounds N]")?;
    let bin = PathBuf::from(words.next().context("the directory with the release binaries")?);
    let bin = bin.canonicalize().with_context(|| format!("find {}", bin.display()))?;
    let mut rounds = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = Some(words.next().context("--rounds needs a number")?.parse()?),
            other => bail!("unknown argument {other:?}"),
        }
    }
    let directory =
        tempfile::Builder::new().prefix("tare-bench-").tempdir_in("/var/tmp").context("make a directory")?;
    let text = match kind.as_str() {
        "oci" => bench::oci::run(&bin, directory.path(), rounds.unwrap_or(200))?,
        "daemon" => bench::daemon::run(&bin, directory.path(), rounds.unwrap_or(20))?,
        other => bail!("unknown benchmark {other:?}; there are: oci, daemon"),
    };
    println!("{text}");
    Ok(())
}
