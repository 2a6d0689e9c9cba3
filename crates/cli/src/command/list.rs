//! `ps` and `images`.

use crate::args::{ImagesArgs, PsArgs};
use crate::failure::Failure;
use crate::request::filters;
use crate::view::human::{ago, decimal_size, decimal_size_short, now};
use crate::view::table::Table;
use crate::view::template;
use crate::wire::client::{Client, flag, with_query};
use serde_json::{Value, json};
use tare_types::{Reference, Timestamp};

/// `ps`
pub(crate) async fn containers(client: &Client, args: &PsArgs) -> Result<(), Failure> {
    let limit = if args.latest { Some(1) } else { args.last.filter(|n| *n > 0) };
    let wants_size = args.size || args.format.as_ref().is_some_and(|format| format.contains(".Size"));
    let path = with_query(
        "/containers/json",
        &[
            ("all", flag(args.all || limit.is_some())),
            ("limit", limit.map(|n| n.to_string())),
            ("size", flag(wants_size)),
            ("filters", filters(&args.filter)?),
        ],
    );
    let list = client.get(&path).await?;
    let rows: Vec<Value> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| container_row(container, args.no_trunc))
        .collect();
    if args.quiet {
        rows.iter().for_each(|row| println!("{}", text(&row["ID"])));
        return Ok(());
    }
    if let Some(format) = &args.format {
        print!("{}", template::render_rows(format, &rows)?);
        return Ok(());
    }
    let mut header = vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if args.size {
        header.push("SIZE");
        columns.push("Size");
    }
    print_table(&header, &columns, &rows);
    Ok(())
}

/// Prints chosen columns.
pub(crate) fn print_table(header: &[&str], columns: &[&str], rows: &[Value]) {
    let mut table = Table::new(header);
    for row in rows {
        table.row(columns.iter().map(|column| text(&row[*column])).collect());
    }
    print!("{}", table.render());
}

