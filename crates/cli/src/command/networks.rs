//! `network …`

use crate::args::NetworkVerb;
use crate::command::inspect;
use crate::command::list::{print_table, short, text};
use crate::failure::Failure;
use crate::request::filters;
use crate::view::template;
use crate::wire::client::{Client, with_query};
use serde_json::{Value, json};

/// Runs a verb on networks.
pub(crate) async fn run(client: &Client, verb: NetworkVerb) -> Result<(), Failure> {
    match verb {
        NetworkVerb::Inspect(args) => inspect::kind(client, &args, "network").await,
        NetworkVerb::Ls(args) => {
            let answer = client.get(&with_query("/networks", &[("filters", filters(&args.filter)?)])).await?;
            let mut rows: Vec<Value> = answer
                .as_array()
                .into_iter()
                .flatten()
                .map(|network| {
                    let id = text(&network["Id"]);
                    json!({
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
