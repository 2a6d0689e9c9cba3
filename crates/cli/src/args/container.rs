//! Flags of the verbs on containers, but for `create` and `run`.

use super::CreateArgs;
use clap::Args;

/// `run`: `create` and what follows.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run container in background and print container ID
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Proxy received signals to the process
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// As root: start a daemon with defaults when none is running
    #[arg(long)]
    pub(crate) start_daemon: bool,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// `start`
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `stop` and `restart`
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short = 't', long = "timeout", visible_alias = "time", allow_hyphen_values = true)]
    pub(crate) timeout: Option<i64>,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `kill`
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Remove the specified link
    #[arg(short, long)]
    pub(crate) link: bool,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `rename`
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
    /// The new name
    #[arg(value_name = "NEW_NAME")]
    pub(crate) new_name: String,
}

/// `ps`
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long = "last", allow_hyphen_values = true)]
    pub(crate) last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Show extra details provided to logs
    #[arg(long)]
    pub(crate) details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    pub(crate) tail: String,
    /// Show timestamps
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Show logs before a timestamp or relative
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
}

/// `exec`
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long)]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    pub(crate) env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long)]
    pub(crate) workdir: Option<String>,
    /// Print usage
    #[arg(long, action = clap::ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// Container, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["CONTAINER", "COMMAND"])]
    pub(crate) container_and_command: Vec<String>,
}

/// `attach`
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long)]
    pub(crate) detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
}

/// `top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Container, then options of ps
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_names = ["CONTAINER", "PS_OPTIONS"])]
    pub(crate) container_and_options: Vec<String>,
}

/// `stats`
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Containers, by name or id; all running ones without
    #[arg(value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// `cp`
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// CONTAINER:SRC_PATH, a local path, or '-' for a tar archive on stdin
    pub(crate) source: String,
    /// CONTAINER:DEST_PATH, a local path, or '-' for a tar archive on stdout
    pub(crate) destination: String,
}

/// `port`
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
    /// PRIVATE_PORT[/PROTO]
    pub(crate) port: Option<String>,
}

/// `update`
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Memory limit
    #[arg(short, long)]
    pub(crate) memory: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Memory soft limit
    #[arg(long)]
    pub(crate) memory_reservation: Option<String>,
    /// Number of CPUs
    #[arg(long)]
    pub(crate) cpus: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long)]
    pub(crate) cpu_shares: Option<i64>,
    /// Limit CPU CFS period
    #[arg(long)]
    pub(crate) cpu_period: Option<i64>,
    /// Limit CPU CFS quota
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long)]
    pub(crate) restart: Option<String>,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}
