//! `pull`, `push`, `rmi`, `tag`, `history`.

use crate::args::{CreateArgs, HistoryArgs, PullArgs, PushArgs, RmiArgs, TagArgs};
use crate::command::list::{created_at, print_table, short, text};
use crate::failure::Failure;
use crate::request::auth;
use crate::view::human::{ago, decimal_size_short, now};
use crate::view::template;
use crate::wire::client::{Chunks, Client, flag, with_query};
use hyper::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::IsTerminal;
use tare_types::Reference;

pub(crate) fn parse(image: &str) -> Result<Reference, Failure> {
    Reference::parse_familiar(image).map_err(|error| {
        if image.bytes().any(|b| b.is_ascii_uppercase()) && error.reason.contains("lower case") {
            return Failure::new(format!(
                "invalid reference format: repository name ({}) must be lowercase",
                repository_of(image)
            ));
        }
        Failure::new("invalid reference format")
    })
}

/// The repository of a reference that cannot be read, as docker shows it: with the prefix of official images, without
/// the tag.
fn repository_of(image: &str) -> String {
    let last = image.rfind('/').map_or(0, |at| at + 1);
    let name = image[last..].find([':', '@']).map_or(image, |at| &image[..last + at]);
    if name.contains('/') { name.to_owned() } else { format!("library/{name}") }
}

