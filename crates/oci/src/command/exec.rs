//! `exec`.

use super::{
    Failure, Outcome,
    create::{keep_fds, send_pidfd, tell_capabilities},
    id,
};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    bundle,
    foreground::{self, Console},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rustix::fd::AsFd;
use tare_runtime::{Container, ExecOptions, Io};
use tare_types::spec::{LinuxCapabilities, Process};

pub(crate) static FLAGS: Flags = Flags {
    values: &[
        "console-socket",
        "pidfd-socket",
        "cwd",
        "env",
        "user",
        "additional-gids",
        "process",
        "pid-file",
        "process-label",
        "apparmor",
        "cap",
        "preserve-fds",
        "cgroup",
    ],
    switches: &["tty", "detach", "no-new-privs", "no-subreaper", "ignore-paused", "help"],
    short: &[
        ("e", "env"),
        ("u", "user"),
        ("g", "additional-gids"),
        ("p", "process"),
        ("c", "cap"),
        ("t", "tty"),
        ("d", "detach"),
        ("h", "help"),
    ],
    stop_after: Some(0),
};

pub(crate) fn exec(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    // 255 tells the runtime's own failure from the program's exit code, as in runc.
    execute(context, arguments).map_err(|failure| Failure { code: 255, ..failure })
}

fn execute(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    let id = id("exec", arguments)?;
    foreground::prepare_process(false)?;
    let container = context.runtime().load(id)?;
    let process = process(&container, arguments)?;
    tell_capabilities(context, &process);
    let detach = arguments.has("detach");
    let socket = arguments.value("console-socket").filter(|path| !path.is_empty());
    let program = context.program;
    let socket = match (detach && process.terminal, socket) {
        (true, None) => {
            return Err(format!(
                "cannot allocate tty if {program} will detach without setting console socket"
            )
            .into());
        }
        (false, Some(_)) => {
            return Err(
                format!("cannot use console socket if {program} will not detach or allocate tty").into()
            );
        }
        (_, socket) => socket.map(tare_sys::socket::connect).transpose()?,
    };
    let signals = if detach { None } else { Some(foreground::block_signals()?) };
    let io = match &socket {
        Some(socket) => Io::ConsoleSocket(socket.as_fd()),
        None if process.terminal => Io::Console,
        None => Io::Inherit,
    };
    // What is done has runc's words, for whoever looks for them in the log.
    context.log.debug("nsexec container setup: cloning a process that joins");
    if let Some(lists) = process.exec_cpu_affinity.as_ref().filter(|_| context.log.is_debug()) {
        for mask in
            [&lists.initial, &lists.last].into_iter().filter_map(|list| tare_runtime::processors(list).ok())
        {
            context.log.debug(&format!("nsexec: affinity: {:#x}", mask.first().copied().unwrap_or(0)));
        }
    }
    let mut started = container.exec(&ExecOptions {
        process: &process,
        io,
        keep_fds: keep_fds(context, arguments)?,
        cgroup: arguments.values("cgroup").map(ToString::to_string).collect(),
        ignore_paused: arguments.has("ignore-paused"),
    })?;
    context.log.debug(&format!("child process in init(): {}; setns_init: about to exec, done", started.pid));
    if let Some(path) = arguments.value("pid-file") {
        bundle::write_pid_file(path, started.pid).inspect_err(|_| {
            // Nobody could be told about the process.
            let _ = tare_sys::process::send_signal(started.pidfd.as_fd(), 9);
        })?;
    }
    send_pidfd(arguments, &started).inspect_err(|_| {
        let _ = tare_sys::process::send_signal(started.pidfd.as_fd(), 9);
    })?;
    let Some(signals) = signals else { return Ok(0) };
    let console = started.console.take().map(Console::attach).transpose()?;
    foreground::accompany(context, &started, (console, None), &signals)
}

/// The process of `--process`, or the container's own changed by flags.
fn process(container: &Container, arguments: &Arguments) -> Result<Process, Failure> {
    if let Some(path) = arguments.value("process") {
        return Ok(bundle::read_document(path)?);
    }
    let command = arguments.rest(1);
    if command.is_empty() {
        return Err("exec: process args cannot be empty".into());
    }
    let spec = bundle::load(container.bundle())?;
    let mut process = spec.process.ok_or("the configuration has no process")?;
    process.args = command;
    process.terminal = arguments.has("tty");
    process.console_size = None;
    if let Some(cwd) = arguments.value("cwd") {
        process.cwd = cwd.to_string();
    }
    if let Some(profile) = arguments.value("apparmor") {
        process.apparmor_profile = profile.to_string();
    }
    if let Some(label) = arguments.value("process-label") {
        process.selinux_label = label.to_string();
    }
    process.env.extend(arguments.values("env").map(ToString::to_string));
    if arguments.has("no-new-privs") {
        process.no_new_privileges = true;
    }
    let added: Vec<String> = arguments.values("cap").map(ToString::to_string).collect();
    if !added.is_empty() {
        let sets = process.capabilities.get_or_insert_with(LinuxCapabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(added.iter().cloned());
        }
        // Ambient is possible only for what is inheritable; whoever has nothing inheritable wants nothing ambient.
        if !sets.inheritable.is_empty() {
            sets.ambient.extend(added);
        }
    }
    if let Some(user) = arguments.value("user") {
        (process.user.uid, process.user.gid) = parse_user(user, process.user.gid)?;
    }
    for gid in arguments.values("additional-gids") {
        let gid = gid.parse().map_err(|_| format!("invalid additional gid {gid:?}"))?;
        process.user.additional_gids.push(gid);
    }
    Ok(*process)
}

/// `uid[:gid]`, numbers only: a name is never taken for a number or the reverse (CVE-2026-30892).
fn parse_user(text: &str, gid: u32) -> Result<(u32, u32), Failure> {
    let number = |part: &str| -> Result<u32, Failure> {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = digits.then(|| part.parse().ok()).flatten();
        parsed.ok_or_else(|| {
            format!("parsing {part:?} as an id for -u failed: it is not a number in range").into()
        })
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, number(gid)?)),
        None => Ok((number(text)?, gid)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_user;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("1", 7).unwrap(), (1, 7));
        assert_eq!(parse_user("1000:100", 7).unwrap(), (1000, 100));
        for text in ["", "root", "1:", ":1", "+1", "-1", " 1", "4294967296", "1:2:3", "0x1"] {
            assert!(parse_user(text, 0).is_err(), "{text}");
        }
    }
}
