//! `start`, `state`, `kill`, `delete`, `pause`, `resume`.

use super::{Failure, Outcome, id};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    notify::Notify,
    output,
};
use alloc::{format, string::String};
use serde::Serialize;
use tare_runtime::Container;
use tare_types::{ErrorKind, spec::State};

pub(crate) static KILL: Flags = Flags {
    values: &[],
    switches: &["all", "help"],
    short: &[("a", "all"), ("h", "help")],
    stop_after: None,
};

pub(crate) static DELETE: Flags = Flags {
    values: &[],
    switches: &["force", "help"],
    short: &[("f", "force"), ("h", "help")],
    stop_after: None,
};

fn load(context: &Context<'_>, name: &str, arguments: &Arguments) -> Result<Container, Failure> {
    Ok(context.runtime().load(id(name, arguments)?)?)
}

pub(crate) fn start(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let mut container = load(context, "start", arguments)?;
    let listen = |host| Notify::listen(host, &context.runtime().notify_directory(container.id()));
    let notify = context.notify().map(listen).transpose()?.flatten();
    container.start()?;
    notify.map_or(Ok(()), |notify| notify.wait(&container))?;
    Ok(0)
}

/// runc's document: the specification's, with the root file system, the time and the owner.
#[derive(Serialize)]
pub(crate) struct Document {
    #[serde(rename = "ociVersion")]
    version: String,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "alloc::collections::BTreeMap::is_empty")]
    annotations: alloc::collections::BTreeMap<String, String>,
    owner: &'static str,
}

impl Document {
    pub(crate) fn new(container: &Container, owner: &'static str) -> Result<Self, Failure> {
        let State { version, id, status, pid, bundle, annotations } = container.state()?;
        Ok(Self {
            version,
            id,
            pid,
            status: status.as_str(),
            bundle,
            rootfs: container.rootfs().into(),
            created: format!("{}", container.created()),
            annotations,
            owner,
        })
    }

    /// The cells of a line of `list`.
    pub(crate) fn row(self) -> alloc::vec::Vec<String> {
        [self.id, format!("{}", self.pid), self.status.into(), self.bundle, self.created, self.owner.into()]
            .into()
    }
}

pub(crate) fn state(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let container = load(context, "state", arguments)?;
    let text = serde_json::to_string_pretty(&Document::new(&container, "")?)?;
    output::print(&(text + "\n"))?;
    Ok(0)
}

pub(crate) fn kill(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    arguments.expect("kill", 1, 2)?;
    let container = load(context, "kill", arguments)?;
    let word = arguments.positional(1).filter(|word| !word.is_empty()).unwrap_or("SIGTERM");
    let signal = tare_sys::process::parse_signal(word).ok_or_else(|| format!("unknown signal {word:?}"))?;
    if arguments.has("all") {
        container.kill_all(signal)?
    } else {
        container.kill(signal)?
    }
    Ok(0)
}

pub(crate) fn delete(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let id = id("delete", arguments)?;
    let force = arguments.has("force");
    let runtime = context.runtime();
    match runtime.load(id) {
        Ok(mut container) => container.delete(force)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A creation that was cut off leaves a directory without a state.
            let removed = runtime.remove_remains(id);
            if removed.is_err() && !force {
                return Err(error.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

pub(crate) fn pause(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    load(context, "pause", arguments)?.pause()?;
    Ok(0)
}

pub(crate) fn resume(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    load(context, "resume", arguments)?.resume()?;
    Ok(0)
}