/// `pull`
pub(crate) async fn pull(client: &Client, args: &PullArgs) -> Result<(), Failure> {
    let reference = parse(&args.image)?;
    let named_tag =
        args.image.contains('@') || args.image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if args.all_tags && named_tag {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !named_tag && !args.all_tags && !args.quiet {
        println!("Using default tag: latest");
    }
    let stream = pull_stream(client, &reference, args.platform.as_deref(), args.all_tags).await?;
    show_progress(stream, args.quiet, false).await?;
    match args.all_tags {
        true => println!("{}", reference.name()),
        false => println!("{reference}"),
    }
    Ok(())
}

/// The pull that `run` and `create` do when the image is missing.
pub(crate) async fn pull_for_run(client: &Client, args: &CreateArgs) -> Result<(), Failure> {
    let reference = parse(args.image())?;
    let stream = pull_stream(client, &reference, args.platform.as_deref(), false).await?;
    show_progress(stream, args.quiet, true).await
}

async fn pull_stream(
    client: &Client,
    reference: &Reference,
    platform: Option<&str>,
    all_tags: bool,
) -> Result<Chunks, Failure> {
    let tag = if all_tags { String::new() } else { reference.object().to_owned() };
    let path = with_query(
        "/images/create",
        &[
            ("fromImage", Some(reference.name())),
            ("tag", Some(tag)),
            ("platform", platform.map(str::to_owned)),
        ],
    );
    let headers: Vec<_> = auth::header_for(&reference.to_string())?
        .map(|value| ("X-Registry-Auth", value))
        .into_iter()
        .collect();
    client.stream(Method::POST, &path, &headers).await
}

/// `push`
pub(crate) async fn push(client: &Client, args: &PushArgs) -> Result<(), Failure> {
    let reference = parse(&args.image)?;
    let tag = if args.all_tags { None } else { reference.tag().map(str::to_owned) };
    let named_tag = args.image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if args.all_tags && named_tag {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !named_tag && !args.all_tags && !args.quiet {
        println!("Using default tag: latest");
    }
    let path = with_query(&format!("/images/{}/push", reference.familiar_name()), &[("tag", tag)]);
    let header = auth::header_for(&reference.to_string())?.unwrap_or_else(|| "e30=".to_owned());
    let stream = client.stream(Method::POST, &path, &[("X-Registry-Auth", header)]).await?;
    show_progress(stream, args.quiet, false).await?;
    if args.quiet {
        println!("{reference}");
    }
    Ok(())
}

/// Shows a stream of progress: bars on a terminal, a line per change elsewhere, nothing when quiet.
/// What a person reads goes to standard output for `pull`, to standard error while a container is made.
async fn show_progress(mut stream: Chunks, quiet: bool, to_stderr: bool) -> Result<(), Failure> {
    let terminal =
        !quiet && if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let mut bars = Bars::default();
    let mut last: HashMap<String, String> = HashMap::new();
    while let Some(message) = stream.next_json().await? {
        if let Some(error) = message["error"].as_str().or_else(|| message["errorDetail"]["message"].as_str())
        {
            bars.clear();
            return Err(Failure::new(error.to_owned()));
        }
        let (id, status) = (text(&message["id"]), text(&message["status"]));
        if quiet || (id.is_empty() && status.is_empty()) {
            continue;
        }
        if terminal && !id.is_empty() && message["progressDetail"].is_object() {
            bars.update(&id, &status, &message["progressDetail"]);
            continue;
        }
        // A plain line only when a layer's state changes, not for each chunk.
        if !id.is_empty() && last.insert(id.clone(), status.clone()) == Some(status.clone()) {
            continue;
        }
        let line = if id.is_empty() { status } else { format!("{id}: {status}") };
        bars.print(&line, terminal, to_stderr);
    }
    bars.finish();
    Ok(())
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    by_id: HashMap<String, ProgressBar>,
}

impl Bars {
    fn update(&mut self, id: &str, status: &str, detail: &Value) {
        let bar = self.by_id.entry(id.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_prefix(id.to_owned());
            bar
        });
        let total = detail["total"].as_u64().filter(|total| *total > 0);
        let template = match total {
            Some(_) => "{prefix}: {msg} [{bar:40}] {bytes}/{total_bytes}",
            None => "{prefix}: {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(status.to_owned());
        if let Some(total) = total {
            bar.set_length(total);
            bar.set_position(detail["current"].as_u64().unwrap_or(0));
        }
        if matches!(status, "Pull complete" | "Already exists" | "Pushed" | "Layer already exists") {
            bar.finish_with_message(status.to_owned());
        } else {
            bar.tick();
        }
    }

    fn print(&self, line: &str, terminal: bool, to_stderr: bool) {
        if terminal && !self.by_id.is_empty() {
            let _shown = self.all.println(line);
        } else if to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    fn clear(&self) {
        let _cleared = self.all.clear();
    }

    fn finish(&self) {
        self.by_id.values().filter(|bar| !bar.is_finished()).for_each(ProgressBar::abandon);
    }
}

/// `rmi`
pub(crate) async fn remove(client: &Client, args: &RmiArgs) -> Result<(), Failure> {
    let mut failed = false;
    for image in &args.images {
        let query = [("force", flag(args.force)), ("noprune", flag(args.no_prune))];
        match client.delete(&with_query(&format!("/images/{image}"), &query)).await {
            Ok(answer) => {
                for entry in answer.as_array().into_iter().flatten() {
                    match entry["Untagged"].as_str() {
                        Some(name) => println!("Untagged: {name}"),
                        None => println!("Deleted: {}", text(&entry["Deleted"])),
                    }
                }
            }
            Err(failure) => {
                failed |= !(failure.is_not_found() && args.force);
                eprintln!("{failure}");
            }
        }
    }
    if failed { Err(Failure::exit(1)) } else { Ok(()) }
}

/// `tag`
pub(crate) async fn tag(client: &Client, args: &TagArgs) -> Result<(), Failure> {
    let target = parse(&args.target).map_err(|failure| {
        let named = format!("Error parsing reference: {:?} is not a valid repository/tag", args.target);
        Failure { message: format!("{named}: {failure}"), ..failure }
    })?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let path = with_query(
        &format!("/images/{}/tag", args.source),
        &[("repo", Some(target.familiar_name())), ("tag", target.tag().map(str::to_owned))],
    );
    client.post(&path, None).await.map(|_| ())
}

/// `history`
pub(crate) async fn history(client: &Client, args: &HistoryArgs) -> Result<(), Failure> {
    let answer = client.get(&format!("/images/{}/history", args.image)).await?;
    let rows: Vec<Value> = answer
        .as_array()
        .into_iter()
        .flatten()
        .map(|layer| {
            let created = layer["Created"].as_i64().unwrap_or(0);
            let by = text(&layer["CreatedBy"]);
            let by = if args.no_trunc || by.chars().count() <= 45 {
                by
            } else {
                by.chars().take(44).chain(['…']).collect()
            };
            let id = text(&layer["Id"]);
            let size = match args.human {
                true => decimal_size_short(layer["Size"].as_f64().unwrap_or(0.0)),
                false => layer["Size"].as_i64().unwrap_or(0).to_string(),
            };
            json!({
                "ID": if args.no_trunc { id.clone() } else { short(&id) },
                "CreatedSince": ago(created, now()), "CreatedAt": created_at(created), "CreatedBy": by,
                "Size": size, "Comment": text(&layer["Comment"]),
            })
        })
        .collect();
    if args.quiet {
        rows.iter().for_each(|row| println!("{}", text(&row["ID"])));
    } else if let Some(format) = &args.format {
        print!("{}", template::render_rows(format, &rows)?);
    } else {
        let (title, created) =
            if args.human { ("CREATED", "CreatedSince") } else { ("CREATED AT", "CreatedAt") };
        let header = ["IMAGE", title, "CREATED BY", "SIZE", "COMMENT"];
        print_table(&header, &["ID", created, "CreatedBy", "Size", "Comment"], &rows);
    }
    Ok(())
}
