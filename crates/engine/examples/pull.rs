//! Pulls one image with nothing but the engine, and says how long it took and how much memory.
//!
//! `pull ROOT REFERENCE`: ROOT gets the stores; a second run finds everything there.
#![allow(clippy::print_stdout, reason = "a command")]

use std::{path::PathBuf, time::Instant};
use tare_engine::{Engine, EngineConfig, config::Limits, images::PullRequest, request::LogConfig};
use tare_types::{Namespace, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull ROOT REFERENCE".into());
    };
    let reference = Reference::parse_familiar(&reference)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(root.into(), reference))
}

async fn run(root: PathBuf, reference: Reference) -> Result<(), Box<dyn std::error::Error>> {
    let config = EngineConfig {
        state: root.join("state"),
        address: root.join("state/tared.sock"),
        instance: "00000000".into(),
        runtimes: Default::default(),
        shim: "/nonexistent".into(),
        default_runtime: "io.containerd.runc.v2".into(),
        snapshotter: "overlayfs".into(),
        registry_config: Vec::new(),
        insecure_registries: Vec::new(),
        max_concurrent_downloads: 4,
        bridge_subnet: String::new(),
        log: LogConfig::default(),
        limits: Limits::default(),
        ready_namespaces: 0,
        root,
    };
    let engine = Engine::open(config).await?;
    let request = PullRequest {
        namespace: Namespace::default_namespace(),
        reference,
        platform: None,
        credentials: None,
        snapshotter: None,
    };
    let begun = Instant::now();
    let image = engine.images().pull(request, None).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim().to_string();
    println!("{} {seconds:.3} s, peak RSS {peak}, {} bytes unpacked", image.id.short(), image.size);
    engine.shutdown().await;
    Ok(())
}
