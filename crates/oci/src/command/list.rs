//! `list` and `ps`.

use super::{Failure, Outcome, id, lifecycle::Document};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    output,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(crate) static LIST: Flags = Flags {
    values: &["format"],
    switches: &["quiet", "help"],
    short: &[("f", "format"), ("q", "quiet"), ("h", "help")],
    stop_after: None,
};

pub(crate) static PS: Flags = Flags {
    values: &["format"],
    switches: &["help"],
    short: &[("f", "format"), ("h", "help")],
    stop_after: Some(0),
};

/// Owner of the states: the directory's, and so far always the caller's.
fn owner() -> &'static str {
    if rustix::process::geteuid().is_root() { "root" } else { "" }
}

pub(crate) fn list(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let runtime = context.runtime();
    if context.root_is_given {
        // A directory that somebody named must be there; the usual one is made with the first container.
        tare_sys::file::open(&context.root, rustix::fs::OFlags::PATH, 0)?;
    }
    let mut documents = Vec::new();
    for id in runtime.list()? {
        if arguments.has("quiet") {
            output::print(&(id + "\n"))?;
            continue;
        }
        // One that is just being made or deleted is not in the list.
        if let Ok(container) = runtime.load(&id) {
            documents.push(Document::new(&container, owner())?);
        }
    }
    match arguments.value("format").unwrap_or("table") {
        _ if arguments.has("quiet") => {}
        "table" => {
            let header =
                ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(ToString::to_string).to_vec();
            let rows: Vec<_> = [header].into_iter().chain(documents.into_iter().map(Document::row)).collect();
            output::print(&output::table(&rows))?;
        }
        // An empty list is Go's nil slice.
        "json" if documents.is_empty() => output::print("null")?,
        "json" => output::print(&serde_json::to_string(&documents)?)?,
        other => return Err(format!("invalid format option: {other:?}").into()),
    }
    Ok(0)
}

pub(crate) fn ps(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let container = context.runtime().load(id("ps", arguments)?)?;
    let pids = container.processes()?;
    match arguments.value("format").unwrap_or("table") {
        "json" => output::print(&(serde_json::to_string(&pids)? + "\n"))?,
        "table" => output::print(&table(&pids, &arguments.rest(1))?)?,
        other => return Err(format!("invalid format option: {other:?}").into()),
    }
    Ok(0)
}

/// The lines of the host's ps(1) that belong to the container.
fn table(pids: &[i32], options: &[String]) -> Result<String, Failure> {
    let default = ["-ef".to_string()];
    let options = if options.is_empty() { &default } else { options };
    let text = tare_runtime::capture(&["/bin/ps", "/usr/bin/ps"], "ps", options)?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or("couldn't find PID field in ps output")?;
    let mut chosen = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            chosen.push_str(line);
            chosen.push('\n');
        }
    }
    Ok(chosen)
}
