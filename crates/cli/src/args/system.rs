//! Flags of the verbs on volumes, networks and the daemon.

use super::{FormatOnly, PruneArgs};
use clap::{Args, Subcommand};

/// `inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Format output using a Go template, or 'json'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only inspect objects of the given type (container|image|volume|network)
    #[arg(long = "type")]
    pub(crate) kind: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    pub(crate) until: Option<String>,
}

/// `tare volume …`
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Create a volume
    Create(VolumeCreateArgs),
    /// List volumes
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Display detailed information on one or more volumes
    Inspect(InspectArgs),
    /// Remove one or more volumes
    #[command(alias = "remove")]
    Rm(VolumeRmArgs),
    /// Remove unused local volumes
    Prune(PruneArgs),
}

/// `volume create`
#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// Specify volume driver name
    #[arg(short, long, default_value = "local")]
    pub(crate) driver: String,
    /// Set metadata for a volume
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    pub(crate) opt: Vec<String>,
    /// Specify volume name
    #[arg(long = "name", hide = true)]
    pub(crate) name_flag: Option<String>,
    /// Name; a random one without
    pub(crate) name: Option<String>,
}

/// `volume rm`
#[derive(Debug, Args)]
pub(crate) struct VolumeRmArgs {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) names: Vec<String>,
}

/// Flags of `ls`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `tare network …`
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// Create a network
    Create(NetworkCreateArgs),
    /// Connect a container to a network
    Connect(NetworkConnectArgs),
    /// Disconnect a container from a network
    Disconnect(NetworkDisconnectArgs),
    /// Remove one or more networks
    #[command(alias = "remove")]
    Rm(NetworkRmArgs),
    /// Remove all unused networks
    Prune(PruneArgs),
    /// List networks
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Display detailed information on one or more networks
    Inspect(InspectArgs),
}

/// `network create`
#[derive(Debug, Args)]
pub(crate) struct NetworkCreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    pub(crate) attachable: bool,
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// IPv4 or IPv6 gateway for the master subnet
    #[arg(long, value_delimiter = ',')]
    pub(crate) gateway: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    pub(crate) internal: bool,
    /// Set metadata on a network
    #[arg(long)]
    pub(crate) label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    pub(crate) opt: Vec<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_delimiter = ',')]
    pub(crate) subnet: Vec<String>,
    /// Allocate container ip from a sub-range
    #[arg(long, value_delimiter = ',')]
    pub(crate) ip_range: Vec<String>,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver (name=address)
    #[arg(long)]
    pub(crate) aux_address: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, default_value = "default")]
    pub(crate) ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long)]
    pub(crate) ipam_opt: Vec<String>,
    /// Enable or disable IPv6 address assignment
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Name
    #[arg(value_name = "NETWORK")]
    pub(crate) name: String,
}

/// `network connect`
#[derive(Debug, Args)]
pub(crate) struct NetworkConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long)]
    pub(crate) alias: Vec<String>,
    /// IPv4 address
    #[arg(long)]
    pub(crate) ip: Option<String>,
    /// IPv6 address
    #[arg(long)]
    pub(crate) ip6: Option<String>,
    /// Add link to another container
    #[arg(long)]
    pub(crate) link: Vec<String>,
    /// Driver options for the network
    #[arg(long)]
    pub(crate) driver_opt: Vec<String>,
    /// Network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `network disconnect`
#[derive(Debug, Args)]
pub(crate) struct NetworkDisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `network rm`
#[derive(Debug, Args)]
pub(crate) struct NetworkRmArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) names: Vec<String>,
}

/// `tare system …`
#[derive(Debug, Subcommand)]
pub(crate) enum SystemVerb {
    /// Show disk usage
    Df(FormatOnly),
    /// Get real time events from the server
    Events(EventsArgs),
    /// Display system-wide information
    Info(FormatOnly),
    /// Remove stopped containers, dangling images and unused anonymous volumes
    Prune(SystemPruneArgs),
}

/// `system prune`
#[derive(Debug, Args)]
pub(crate) struct SystemPruneArgs {
    #[command(flatten)]
    pub(crate) prune: PruneArgs,
    /// Prune anonymous volumes
    #[arg(long)]
    pub(crate) volumes: bool,
}

/// `doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Clean up what was left behind
    #[arg(long)]
    pub(crate) repair: bool,
    /// Root directory of the daemon
    #[arg(long, default_value = "/var/lib/tare")]
    pub(crate) root: std::path::PathBuf,
    /// State directory of the daemon
    #[arg(long, default_value = "/run/tare")]
    pub(crate) state: std::path::PathBuf,
}

/// `completion`
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// bash, zsh, fish or elvish
    pub(crate) shell: clap_complete::Shell,
}
