//! `version`, `info`, `system df` and every `prune`.

use crate::args::{FormatOnly, PruneArgs, SystemPruneArgs};
use crate::command::list::{print_table, text};
use crate::failure::Failure;
use crate::request::filters;
use crate::view::human::{decimal_size, decimal_size_short};
use crate::view::template::Template;
use crate::wire::client::{API_VERSION, Client, with_query};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};

/// Prints a value by `--format`; false when there is none.
pub(crate) fn formatted(value: &Value, format: Option<&str>) -> Result<bool, Failure> {
    match format {
        None => return Ok(false),
        Some("json") => println!("{value}"),
        Some(format) => println!("{}", Template::parse(format)?.render(value)?),
    }
    Ok(true)
}

/// `version`
pub(crate) async fn version(client: &Client, args: &FormatOnly) -> Result<(), Failure> {
    let server = client.get("/version").await?;
    let value = json!({
        "Client": {"Version": env!("CARGO_PKG_VERSION"), "ApiVersion": API_VERSION, "Os": "linux", "Arch": arch()},
        "Server": server,
    });
    if formatted(&value, args.format.as_deref())? {
        return Ok(());
    }
    println!("Client: Tare");
    println!(" Version:           {}", env!("CARGO_PKG_VERSION"));
    println!(" API version:       {API_VERSION}");
    println!(" OS/Arch:           linux/{}", arch());
    println!("\nServer: {} ({})", text(&server["Platform"]["Name"]), client.endpoint());
    println!(" Engine:");
    println!("  Version:          {}", text(&server["Version"]));
    println!(
        "  API version:      {} (minimum version {})",
        text(&server["ApiVersion"]),
        text(&server["MinAPIVersion"])
    );
    println!("  OS/Arch:          {}/{}", text(&server["Os"]), text(&server["Arch"]));
    println!("  Kernel:           {}", text(&server["KernelVersion"]));
    for component in server["Components"].as_array().into_iter().flatten().skip(1) {
        println!(" {}:", text(&component["Name"]));
        println!("  Version:          {}", text(&component["Version"]));
    }
    Ok(())
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `info`
pub(crate) async fn info(client: &Client, args: &FormatOnly) -> Result<(), Failure> {
    let info = client.get("/info").await?;
    if formatted(&info, args.format.as_deref())? {
        return Ok(());
    }
    println!("Server:");
    for (title, name) in [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Default Runtime", "DefaultRuntime"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Name", "Name"),
        ("ID", "ID"),
        ("Docker Root Dir", "DockerRootDir"),
    ] {
        println!(" {title}: {}", text(&info[name]));
    }
    println!(" Total Memory: {}", crate::view::human::binary_size(info["MemTotal"].as_f64().unwrap_or(0.0)));
    let runtimes: Vec<&str> =
        info["Runtimes"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    println!(" Runtimes: {}", runtimes.join(" "));
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("{warning}");
    }
    Ok(())
}

