//! `checkpoint` and `restore`, with runc's flags.

use super::{Failure, Outcome, create::Job, id};
use crate::{
    Context,
    arguments::{Arguments, Flags},
    bundle,
    foreground::{self, Console},
};
use alloc::{
    format,
    string::{String, ToString},
};
use rustix::fd::{AsFd, OwnedFd};
use tare_runtime::{
    CgroupMode, CheckpointOptions, Container, CreateOptions, Criu, Gate, ImageOptions, Io, Process,
    RestoreOptions,
};

pub(crate) static CHECKPOINT: Flags = Flags {
    values: &[
        "image-path",
        "work-path",
        "parent-path",
        "page-server",
        "status-fd",
        "manage-cgroups-mode",
        "empty-ns",
    ],
    switches: &[
        "leave-running",
        "tcp-established",
        "tcp-skip-in-flight",
        "link-remap",
        "ext-unix-sk",
        "shell-job",
        "lazy-pages",
        "file-locks",
        "pre-dump",
        "auto-dedup",
        "help",
    ],
    short: &[("h", "help")],
    stop_after: None,
};

pub(crate) static RESTORE: Flags = Flags {
    values: &[
        "console-socket",
        "image-path",
        "work-path",
        "manage-cgroups-mode",
        "bundle",
        "pid-file",
        "empty-ns",
        "lsm-profile",
        "lsm-mount-context",
    ],
    switches: &[
        "tcp-established",
        "ext-unix-sk",
        "shell-job",
        "file-locks",
        "detach",
        "no-subreaper",
        "no-pivot",
        "auto-dedup",
        "lazy-pages",
        "help",
    ],
    short: &[("b", "bundle"), ("d", "detach"), ("h", "help")],
    stop_after: None,
};

/// The paths and words that the options of the library borrow.
struct Words {
    images: String,
    work: Option<String>,
    program: String,
    path: String,
    cgroups: CgroupMode,
}

impl Words {
    fn read(context: &Context<'_>, arguments: &Arguments) -> Result<Self, Failure> {
        let given = |name: &str| arguments.value(name).filter(|value| !value.is_empty());
        for kind in arguments.values("empty-ns") {
            // That of networks is restored empty anyway.
            if kind != "network" {
                return Err(format!("namespace {kind:?} is not supported").into());
            }
        }
        let mode = arguments.value("manage-cgroups-mode").unwrap_or_default();
        Ok(Self {
            images: bundle::absolute(given("image-path").unwrap_or("checkpoint"))?,
            work: given("work-path").map(bundle::absolute).transpose()?,
            program: context.criu.clone(),
            path: context.variable("PATH").unwrap_or_default().to_string(),
            cgroups: CgroupMode::parse(mode).ok_or("invalid manage-cgroups-mode value")?,
        })
    }

    fn options<'a>(&'a self, context: &'a Context<'_>, arguments: &Arguments) -> ImageOptions<'a> {
        ImageOptions {
            criu: Criu { program: &self.program, path: &self.path, environment: context.environment },
            images: &self.images,
            work: self.work.as_deref(),
            tcp_established: arguments.has("tcp-established"),
            ext_unix_sk: arguments.has("ext-unix-sk"),
            shell_job: arguments.has("shell-job"),
            file_locks: arguments.has("file-locks"),
            auto_dedup: arguments.has("auto-dedup"),
            lazy_pages: arguments.has("lazy-pages"),
            cgroups: self.cgroups,
        }
    }
}

pub(crate) fn checkpoint(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    arguments.expect("checkpoint", 1, 1)?;
    let mut container = context.runtime().load(id("checkpoint", arguments)?)?;
    let words = Words::read(context, arguments)?;
    let spec = bundle::load(container.bundle())?;
    let parent = parent(arguments, &words.images)?;
    let server = arguments.value("page-server").map(page_server).transpose()?;
    let status = status(arguments)?;
    let options = CheckpointOptions {
        image: words.options(context, arguments),
        spec: &spec,
        parent,
        leave_running: arguments.has("leave-running"),
        tcp_skip_in_flight: arguments.has("tcp-skip-in-flight"),
        link_remap: arguments.has("link-remap"),
        pre_dump: arguments.has("pre-dump"),
        page_server: server,
        status: status.as_ref().map(AsFd::as_fd),
    };
    container.checkpoint(&options)?;
    if !options.leave_running && !options.pre_dump {
        // The images are whole: what stays of the container is a warning, as in runc.
        if let Err(error) = container.delete(false) {
            context.log.warning(&error.to_string());
        }
    }
    Ok(0)
}

/// `--parent-path`, which must be the path of a directory relative to that of the images.
fn parent<'a>(arguments: &'a Arguments, images: &str) -> Result<Option<&'a str>, Failure> {
    let Some(parent) = arguments.value("parent-path").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    if parent.starts_with('/') {
        return Err("--parent-path must be relative".into());
    }
    // `..` in it starts in the images' directory, which must be there for that.
    tare_sys::file::make_dir_all(images, 0o700)?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    tare_sys::file::open(&format!("{images}/{parent}"), flags, 0)
        .map_err(|error| format!("invalid --parent-path: {error}"))?;
    Ok(Some(parent))
}

