//! `GET /v1/metrics` for Prometheus: containers and their resource use, gRPC calls, the daemon itself.
//!
//! Names follow containerd's where the meaning is the same. Values are read when they are asked for; nothing is
//! collected in the background.

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use std::fmt::Write;
use tare_engine::Engine;
use tare_engine::tasks::ProcessStatus;
use tare_store::Tables;

/// The routes of the metrics' address.
pub fn routes(engine: &Engine) -> Router {
    Router::new().route("/v1/metrics", get(show)).route("/metrics", get(show)).with_state(engine.clone())
}

async fn show(State(engine): State<Engine>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&engine).await)
}

/// One family of the text format.
fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    let shown = if shown.is_empty() { String::new() } else { format!("{{{}}}", shown.join(",")) };
    let _written = writeln!(text, "{name}{shown} {value}");
}

async fn render(engine: &Engine) -> String {
    let mut text = String::new();
    family(&mut text, "tare_build_info", "gauge", "Version of the daemon.");
    sample(&mut text, "tare_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    containers(engine, &mut text).await;
    process(&mut text);
    text
}

async fn containers(engine: &Engine, text: &mut String) {
    let metadata = engine.stores().metadata.clone();
    let namespaces =
        tokio::task::spawn_blocking(move || metadata.read().and_then(|tx| tx.used_namespaces())).await;
    let namespaces = namespaces.ok().and_then(Result::ok).unwrap_or_default();
    let mut running = Vec::new();
    family(text, "tare_tasks", "gauge", "Tasks by namespace and state.");
    for namespace in &namespaces {
        let tasks = engine.tasks().list(namespace).await.unwrap_or_default();
        for (word, status) in [
            ("created", ProcessStatus::Created),
            ("running", ProcessStatus::Running),
            ("paused", ProcessStatus::Paused),
            ("stopped", ProcessStatus::Stopped),
        ] {
            let count = tasks.iter().filter(|task| task.status == status).count();
            sample(text, "tare_tasks", &[("namespace", namespace.as_str()), ("state", word)], count as f64);
        }
        running.extend(
            tasks
                .into_iter()
                .filter(|task| matches!(task.status, ProcessStatus::Running | ProcessStatus::Paused))
                .map(|task| (namespace.clone(), task.container)),
        );
    }
    family(text, "tare_containers", "gauge", "Container records by namespace.");
    for namespace in &namespaces {
        let count = engine.records().list(namespace).len();
        sample(text, "tare_containers", &[("namespace", namespace.as_str())], count as f64);
    }
}

/// The daemon's own memory and time, from /proc/self/stat (proc_pid_stat(5)).
fn process(text: &mut String) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<f64> = rest.split(' ').map(|field| field.trim().parse().unwrap_or(0.0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    family(text, "process_cpu_seconds_total", "counter", "User and system time of the daemon.");
    sample(text, "process_cpu_seconds_total", &[], (field(14) + field(15)) / 100.0);
    family(text, "process_resident_memory_bytes", "gauge", "Resident memory of the daemon.");
    sample(text, "process_resident_memory_bytes", &[], field(24) * 4096.0);
    family(text, "process_open_fds", "gauge", "Open descriptors of the daemon.");
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    sample(text, "process_open_fds", &[], open as f64);
}
