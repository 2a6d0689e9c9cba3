//! `stats`.

use crate::args::StatsArgs;
use crate::command::list::{print_table, short, text};
use crate::failure::Failure;
use crate::view::human::{binary_size, decimal_size_short};
use crate::view::template;
use crate::wire::client::{Client, flag, with_query};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// `stats`: the containers are asked side by side; each answer takes the daemon about a second.
pub(crate) async fn run(client: &Client, args: &StatsArgs) -> Result<(), Failure> {
    loop {
        let names = match args.names.as_slice() {
            [] => running(client, args.all).await?,
            names => names.to_vec(),
        };
        let answers = join_all(names.iter().map(|name| {
            let path =
                with_query(&format!("/containers/{name}/stats"), &[("stream", Some("false".to_owned()))]);
            async move { client.get(&path).await }
        }))
        .await;
        let mut rows = Vec::new();
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(stats) => rows.push(row(&stats, name, args.no_trunc)),
                // With explicit names a missing one is an error; of a list it has just ended.
                Err(failure) if !args.names.is_empty() => return Err(failure),
                Err(_) => {}
            }
        }
        if !args.no_stream && std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        match &args.format {
            Some(format) => print!("{}", template::render_rows(format, &rows)?),
            None => {
                let header = [
                    "CONTAINER ID",
                    "NAME",
                    "CPU %",
                    "MEM USAGE / LIMIT",
                    "MEM %",
                    "NET I/O",
                    "BLOCK I/O",
                    "PIDS",
                ];
                let columns = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
                print_table(&header, &columns, &rows);
            }
        }
        if args.no_stream {
            return Ok(());
        }
        if names.is_empty() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}

async fn running(client: &Client, all: bool) -> Result<Vec<String>, Failure> {
    let list = client.get(&with_query("/containers/json", &[("all", flag(all))])).await?;
    Ok(list.as_array().into_iter().flatten().map(|container| text(&container["Id"])).collect())
}

fn row(stats: &Value, asked: &str, no_trunc: bool) -> Value {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    // An empty sum of floats is -0.0.
    let unsigned = |sum: f64| sum + 0.0;
    let (cpu, before) = (&stats["cpu_stats"], &stats["precpu_stats"]);
    let used = number(&cpu["cpu_usage"]["total_usage"]) - number(&before["cpu_usage"]["total_usage"]);
    let system = number(&cpu["system_cpu_usage"]) - number(&before["system_cpu_usage"]);
    let cpus = match number(&cpu["online_cpus"]) {
        0.0 => cpu["cpu_usage"]["percpu_usage"].as_array().map_or(1.0, |list| list.len() as f64),
        cpus => cpus,
    };
    let cpu_percent = if system > 0.0 && used > 0.0 { used / system * cpus * 100.0 } else { 0.0 };
    let memory = &stats["memory_stats"];
    // What the kernel can drop at any time is not counted, as docker does.
    let inactive =
        ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory["stats"][*name].as_f64());
    let usage = (number(&memory["usage"]) - inactive.unwrap_or(0.0)).max(0.0);
    let limit = number(&memory["limit"]);
    let memory_percent = if limit > 0.0 { usage / limit * 100.0 } else { 0.0 };
    let network = |name: &str| {
        stats["networks"].as_object().into_iter().flatten().map(|(_, net)| number(&net[name])).sum::<f64>()
    };
    let blocks = |wanted: &str| {
        stats["blkio_stats"]["io_service_bytes_recursive"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| text(&entry["op"]).eq_ignore_ascii_case(wanted))
            .map(|entry| number(&entry["value"]))
            .sum::<f64>()
    };
    let id = text(&stats["id"]);
    let name = text(&stats["name"]).trim_start_matches('/').to_owned();
    json!({
        "ID": if no_trunc { id.clone() } else { short(&id) },
        // As it was asked for.
        "Container": asked,
        "Name": name,
        "CPUPerc": format!("{cpu_percent:.2}%"),
        "MemUsage": format!("{} / {}", binary_size(usage), binary_size(limit)),
        "MemPerc": format!("{memory_percent:.2}%"),
        "NetIO": format!("{} / {}", decimal_size_short(unsigned(network("rx_bytes"))), decimal_size_short(unsigned(network("tx_bytes")))),
        "BlockIO": format!("{} / {}", decimal_size_short(unsigned(blocks("read"))), decimal_size_short(unsigned(blocks("write")))),
        "PIDs": stats["pids_stats"]["current"].as_u64().unwrap_or(0).to_string(),
    })
}