/// `ADDRESS:PORT`; an address of version 6 of IP is in brackets.
fn page_server(word: &str) -> Result<(&str, u16), Failure> {
    let wrong = "Use --page-server ADDRESS:PORT to specify page server";
    let (address, port) = word.rsplit_once(':').ok_or(wrong)?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    if address.is_empty() || port.is_empty() || (bare.is_none() && address.contains(':')) {
        return Err(wrong.into());
    }
    Ok((address, port.parse().ok().filter(|port| *port != 0).ok_or("Invalid port number")?))
}

/// `--status-fd`, by a descriptor of its own.
fn status(arguments: &Arguments) -> Result<Option<OwnedFd>, Failure> {
    let number = arguments.number::<i32>("status-fd")?.filter(|number| *number != -1);
    let open = |number: i32| {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        tare_sys::file::open(&format!("/proc/self/fd/{number}"), flags, 0)
            .map_err(|error| format!("invalid --status-fd argument {number}: {error}"))
    };
    // It is used with lazy pages only, as in runc.
    Ok(number.filter(|_| arguments.has("lazy-pages")).map(open).transpose()?)
}

pub(crate) fn restore(context: &Context<'_>, arguments: &Arguments) -> Outcome {
    arguments.expect("restore", 1, 1)?;
    let words = Words::read(context, arguments)?;
    let job = Job::new(context, arguments, "restore")?;
    let options = RestoreOptions {
        image: words.options(context, arguments),
        create: job.options(Io::Inherit, Gate::Open),
        lsm_profile: arguments.value("lsm-profile").filter(|profile| !profile.is_empty()),
        lsm_mount_context: arguments.value("lsm-mount-context").filter(|context| !context.is_empty()),
    };
    let done = if arguments.has("detach") {
        let socket = job.detached_io(true)?;
        let io = socket.as_ref().map_or(Io::Inherit, |socket| Io::ConsoleSocket(socket.as_fd()));
        restore_announced(&job, &options, io).map(|_| 0)
    } else {
        in_foreground(&job, &options)
    };
    done.map_err(|failure| failure.prefixed(&format!("{} restore failed", context.program)))
}

fn restore_announced(
    job: &Job<'_>,
    options: &RestoreOptions<'_>,
    io: Io<'_>,
) -> Result<(Container, Process), Failure> {
    let options = RestoreOptions { create: CreateOptions { io, ..options.create }, ..*options };
    let (mut container, process) = job.runtime.restore(&options)?;
    job.announce(&mut container, &process)?;
    Ok((container, process))
}

fn in_foreground(job: &Job<'_>, options: &RestoreOptions<'_>) -> Outcome {
    job.detached_io(false)?;
    // Before the process is ours: no signal and no end of it is missed.
    let signals = foreground::block_signals()?;
    let io = if job.has_terminal() { Io::Console } else { Io::Inherit };
    let (mut container, mut process) = restore_announced(job, options, io)?;
    let console = process.console.take().map(Console::attach).transpose()?;
    let code = foreground::accompany(job.context, &process, (console, None), &signals)?;
    container.delete_reaped()?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn parsed(flags: &'static Flags, words: &str) -> Arguments {
        let words: std::vec::Vec<String> = words.split(' ').map(Into::into).collect();
        Arguments::parse(flags, &words).unwrap()
    }

    #[test]
    fn all_flags_of_runc_are_taken() {
        let all = "--image-path a --work-path b --parent-path c --leave-running --tcp-established \
                   --tcp-skip-in-flight --link-remap --ext-unix-sk --shell-job --lazy-pages --status-fd 5 \
                   --page-server h:1 --file-locks --pre-dump --manage-cgroups-mode soft --empty-ns network \
                   --auto-dedup box";
        let arguments = parsed(&CHECKPOINT, all);
        assert_eq!(arguments.rest(0), ["box"]);
        assert!(CHECKPOINT.switches.iter().all(|name| *name == "help" || arguments.has(name)));
        let all = "--console-socket s --image-path a --work-path b --tcp-established --ext-unix-sk --shell-job \
                   --file-locks --manage-cgroups-mode soft -b x -d --pid-file p --no-subreaper --no-pivot \
                   --empty-ns network --auto-dedup --lazy-pages --lsm-profile apparmor:x \
                   --lsm-mount-context y box";
        let arguments = parsed(&RESTORE, all);
        assert_eq!(arguments.rest(0), ["box"]);
        assert!(RESTORE.switches.iter().all(|name| *name == "help" || arguments.has(name)));
    }

    #[test]
    fn page_servers() {
        assert_eq!(page_server("127.0.0.1:27").unwrap(), ("127.0.0.1", 27));
        assert_eq!(page_server("[::1]:27").unwrap(), ("::1", 27));
        for word in ["", ":1", "host:", "::1:27", "host"] {
            assert!(page_server(word).unwrap_err().text.starts_with("Use --page-server"), "{word}");
        }
        for word in ["h:0", "h:70000", "h:x"] {
            assert_eq!(page_server(word).unwrap_err().text, "Invalid port number", "{word}");
        }
    }

    #[test]
    fn parents_are_relative() {
        let wrong = parent(&parsed(&CHECKPOINT, "--parent-path /a box"), "/tmp").unwrap_err();
        assert_eq!(wrong.text, "--parent-path must be relative");
        let missing = parent(&parsed(&CHECKPOINT, "--parent-path nonexistent/a box"), "/tmp").unwrap_err();
        assert!(missing.text.starts_with("invalid --parent-path: "), "{}", missing.text);
    }
}