/// `system df`
pub(crate) async fn df(client: &Client, args: &FormatOnly) -> Result<(), Failure> {
    let usage = client.get("/system/df").await?;
    if formatted(&usage, args.format.as_deref())? {
        return Ok(());
    }
    let list = |name: &str| usage[name].as_array().cloned().unwrap_or_default();
    let (images, containers, volumes) = (list("Images"), list("Containers"), list("Volumes"));
    let sum = |items: &[Value], name: &str| items.iter().filter_map(|item| item[name].as_f64()).sum::<f64>();
    let running = containers.iter().filter(|c| c["State"] == "running").count();
    let used_images = images.iter().filter(|image| image["Containers"].as_i64().unwrap_or(0) > 0).count();
    let volume_size: f64 =
        volumes.iter().filter_map(|v| v["UsageData"]["Size"].as_f64()).filter(|s| *s > 0.0).sum();
    let used_volumes =
        volumes.iter().filter(|v| v["UsageData"]["RefCount"].as_i64().unwrap_or(0) > 0).count();
    let layers = usage["LayersSize"].as_f64().unwrap_or_else(|| sum(&images, "Size"));
    let row = |kind: &str, total: usize, active: usize, size: f64| json!({"Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(), "Size": decimal_size(size)});
    let rows = [
        row("Images", images.len(), used_images, layers),
        row("Containers", containers.len(), running, sum(&containers, "SizeRw")),
        row("Local Volumes", volumes.len(), used_volumes, volume_size + 0.0),
    ];
    print_table(&["TYPE", "TOTAL", "ACTIVE", "SIZE"], &["Type", "TotalCount", "Active", "Size"], &rows);
    Ok(())
}

/// Asks before something is lost; `force` answers for the person.
pub(crate) fn confirmed(force: bool, warning: &str) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    print!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    if !std::io::stdin().is_terminal() {
        println!();
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y"))
}

async fn prune_one(
    client: &Client,
    path: &str,
    list: &str,
    title: &str,
    flags: &[String],
) -> Result<f64, Failure> {
    let answer = client.post(&with_query(path, &[("filters", filters(flags)?)]), None).await?;
    let removed = answer[list].as_array().cloned().unwrap_or_default();
    if !removed.is_empty() {
        println!("{title}");
        for entry in &removed {
            match (entry["Untagged"].as_str(), entry["Deleted"].as_str()) {
                (Some(name), _) => println!("untagged: {name}"),
                (_, Some(id)) => println!("deleted: {id}"),
                _ => println!("{}", text(entry)),
            }
        }
        println!();
    }
    Ok(answer["SpaceReclaimed"].as_f64().unwrap_or(0.0))
}

fn reclaimed(bytes: f64) {
    println!("Total reclaimed space: {}", decimal_size_short(bytes));
}

/// `container prune`
pub(crate) async fn prune_containers(client: &Client, args: &PruneArgs) -> Result<(), Failure> {
    if confirmed(args.force, "This will remove all stopped containers.")? {
        let title = "Deleted Containers:";
        reclaimed(prune_one(client, "/containers/prune", "ContainersDeleted", title, &args.filter).await?);
    }
    Ok(())
}

/// `image prune`
pub(crate) async fn prune_images(client: &Client, args: &PruneArgs) -> Result<(), Failure> {
    let warning = match args.all {
        true => "This will remove all images without at least one container associated to them.",
        false => "This will remove all dangling images.",
    };
    if confirmed(args.force, warning)? {
        let mut flags = args.filter.clone();
        flags.push(format!("dangling={}", !args.all));
        reclaimed(prune_one(client, "/images/prune", "ImagesDeleted", "Deleted Images:", &flags).await?);
    }
    Ok(())
}

/// `volume prune`
pub(crate) async fn prune_volumes(client: &Client, args: &PruneArgs) -> Result<(), Failure> {
    let warning = match args.all {
        true => "This will remove all local volumes not used by at least one container.",
        false => "This will remove anonymous local volumes not used by at least one container.",
    };
    if confirmed(args.force, warning)? {
        let mut flags = args.filter.clone();
        if args.all {
            flags.push("all=1".to_owned());
        }
        reclaimed(prune_one(client, "/volumes/prune", "VolumesDeleted", "Deleted Volumes:", &flags).await?);
    }
    Ok(())
}

/// `network prune`
pub(crate) async fn prune_networks(client: &Client, args: &PruneArgs) -> Result<(), Failure> {
    if confirmed(args.force, "This will remove all custom networks not used by at least one container.")? {
        prune_one(client, "/networks/prune", "NetworksDeleted", "Deleted Networks:", &args.filter).await?;
    }
    Ok(())
}

/// `system prune`
pub(crate) async fn prune(client: &Client, args: &SystemPruneArgs) -> Result<(), Failure> {
    let warning = "This will remove all stopped containers, unused images and, if asked, unused volumes.";
    if !confirmed(args.prune.force, warning)? {
        return Ok(());
    }
    let flags = &args.prune.filter;
    let mut bytes =
        prune_one(client, "/containers/prune", "ContainersDeleted", "Deleted Containers:", flags).await?;
    if args.volumes {
        bytes += prune_one(client, "/volumes/prune", "VolumesDeleted", "Deleted Volumes:", flags).await?;
    }
    prune_one(client, "/networks/prune", "NetworksDeleted", "Deleted Networks:", flags).await?;
    let mut image_flags = flags.clone();
    image_flags.push(format!("dangling={}", !args.prune.all));
    bytes += prune_one(client, "/images/prune", "ImagesDeleted", "Deleted Images:", &image_flags).await?;
    reclaimed(bytes);
    Ok(())
}
