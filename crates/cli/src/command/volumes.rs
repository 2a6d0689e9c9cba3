//! `volume …`

use crate::args::VolumeVerb;
use crate::command::list::{print_table, text};
use crate::command::{for_each, inspect, system};
use crate::failure::Failure;
use crate::request::{filters, key_values};
use crate::view::template;
use crate::wire::client::{Client, flag, with_query};
use serde_json::{Value, json};

/// Runs a verb on volumes.
pub(crate) async fn run(client: &Client, verb: VolumeVerb) -> Result<(), Failure> {
    match verb {
        VolumeVerb::Create(args) => {
            if args.name.is_some() && args.name_flag.is_some() {
                return Err(Failure::usage(
                    "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
                ));
            }
            let body = json!({
                "Name": args.name.or(args.name_flag).unwrap_or_default(),
                "Driver": args.driver,
                "DriverOpts": key_values(&args.opt),
                "Labels": key_values(&args.label),
            });
            println!("{}", text(&client.post("/volumes/create", Some(&body)).await?["Name"]));
            Ok(())
        }
        VolumeVerb::Ls(args) => {
            let answer = client.get(&with_query("/volumes", &[("filters", filters(&args.filter)?)])).await?;
            let mut rows: Vec<Value> = answer["Volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|volume| {
                    let labels = volume["Labels"].as_object().into_iter().flatten();
                    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
                    json!({
                        "Driver": volume["Driver"], "Name": volume["Name"], "Mountpoint": volume["Mountpoint"],
                        "Scope": volume["Scope"], "Labels": labels.join(","), "Size": "N/A",
                        "Availability": "N/A", "Group": "N/A", "Links": "N/A", "Status": "N/A",
                    })
                })
                .collect();
            rows.sort_by_key(|row| text(&row["Name"]));
            match &args.format {
                _ if args.quiet => rows.iter().for_each(|row| println!("{}", text(&row["Name"]))),
                Some(format) => print!("{}", template::render_rows(format, &rows)?),
                None => print_table(&["DRIVER", "VOLUME NAME"], &["Driver", "Name"], &rows),
            }
            Ok(())
        }
        VolumeVerb::Inspect(args) => inspect::kind(client, &args, "volume").await,
        VolumeVerb::Rm(args) => {
            for_each(&args.names, |name| async move {
                let path = with_query(&format!("/volumes/{name}"), &[("force", flag(args.force))]);
                client.delete(&path).await.map(|_| name)
            })
            .await
        }
        VolumeVerb::Prune(args) => system::prune_volumes(client, &args).await,
    }
}
