//! Pull and unpack: tared beside Debian's containerd, from Debian's registry on loopback, in turns.
//!
//! `pull-bench [--tared PATH] [--directory DIR] [--rounds N] [NAME…]`: exit status 1 when a bound is missed.
#![allow(clippy::print_stdout, reason = "a command")]

use anyhow::{Context as _, Result, bail};
use std::{path::PathBuf, process::ExitCode};
use tare_testkit::{
    docker_registry::{DockerRegistry, Options},
    pull_bench::{Puller, Sample, containerd::Containerd, images, median, settle, tare::Tared},
};

/// The bound of the daemon's peak memory.
const PEAK_KIB: u64 = 64 << 10;

struct Arguments {
    tared: PathBuf,
    directory: PathBuf,
    rounds: usize,
    names: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments {
        tared: "target/release/tared".into(),
        directory: "/var/tmp/tare-pull-bench".into(),
        rounds: 3,
        names: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--tared" => found.tared = value()?.into(),
            "--directory" => found.directory = value()?.into(),
            "--rounds" => found.rounds = value()?.parse()?,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            name => found.names.push(name.to_string()),
        }
    }
    Ok(found)
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    let work = tempfile::Builder::new().prefix("run-").tempdir_in({
        std::fs::create_dir_all(&arguments.directory)?;
        &arguments.directory
    })?;
    let registry = DockerRegistry::start(&Options::default())?;
    println!(
        "{:<12} {:>10} {:>12} {:>7} {:>7}  {:>8} {:>10}",
        "image", "tare s", "containerd s", "ratio", "bound", "CPU s", "peak KiB"
    );
    let mut missed = false;
    for shape in images::SHAPES {
        if !arguments.names.is_empty() && !arguments.names.iter().any(|name| name == shape.name) {
            continue;
        }
        let layout = arguments.directory.join(shape.name);
        images::write_layout(&layout, &shape)?;
        let reference = images::push_layout(&layout, registry.host(), shape.name)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            // Daemons and directories of its own for each pull, removed at the end of all: ext4 does not give out
            // an inode that was deleted in the last minutes and searches past it, which costs more than the pull.
            let place = |who: &str| work.path().join(format!("{who}-{}-{round}", shape.name));
            ours.push(measure(&mut Tared::start(&arguments.tared, &place("tare"))?, &reference)?);
            theirs.push(measure(&mut Containerd::start(&place("containerd"))?, &reference)?);
        }
        let wall = |samples: &[Sample]| median(samples, |sample| sample.wall.as_secs_f64());
        let ratio = wall(&ours) / wall(&theirs);
        let peak = ours.iter().map(|sample| sample.peak_kib).max().unwrap_or(0);
        let bad = ratio > shape.bound || peak > PEAK_KIB;
        missed |= bad;
        println!(
            "{:<12} {:>10.2} {:>12.2} {:>7.2} {:>7.2}  {:>8.2} {:>10}{}",
            shape.name,
            wall(&ours),
            wall(&theirs),
            ratio,
            shape.bound,
            median(&ours, |sample| sample.cpu.as_secs_f64()),
            peak,
            if bad { "  missed" } else { "" }
        );
    }
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(puller: &mut dyn Puller, reference: &str) -> Result<Sample> {
    settle();
    puller.pull(reference).with_context(|| format!("{} pulls {reference}", puller.name()))
}
