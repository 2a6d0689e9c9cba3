//! `tared`, the daemon.

use anyhow::Context;
use clap::Parser;
use std::{io::Write, process::ExitCode};
use tare_daemon::{
    args::{Args, Command, ConfigCommand},
    assembly::{self, Surroundings},
    config::{Config, DEFAULT_TOML},
    hook, logging, repair,
};

/// Arenas of the heap: the asynchronous threads and those that wait for disks rarely allocate at the same time.
const ARENAS: i32 = 2;
/// Free bytes that an arena keeps at its end.
const FREE_BYTES: i32 = 512 << 10;

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    tare_sys::memory::bound_heap(ARENAS, FREE_BYTES);
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere else to say it when standard error is closed.
            writeln!(std::io::stderr(), "tared: {error:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Config { which: ConfigCommand::Default }) = &args.command {
        return print(DEFAULT_TOML);
    }
    if let Some(Command::OciHook { command }) = &args.command {
        return hook::run(command);
    }
    let (mut config, warnings) = Config::load(&args.config)?;
    apply(args, &mut config);
    let directory = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_path_buf()));
    match &args.command {
        Some(Command::Config { .. }) => return print(&config.to_toml()?),
        Some(Command::Repair) => {
            for line in repair::repair(&config, directory.as_deref())? {
                print(&format!("{line}\n"))?;
            }
            return Ok(());
        }
        Some(Command::OciHook { .. }) | None => {}
    }
    logging::start(&config.debug)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if !config.cgroup.path.is_empty() {
        let path = &config.cgroup.path;
        tare_sys::cgroup::make(path)
            .and_then(|()| tare_sys::cgroup::enter(path))
            .map_err(|error| anyhow::anyhow!("enter the cgroup of [cgroup] path: {error}"))?;
    }
    // Before any thread exists: what the daemon makes is not writable for others, whoever started it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    let surroundings = Surroundings { directory, notify: std::env::var_os("NOTIFY_SOCKET") };
    let outcome = runtime.block_on(assembly::serve(config, surroundings));
    // A thread that hangs in the kernel cannot keep the daemon from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

/// Puts the command line over the file.
fn apply(args: &Args, config: &mut Config) {
    if let Some(state) = &args.state {
        // Sockets whose place nobody chose go with the state directory.
        let default = Config::default();
        if config.grpc.address == default.grpc.address {
            config.grpc.address = state.join("tared.sock");
        }
        if config.docker.address == default.docker.address {
            config.docker.address = state.join("docker.sock");
        }
        config.state.clone_from(state);
    }
    if let Some(root) = &args.root {
        config.root.clone_from(root);
    }
    if let Some(address) = &args.address {
        config.grpc.address.clone_from(address);
    }
    if let Some(address) = &args.docker_address {
        config.docker.address.clone_from(address);
    }
    if let Some(level) = &args.log_level {
        config.debug.level.clone_from(level);
    }
    // Shims and containers have other working directories: a path that depends on ours means nothing to them.
    for path in [&mut config.root, &mut config.state, &mut config.grpc.address, &mut config.docker.address] {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("write to standard output"),
    }
}