/// A value as text without quotes.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The first twelve characters of an id.
pub(crate) fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn container_row(container: &Value, no_trunc: bool) -> Value {
    let id = text(&container["Id"]);
    let command = text(&container["Command"]);
    let command = if no_trunc { command } else { ellipsis(&command, 20) };
    let names: Vec<String> = container["Names"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| text(name).trim_start_matches('/').to_owned())
        .collect();
    let labels: Vec<String> = container["Labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    let mounts: Vec<String> = container["Mounts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(
            |mount| {
                if text(&mount["Name"]).is_empty() { text(&mount["Source"]) } else { text(&mount["Name"]) }
            },
        )
        .map(|name| if no_trunc { name } else { ellipsis(&name, 15) })
        .collect();
    let networks: Vec<String> = container["NetworkSettings"]["Networks"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let created = container["Created"].as_i64().unwrap_or(0);
    let (written, whole) =
        (container["SizeRw"].as_f64().unwrap_or(0.0), container["SizeRootFs"].as_f64().unwrap_or(0.0));
    let mut size = decimal_size_short(written);
    if whole > 0.0 {
        size = format!("{size} (virtual {})", decimal_size_short(whole));
    }
    json!({
        "ID": if no_trunc { id } else { short(&id) },
        "Image": image_shown(&text(&container["Image"]), no_trunc),
        "Command": format!("\"{command}\""),
        "CreatedAt": created_at(created),
        "RunningFor": ago(created, now()),
        "Status": container["Status"],
        "State": container["State"],
        "Ports": ports(&container["Ports"]),
        "Names": names.join(","),
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": container["Mounts"].as_array().into_iter().flatten().filter(|m| m["Type"] == "volume").count().to_string(),
        "Networks": networks.join(","),
        "Platform": Value::Null,
        "Size": size,
    })
}

fn image_shown(image: &str, no_trunc: bool) -> String {
    match image.strip_prefix("sha256:") {
        Some(hex) if !no_trunc => hex.chars().take(12).collect(),
        _ => image.to_owned(),
    }
}

fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// `2026-11-21 05:50:24 +0000 UTC`
pub(crate) fn created_at(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::new(seconds, 0).civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; runs of equal distance are shown as ranges.
fn ports(list: &Value) -> String {
    let mut ports: Vec<(String, u64, u64, String)> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            let number = |name: &str| port[name].as_u64().unwrap_or(0);
            (text(&port["IP"]), number("PublicPort"), number("PrivatePort"), text(&port["Type"]))
        })
        .collect();
    ports.sort_by(|a, b| (&a.3, &a.0, a.2, a.1).cmp(&(&b.3, &b.0, b.2, b.1)));
    ports.dedup();
    let mut shown = Vec::new();
    let mut at = 0;
    while at < ports.len() {
        let (address, public, private, protocol) = ports[at].clone();
        let mut end = at;
        while let Some(next) = ports.get(end + 1) {
            let step = (end + 1 - at) as u64;
            let follows = next.0 == address && next.3 == protocol && next.2 == private + step;
            if !follows || next.1 != if public == 0 { 0 } else { public + step } {
                break;
            }
            end += 1;
        }
        let span = (end - at) as u64;
        let range =
            |first: u64| if span == 0 { first.to_string() } else { format!("{first}-{}", first + span) };
        shown.push(if public == 0 {
            format!("{}/{protocol}", range(private))
        } else {
            let address = if address.contains(':') { format!("[{address}]") } else { address };
            format!("{address}:{}->{}/{protocol}", range(public), range(private))
        });
        at = end + 1;
    }
    shown.join(", ")
}

/// `images`
pub(crate) async fn images(client: &Client, args: &ImagesArgs) -> Result<(), Failure> {
    let mut flags = args.filter.clone();
    flags.extend(args.reference.iter().map(|reference| format!("reference={reference}")));
    let path = with_query("/images/json", &[("all", flag(args.all)), ("filters", filters(&flags)?)]);
    let list = client.get(&path).await?;
    let wants_digests = args.digests || args.format.as_ref().is_some_and(|format| format.contains(".Digest"));
    let mut rows = Vec::new();
    for image in list.as_array().into_iter().flatten() {
        rows.extend(image_rows(image, args.no_trunc, wants_digests));
    }
    if args.quiet {
        rows.iter().for_each(|row| println!("{}", text(&row["ID"])));
        return Ok(());
    }
    if let Some(format) = &args.format {
        print!("{}", template::render_rows(format, &rows)?);
        return Ok(());
    }
    if args.digests {
        let header = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
        print_table(&header, &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"], &rows);
    } else {
        let header = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
        print_table(&header, &["Repository", "Tag", "ID", "CreatedSince", "Size"], &rows);
    }
    Ok(())
}

fn image_rows(image: &Value, no_trunc: bool, digests: bool) -> Vec<Value> {
    let strings = |name: &str| {
        image[name]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .filter(|t| !t.starts_with("<none>"))
            .collect::<Vec<_>>()
    };
    let (tags, repo_digests) = (strings("RepoTags"), strings("RepoDigests"));
    let mut names: Vec<(String, String, String)> = Vec::new();
    for tag in &tags {
        let Ok(reference) = Reference::parse_familiar(tag) else { continue };
        let repository = reference.familiar_name();
        let digest = repo_digests.iter().find_map(|d| d.strip_prefix(&format!("{repository}@")));
        names.push((
            repository,
            reference.tag().unwrap_or("<none>").to_owned(),
            digest.unwrap_or("<none>").to_owned(),
        ));
    }
    if names.is_empty() {
        for entry in &repo_digests {
            if let Some((repository, digest)) = entry.split_once('@') {
                names.push((repository.to_owned(), "<none>".to_owned(), digest.to_owned()));
            }
        }
        if !digests {
            names.truncate(1);
        }
    }
    if names.is_empty() {
        names.push(("<none>".to_owned(), "<none>".to_owned(), "<none>".to_owned()));
    }
    let id = text(&image["Id"]);
    let created = image["Created"].as_i64().unwrap_or(0);
    let bytes = image["Size"].as_f64().unwrap_or(0.0);
    let (size, virtual_size) = (decimal_size_short(bytes), decimal_size(bytes));
    names
        .into_iter()
        .map(|(repository, tag, digest)| {
            json!({
                "Repository": repository, "Tag": tag, "Digest": digest,
                "ID": if no_trunc { id.clone() } else { short(&id) },
                "CreatedSince": ago(created, now()), "CreatedAt": created_at(created),
                "Size": size, "VirtualSize": virtual_size, "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped() {
        let port = |ip: &str, public: u64, private: u64| json!({"IP": ip, "PublicPort": public, "PrivatePort": private, "Type": "tcp"});
        let list = json!([port("0.0.0.0", 8000, 80), port("0.0.0.0", 8001, 81), port("::", 8000, 80), {"PrivatePort": 443, "Type": "tcp"}]);
        assert_eq!(ports(&list), "443/tcp, 0.0.0.0:8000-8001->80-81/tcp, [::]:8000->80/tcp");
    }

    #[test]
    fn an_untagged_image_has_a_row() {
        let rows =
            image_rows(&json!({"Id": "sha256:0123456789abcdef", "RepoTags": null, "Size": 10}), false, false);
        assert_eq!(
            (text(&rows[0]["Repository"]), text(&rows[0]["ID"])),
            ("<none>".into(), "0123456789ab".into())
        );
    }
}
