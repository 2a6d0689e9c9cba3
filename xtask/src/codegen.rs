//! `xtask codegen`: crates/api/proto → crates/api/src/generated. The result is checked in, so that a build
//! needs neither protoc nor the code generators.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Packages whose services go over ttrpc: their messages are generated, their gRPC code is not.
const TTRPC_ONLY: [&str; 4] = ["containerd/runtime/", "containerd/services/ttrpc/", "tare/", "ttrpc/"];

/// Generates all messages, and gRPC clients and servers of the packages that go over gRPC.
pub(crate) fn run(root: &Path) -> Result<()> {
    let protos = root.join("crates/api/proto");
    let out = root.join("crates/api/src/generated");
    std::fs::create_dir_all(&out)?;
    let mut files = Vec::new();
    collect(&protos, &mut files)?;
    files.sort();
    let mut descriptors = protox::compile(&files, [&protos]).context("compile the protos")?;
    for file in &mut descriptors.file {
        let name = file.name.clone().unwrap_or_default();
        if TTRPC_ONLY.iter().any(|prefix| name.starts_with(prefix)) {
            file.service.clear();
        }
    }
    tonic_prost_build::configure()
        .out_dir(&out)
        .include_file("mod.rs")
        .emit_rerun_if_changed(false)
        .extern_path(".google.protobuf.Any", "::prost_types::Any")
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .compile_fds(descriptors)
        .context("generate")?;
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
