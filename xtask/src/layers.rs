//! `xtask layers`: the dependency graph is the architecture, so it is checked.
//!
//! The table below is the one in ARCHITECTURE.md. An edge that is not in it fails, and so does a crate that is
//! not in it, unsafe code outside the two crates that may hold it, and `std` below the line.

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::path::Path;

/// Crate → the crates of the workspace it may use.
const LAYERS: [(&str, &[&str]); 16] = [
    ("launch", &[]),
    ("sys", &[]),
    ("types", &[]),
    ("runtime", &["launch", "sys", "types"]),
    ("store", &["sys", "types"]),
    ("registry", &["types"]),
    ("net", &["sys", "types"]),
    ("api", &["types"]),
    ("engine", &["types", "store", "registry", "net", "sys", "api"]),
    ("cri", &["engine", "types", "api"]),
    ("docker", &["engine", "types"]),
    ("daemon", &["types", "sys", "store", "registry", "net", "api", "engine", "docker", "cri"]),
    ("shim", &["runtime", "api", "types", "sys"]),
    ("oci", &["runtime", "types", "sys"]),
    ("cli", &["types", "sys"]),
    ("testkit", &["types", "sys", "api", "store", "registry", "net"]),
];

/// Crates that reach the kernel only through `sys` and link without libc.
const NO_STD: [&str; 5] = ["types", "sys", "launch", "runtime", "oci"];

/// The only crates with `unsafe`; of `oci` only the entry point, which has no libc to call it.
const UNSAFE: [&str; 3] = ["sys", "launch", "oci"];

/// Crates that storage and execution keep clean of an async runtime and of protobuf.
const SYNC: [&str; 7] = ["types", "sys", "launch", "runtime", "oci", "store", "net"];

/// Checks edges, `no_std`, `unsafe` and the absence of async below the engine.
pub(crate) fn run(root: &Path) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(name) = package.name.strip_prefix("tare-") else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            faults.push(format!("crate {name} is not in the table of layers"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            match dependency.name.strip_prefix("tare-") {
                Some(used) if !allowed.contains(&used) => {
                    faults.push(format!("crate {name} must not use {used}"));
                }
                None if SYNC.contains(&name) && is_async_or_wire(&dependency.name) => {
                    faults.push(format!("crate {name} is synchronous and must not use {}", dependency.name));
                }
                _ => {}
            }
        }
        check_sources(name, &root.join("crates").join(name).join("src"), &mut faults)?;
    }
    ensure!(faults.is_empty(), "layers:\n  {}", faults.join("\n  "));
    println!("layers: {} crates, every edge points down", LAYERS.len());
    Ok(())
}

fn is_async_or_wire(name: &str) -> bool {
    matches!(name, "tokio" | "hyper" | "prost" | "tonic" | "axum" | "futures-util")
}

fn check_sources(name: &str, dir: &Path, faults: &mut Vec<String>) -> Result<()> {
    if NO_STD.contains(&name) {
        let root = dir.join("lib.rs");
        let text = std::fs::read_to_string(&root).with_context(|| format!("read {}", root.display()))?;
        if !text.contains("#![no_std]") {
            faults.push(format!("crate {name} must be #![no_std]"));
        }
    }
    if !UNSAFE.contains(&name) {
        for file in crate::tidy::rust_files(dir)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            if text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code") {
                faults.push(format!("{} allows unsafe code; it belongs into sys or launch", file.display()));
            }
        }
    }
    Ok(())
}
