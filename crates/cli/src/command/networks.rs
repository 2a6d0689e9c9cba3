//! `network …`

use crate::args::NetworkVerb;
use crate::command::list::{print_table, short, text};
use crate::command::{for_each, inspect, system};
use crate::failure::Failure;
use crate::request::{filters, ipam, key_values};
use crate::view::template;
use crate::wire::client::{Client, with_query};
use serde_json::{Value, json};

/// Runs a verb on networks.
pub(crate) async fn run(client: &Client, verb: NetworkVerb) -> Result<(), Failure> {
    match verb {
        NetworkVerb::Create(args) => {
            let pools = ipam::pools(&args.subnet, &args.ip_range, &args.gateway, &args.aux_address)?;
            let ipam = json!({
                "Driver": args.ipam_driver, "Options": key_values(&args.ipam_opt), "Config": pools,
            });
            let mut body = json!({
                "Name": args.name, "Driver": args.driver, "Internal": args.internal,
                "Attachable": args.attachable, "Options": key_values(&args.opt),
                "Labels": key_values(&args.label), "IPAM": ipam,
            });
            if args.ipv6 {
                body["EnableIPv6"] = json!(true);
            }
            println!("{}", text(&client.post("/networks/create", Some(&body)).await?["Id"]));
            Ok(())
        }
        NetworkVerb::Connect(args) => {
            let ipam = json!({
                "IPv4Address": args.ip.unwrap_or_default(), "IPv6Address": args.ip6.unwrap_or_default(),
            });
            let endpoint = json!({
                "Aliases": args.alias, "IPAMConfig": ipam, "Links": args.link,
                "DriverOpts": key_values(&args.driver_opt),
            });
            let body = json!({"Container": args.container, "EndpointConfig": endpoint});
            client.post(&format!("/networks/{}/connect", args.network), Some(&body)).await.map(drop)
        }
        NetworkVerb::Disconnect(args) => {
            let body = json!({"Container": args.container, "Force": args.force});
            client.post(&format!("/networks/{}/disconnect", args.network), Some(&body)).await.map(drop)
        }
        NetworkVerb::Rm(args) => {
            for_each(&args.names, |name| async move {
                match client.delete(&format!("/networks/{name}")).await {
                    Err(failure) if args.force && failure.is_not_found() => Ok(String::new()),
                    other => other.map(|_| name),
                }
            })
            .await
        }
        NetworkVerb::Prune(args) => system::prune_networks(client, &args).await,
        NetworkVerb::Inspect(args) => inspect::kind(client, &args, "network").await,
        NetworkVerb::Ls(args) => {
            let answer = client.get(&with_query("/networks", &[("filters", filters(&args.filter)?)])).await?;
            let mut rows: Vec<Value> = answer
                .as_array()
                .into_iter()
                .flatten()
                .map(|network| {
                    let id = text(&network["Id"]);
                    let labels = network["Labels"].as_object().into_iter().flatten();
                    let labels: Vec<String> =
                        labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
                    let on = |name: &str| network[name].as_bool().unwrap_or(false).to_string();
                    json!({
                        "CreatedAt": created_text(&text(&network["Created"])), "IPv4": on("EnableIPv4"),
                        "IPv6": on("EnableIPv6"), "Internal": on("Internal"), "Labels": labels.join(","),
                        "ID": if args.no_trunc { id.clone() } else { short(&id) },
                        "Name": network["Name"], "Driver": network["Driver"], "Scope": network["Scope"],
                    })
                })
                .collect();
            rows.sort_by_key(|row| text(&row["Name"]));
            let columns = ["ID", "Name", "Driver", "Scope"];
            match &args.format {
                _ if args.quiet => rows.iter().for_each(|row| println!("{}", text(&row["ID"]))),
                Some(format) => print!("{}", template::render_rows(format, &rows)?),
                None => print_table(&["NETWORK ID", "NAME", "DRIVER", "SCOPE"], &columns, &rows),
            }
            Ok(())
        }
    }
}

/// Go's form of a moment: `2026-01-02 03:04:05.6 +0000 UTC`.
fn created_text(text: &str) -> String {
    match text.trim_end_matches('Z').split_once('T') {
        Some((day, time)) => format!("{day} {time} +0000 UTC"),
        None => text.to_owned(),
    }
}
