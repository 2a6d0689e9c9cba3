//! `image bootstrap`: a real image out of Debian packages, served by a real registry on this host, so that a
//! first pull needs nothing from outside.

mod packages;
mod push;

use crate::args::BootstrapArgs;
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the registry may take to answer after its start.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(10);

/// A directory that goes away with the value.
struct Workspace(PathBuf);

impl Workspace {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("tare-bootstrap-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Failure::new(format!("mkdir {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Below the temporary directory; what cannot be removed is the system's to clean.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// `image bootstrap NAME`
pub(crate) async fn run(args: &BootstrapArgs) -> Result<(), Failure> {
    let recipe = packages::find(&args.name)?;
    if let Some(rootfs) = &args.rootfs {
        return packages::make_directory(&recipe, rootfs);
    }
    let workspace = Workspace::make()?;
    let layer = workspace.0.join("layer.tar");
    eprintln!("making {} from Debian packages ({})", recipe.name, recipe.packages.join(", "));
    packages::make_layer(&recipe, &workspace.0, &layer)?;
    let address = args.registry.as_str();
    start_registry(address, &args.registry_root).await?;
    let image = push::push(address, &recipe, &layer).await?;
    println!("{image}");
    eprintln!("try: tare run --rm {image} {}", recipe.example);
    Ok(())
}

/// Starts Debian's docker-registry on the address unless something answers there already.
async fn start_registry(address: &str, root: &Path) -> Result<(), Failure> {
    let probe = push::Registry::new(address);
    if probe.answers().await {
        return Ok(());
    }
    std::fs::create_dir_all(root)
        .map_err(|error| Failure::new(format!("mkdir {}: {error}", root.display())))?;
    let config = root.join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
        root.join("data").display()
    );
    std::fs::write(&config, text)
        .map_err(|error| Failure::new(format!("write {}: {error}", config.display())))?;
    let log_path = root.join("registry.log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|error| Failure::new(format!("open {}: {error}", log_path.display())))?;
    let errors = log.try_clone()?;
    let mut registry = Command::new("docker-registry");
    registry.arg("serve").arg(&config).stdin(Stdio::null()).stdout(log).stderr(errors);
    // Not in the person's process group: Ctrl-C must not end it.
    std::os::unix::process::CommandExt::process_group(&mut registry, 0);
    let mut child = registry.spawn().map_err(|error| {
        Failure::new(format!("run docker-registry: {error}")).hint("apt-get install docker-registry")
    })?;
    let deadline = Instant::now() + REGISTRY_DEADLINE;
    while Instant::now() < deadline {
        if probe.answers().await {
            eprintln!("a registry runs on {address} (pid {}, data in {})", child.id(), root.display());
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(format!("docker-registry on {address} ended with {status}"))
                .hint(format!("see {}", log_path.display())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::new(format!("docker-registry does not answer on {address} within 10 s"))
        .hint(format!("see {}", log_path.display())))
}
