//! Flags of the verbs on images and registries.

use clap::Args;

/// `pull`
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// NAME[:TAG|@DIGEST]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `push`
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// NAME[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `images`
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    pub(crate) filter: Vec<String>,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// REPOSITORY[:TAG]
    pub(crate) reference: Option<String>,
}

/// `rmi`
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `tag`
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// SOURCE_IMAGE[:TAG]
    pub(crate) source: String,
    /// TARGET_IMAGE[:TAG]
    pub(crate) target: String,
}

/// `history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) human: bool,
    /// Format output using a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `save`
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    pub(crate) output: Option<String>,
    /// Save only the given platform variant ("os[/arch[/variant]]")
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `load`
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long)]
    pub(crate) input: Option<String>,
    /// Load only the given platform variant ("os[/arch[/variant]]")
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    pub(crate) change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// file|URL|-
    #[arg(value_name = "file|URL|-")]
    pub(crate) source: String,
    /// REPOSITORY[:TAG]
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}

/// `commit`
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long)]
    pub(crate) author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    pub(crate) change: Vec<String>,
    /// Commit message
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) pause: bool,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// REPOSITORY[:TAG]
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    pub(crate) output: Option<String>,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// `login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Username
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Password or Personal Access Token (PAT)
    #[arg(short, long)]
    pub(crate) password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Registry; docker.io without
    pub(crate) server: Option<String>,
}

/// `logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Registry; docker.io without
    pub(crate) server: Option<String>,
}

/// `image bootstrap`
#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// busybox, debian, nginx, redis or postgres
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Registry on this host that gets the image; it is started when it does not answer
    #[arg(long, default_value = "127.0.0.1:5000")]
    pub(crate) registry: String,
    /// Directory of that registry's data
    #[arg(long, default_value = "/var/lib/tare-registry")]
    pub(crate) registry_root: std::path::PathBuf,
    /// Only make the image's root file system here, without a registry
    #[arg(long)]
    pub(crate) rootfs: Option<std::path::PathBuf>,
}
