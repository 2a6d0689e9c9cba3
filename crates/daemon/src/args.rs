//! The command line of `tared`.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The daemon of Tare: images, containers, networks; for docker, ctr and tare.
#[derive(Debug, Clone, Parser)]
#[command(name = "tared", version, disable_help_subcommand = true)]
pub struct Args {
    /// Configuration file; absent ones are the defaults
    #[arg(long, short, global = true, value_name = "FILE", default_value = "/etc/tare/config.toml")]
    pub config: PathBuf,
    /// Directory of durable data
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of data that a reboot may take
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Socket of containerd's API
    #[arg(long, short, global = true, value_name = "SOCKET")]
    pub address: Option<PathBuf>,
    /// Socket of Docker's API
    #[arg(long, global = true, value_name = "SOCKET")]
    pub docker_address: Option<PathBuf>,
    /// trace, debug, info, warn, error
    #[arg(long, short, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `tared` can do besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Print a configuration
    Config {
        /// Which one
        #[command(subcommand)]
        which: ConfigCommand,
    },
    /// Remove what a daemon of these directories left in the kernel, while none runs
    Repair,
    /// Run a hook of a container, its arguments filled from the state on standard input, as containerd oci-hook
    OciHook {
        /// Program and arguments; {{id}}, {{bundle}}, {{rootfs}}, {{pid}}, {{status}} and {{annotation "name"}} are filled in
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

/// Which configuration to print.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// The defaults, with comments
    Default,
    /// What this command line and the file lead to
    Dump,
}
