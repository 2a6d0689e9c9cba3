//! `inspect`, of one kind or of whatever has the name.

use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::view::template::Template;
use crate::wire::client::{Client, flag, with_query};
use serde_json::Value;

/// Kinds in the order in which a bare name is looked up.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

/// `inspect NAME…`
pub(crate) async fn any(client: &Client, args: &InspectArgs) -> Result<(), Failure> {
    match args.kind.as_deref() {
        Some(kind) if KINDS.contains(&kind) => self::kind(client, args, kind).await,
        Some(other) => {
            let known: Vec<String> = KINDS.iter().map(|kind| format!("{kind:?}")).collect();
            Err(Failure::new(format!("unknown type: {other:?}: must be one of {}", known.join(", "))))
        }
        None => show(client, args, &KINDS, "object").await,
    }
}

/// `KIND inspect NAME…`
pub(crate) async fn kind(client: &Client, args: &InspectArgs, kind: &str) -> Result<(), Failure> {
    show(client, args, &[kind], kind).await
}

async fn show(client: &Client, args: &InspectArgs, kinds: &[&str], what: &str) -> Result<(), Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        match lookup(client, name, kinds, args.size).await {
            Ok(Some(value)) => found.push(value),
            Ok(None) => failures.push(format!("Error: No such {what}: {name}")),
            Err(failure) => failures.push(failure.message),
        }
    }
    match args.format.as_deref() {
        None => println!("{}", pretty(&Value::Array(found))),
        Some("json") => println!("{}", Value::Array(found)),
        Some(format) => {
            let template = Template::parse(format)?;
            for value in &found {
                println!("{}", template.render(value)?);
            }
        }
    }
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    if failures.is_empty() { Ok(()) } else { Err(Failure::exit(1)) }
}

async fn lookup(client: &Client, name: &str, kinds: &[&str], size: bool) -> Result<Option<Value>, Failure> {
    for kind in kinds {
        let path = match *kind {
            "container" => with_query(&format!("/containers/{name}/json"), &[("size", flag(size))]),
            "image" => format!("/images/{name}/json"),
            "network" => format!("/networks/{name}"),
            _ => format!("/volumes/{name}"),
        };
        match client.get(&path).await {
            Ok(value) => return Ok(Some(value)),
            Err(failure) if failure.is_not_found() && kinds.len() == 1 => {
                return Err(failure);
            }
            Err(failure) if failure.is_not_found() || failure.status == Some(400) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// JSON indented by four spaces, as docker prints it.
pub(crate) fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => value.to_string(),
    }
}
