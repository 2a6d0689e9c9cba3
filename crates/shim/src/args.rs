//! The command line as containerd gives it: Go's flag syntax, then an action.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What the shim is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start the server for a container (or find the one of its group) and print the address.
    Start,
    /// Clean up after a shim that has died and print how the container ended.
    Delete,
    /// Be the server: the listening socket is standard input.
    Serve,
    /// Hand standard input, output and error to a log program as descriptors 3, 4 and 5.
    Logger,
    /// Print the version.
    Version,
    /// Print the runtime's description as protobuf.
    Info,
}

/// The parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    /// containerd's namespace of the container.
    pub(crate) namespace: String,
    /// Id of the container, or of the group for [`Action::Serve`].
    pub(crate) id: String,
    /// The daemon's gRPC socket.
    pub(crate) address: String,
    /// Bundle directory, for [`Action::Delete`]; else it is the working directory.
    pub(crate) bundle: String,
    /// Log more.
    pub(crate) debug: bool,
    /// Which events the daemon wants forwarded.
    pub(crate) events: Events,
    /// What follows `--`: the log program and its arguments.
    pub(crate) rest: Vec<OsString>,
}

/// Which events are forwarded to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    /// All of them, as containerd expects.
    All,
    /// What the daemon cannot know from the answers to its own calls: exits and OOM kills.
    Exits,
}

/// Parses what follows the program's name.
///
/// # Errors
/// A sentence for the person or daemon that called.
pub(crate) fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut parsed = Args {
        action: Action::Serve,
        namespace: String::new(),
        id: String::new(),
        address: String::new(),
        bundle: String::new(),
        debug: false,
        events: Events::All,
        rest: Vec::new(),
    };
    let mut action = None;
    let mut args = args.into_iter();
    while let Some(argument) = args.next() {
        if argument == "--" {
            parsed.rest = args.collect();
            break;
        }
        let text =
            String::from_utf8(argument.into_vec()).map_err(|_| "an argument is not UTF-8".to_owned())?;
        let Some(flag) = text.strip_prefix('-') else {
            action = Some(parse_action(&text)?);
            continue;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let mut value = || -> Result<String, String> {
            let next = || args.next().and_then(|value| value.into_string().ok());
            inline.clone().or_else(next).ok_or_else(|| format!("flag needs an argument: -{name}"))
        };
        match name {
            "namespace" => parsed.namespace = value()?,
            "id" => parsed.id = value()?,
            "address" => parsed.address = value()?,
            "bundle" => parsed.bundle = value()?,
            // Events go over ttrpc, and the socket's place follows from the address: accepted and not needed.
            "publish-binary" | "socket" => drop(value()?),
            "debug" => parsed.debug = inline.as_deref() != Some("false"),
            "events" => parsed.events = parse_events(&value()?)?,
            "v" | "version" => action = Some(Action::Version),
            "info" => action = Some(Action::Info),
            other => return Err(format!("flag provided but not defined: -{other}")),
        }
    }
    parsed.action = action.ok_or("an action is missing: start, delete or serve")?;
    check(&parsed)?;
    Ok(parsed)
}

fn parse_action(text: &str) -> Result<Action, String> {
    match text {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        "serve" => Ok(Action::Serve),
        "logger" => Ok(Action::Logger),
        other => Err(format!("unknown action {other:?}: start, delete or serve")),
    }
}

fn parse_events(text: &str) -> Result<Events, String> {
    match text {
        "all" => Ok(Events::All),
        "exits" => Ok(Events::Exits),
        other => Err(format!("invalid value {other:?} for flag -events: all or exits")),
    }
}

/// Identifiers become parts of paths: they are checked where they enter.
fn check(args: &Args) -> Result<(), String> {
    if !matches!(args.action, Action::Start | Action::Delete | Action::Serve) {
        return Ok(());
    }
    tare_types::Namespace::new(&args.namespace).map_err(|error| error.to_string())?;
    tare_types::ContainerId::new(&args.id).map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        parse_args(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn containerds_line_is_understood() {
        let args =
            parse("-namespace default -address /run/c.sock -publish-binary /usr/bin/containerd -id a start");
        let args = args.unwrap();
        assert_eq!((args.action, args.id.as_str(), args.namespace.as_str()), (Action::Start, "a", "default"));
        let args = parse("--namespace=k8s.io -id=x -address= -bundle /b -debug delete").unwrap();
        assert_eq!((args.action, args.bundle.as_str(), args.debug), (Action::Delete, "/b", true));
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-events exits -id a -namespace b serve").unwrap().events, Events::Exits);
        assert_eq!(parse("logger -- /bin/log k v").unwrap().rest.len(), 3);
    }

    #[test]
    fn bad_lines_are_refused() {
        for line in [
            "",
            "-id",
            "stop",
            "-nope start",
            "-namespace n -id ../a start",
            "-namespace ../n -id a start",
            "-id a start",
            "-events some -id a -namespace b serve",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
