//! `events`.

use crate::args::EventsArgs;
use crate::command::list::text;
use crate::command::logs::moment;
use crate::failure::Failure;
use crate::request::filters;
use crate::view::template::Template;
use crate::wire::client::{Client, with_query};
use hyper::Method;
use serde_json::Value;
use tare_types::Timestamp;

/// `events`
pub(crate) async fn run(client: &Client, args: &EventsArgs) -> Result<(), Failure> {
    let bound = |name: &str, text: &Option<String>| {
        let wrong = |failure: Failure| match failure.message.split_once(": ") {
            // Without the name of the flag, as docker says it here.
            Some((_, reason)) => Failure::new(reason),
            None => failure,
        };
        moment(name, text.as_deref()).map_err(wrong)
    };
    let (since, until) = (bound("since", &args.since)?, bound("until", &args.until)?);
    let path =
        with_query("/events", &[("since", since), ("until", until), ("filters", filters(&args.filter)?)]);
    let template = match args.format.as_deref() {
        None | Some("json") => None,
        Some(format) => Some(Template::parse(format)?),
    };
    let mut stream = client.stream(Method::GET, &path, &[]).await?;
    while let Some(event) = stream.next_json().await? {
        match (&template, args.format.is_some()) {
            (Some(template), _) => println!("{}", template.render(&event)?),
            (None, true) => println!("{event}"),
            (None, false) => println!("{}", line(&event)),
        }
    }
    Ok(())
}

/// `TIME TYPE ACTION ID (key=value, …)`
fn line(event: &Value) -> String {
    let nanos = event["timeNano"].as_i64().unwrap_or(0);
    let time = Timestamp::new(nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u32);
    let (year, month, day, hour, minute, second) = time.civil();
    let mut attributes: Vec<String> = event["Actor"]["Attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    attributes.sort();
    let shown = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z {} {} {}{shown}",
        time.nanos,
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"]),
    )
}
