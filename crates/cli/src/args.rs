//! The command line as data: every verb and flag with docker's names. Nothing here acts.

pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod image;
pub(crate) mod system;

use clap::{Args, Parser, Subcommand};

pub(crate) use container::*;
pub(crate) use create::CreateArgs;
pub(crate) use image::*;
pub(crate) use system::*;

/// Containers that weigh nothing.
#[derive(Debug, Parser)]
#[command(name = "tare", version, disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags before the verb.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Daemon socket to connect to (unix:///path or tcp://host:port)
    #[arg(short = 'H', long = "host", global = false)]
    pub(crate) host: Option<String>,
    /// Show every request
    #[arg(short = 'D', long, hide = true)]
    pub(crate) debug: bool,
}

impl Cli {
    /// Parses the command line of this process.
    ///
    /// The description of all verbs takes longer to build than a container to start, so that of the two which programs
    /// run by the thousand is tried first. Help, and what is wrong with a command line, come from the whole.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        if std::env::args_os().any(|word| word == "run" || word == "exec")
            && let Ok(frequent) = Frequent::try_parse()
        {
            let verb = match frequent.verb {
                FrequentVerb::Run(args) => Verb::Run(args),
                FrequentVerb::Exec(args) => Verb::Exec(args),
            };
            return Ok(Self { global: frequent.global, verb });
        }
        Self::try_parse()
    }
}

/// The same command line with two verbs.
#[derive(Debug, Parser)]
#[command(name = "tare", disable_help_flag = true, disable_help_subcommand = true)]
struct Frequent {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    verb: FrequentVerb,
}

#[derive(Debug, Subcommand)]
enum FrequentVerb {
    #[command(disable_help_flag = true)]
    Run(Box<RunArgs>),
    #[command(disable_help_flag = true)]
    Exec(ExecArgs),
}

/// A verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create and run a new container from an image
    #[command(disable_help_flag = true)]
    Run(Box<RunArgs>),
    /// Create a new container
    #[command(disable_help_flag = true)]
    Create(Box<CreateArgs>),
    /// Start one or more stopped containers
    Start(StartArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Restart one or more containers
    Restart(StopArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
    /// Remove one or more containers
    Rm(RmArgs),
    /// Rename a container
    Rename(RenameArgs),
    /// List containers
    Ps(PsArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// Execute a command in a running container
    #[command(disable_help_flag = true)]
    Exec(ExecArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(AttachArgs),
    /// Display the running processes of a container
    Top(TopArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(StatsArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(CpArgs),
    /// List port mappings or a specific mapping for the container
    Port(PortArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(OneName),
    /// Update configuration of one or more containers
    Update(UpdateArgs),
    /// Create a new image from a container's changes
    Commit(CommitArgs),
    /// Export a container's filesystem as a tar archive
    Export(ExportArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(ImportArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(SaveArgs),
    /// Load an image from a tar archive or STDIN
    Load(LoadArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// List images
    Images(ImagesArgs),
    /// Remove one or more images
    Rmi(RmiArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(TagArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Return low-level information on objects
    Inspect(InspectArgs),
    /// Authenticate to a registry
    Login(LoginArgs),
    /// Log out from a registry
    Logout(LogoutArgs),
    /// Get real time events from the server
    Events(EventsArgs),
    /// Display system-wide information
    Info(FormatOnly),
    /// Show the version information
    Version(FormatOnly),
    /// Manage containers
    #[command(subcommand)]
    Container(Box<ContainerVerb>),
    /// Manage images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Manage networks
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Manage Tare
    #[command(subcommand)]
    System(SystemVerb),
    /// Say what this host lacks and what Tare left behind
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completion(CompletionArgs),
}

/// `tare container …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// Create and run a new container from an image
    #[command(disable_help_flag = true)]
    Run(Box<RunArgs>),
    /// Create a new container
    #[command(disable_help_flag = true)]
    Create(Box<CreateArgs>),
    /// Start one or more stopped containers
    Start(StartArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Restart one or more containers
    Restart(StopArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
    /// Remove one or more containers
    #[command(alias = "remove")]
    Rm(RmArgs),
    /// Rename a container
    Rename(RenameArgs),
    /// List containers
    #[command(aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// Execute a command in a running container
    #[command(disable_help_flag = true)]
    Exec(ExecArgs),
    /// Attach to a running container
    Attach(AttachArgs),
    /// Display the running processes of a container
    Top(TopArgs),
    /// Display resource usage statistics
    Stats(StatsArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(CpArgs),
    /// List port mappings
    Port(PortArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(OneName),
    /// Update configuration of one or more containers
    Update(UpdateArgs),
    /// Create a new image from a container's changes
    Commit(CommitArgs),
    /// Export a container's filesystem as a tar archive
    Export(ExportArgs),
    /// Display detailed information on one or more containers
    Inspect(InspectArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
}

/// `tare image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// List images
    #[command(alias = "list")]
    Ls(ImagesArgs),
    /// Remove one or more images
    #[command(alias = "remove")]
    Rm(RmiArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(TagArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(ImportArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(SaveArgs),
    /// Load an image from a tar archive or STDIN
    Load(LoadArgs),
    /// Display detailed information on one or more images
    Inspect(InspectArgs),
    /// Remove unused images
    Prune(PruneArgs),
    /// Make an image from Debian packages and serve it from a registry on this host
    Bootstrap(BootstrapArgs),
}

/// Names or ids of containers.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
}

/// One name.
#[derive(Debug, Args)]
pub(crate) struct OneName {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) name: String,
}

/// `--format` alone.
#[derive(Debug, Args)]
pub(crate) struct FormatOnly {
    /// Format output using a Go template, or 'json'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// Flags of every `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove all unused ones, not just dangling ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long)]
    pub(crate) filter: Vec<String>,
}
