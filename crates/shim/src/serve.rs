//! The server process: one thread, one socket, until nobody needs it any more.

use rustix::fs::StatVfsMountFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tare_api::ttrpc::serve_connection;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::Args;
use crate::diagnostics::Diagnostics;
use crate::events::Publisher;
use crate::reaper;
use crate::service::ShimService;
use crate::shim::Shim;

/// A shim without containers and connections ends after this long: whoever started it has died.
const IDLE: Duration = Duration::from_secs(30);
/// How long the last events may take when the shim ends.
const LAST_EVENTS: Duration = Duration::from_secs(3);
/// How long peers may take to close their connections when the shim ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Idle for this long, the shim lets go of its code's pages.
const REST: Duration = Duration::from_millis(250);
/// Pause after a failed accept (no descriptors left).
const PAUSE: Duration = Duration::from_millis(50);

/// Runs the server; standard input is the listening socket.
///
/// # Errors
/// A sentence with the step that failed.
pub(crate) fn serve(args: Args) -> Result<(), String> {
    // First of all: until its execve a container's process is a copy of this one.
    tare_sys::process::set_not_dumpable().map_err(|error| error.to_string())?;
    // What the starter left open is nobody's business: not the log programs', not the containers'.
    tare_sys::close_on_exec_from(3).map_err(|error| error.to_string())?;
    let listener = take_listener()?;
    detach_from_starter()?;
    let diagnostics = Arc::new(Diagnostics::open(Path::new("."), &args.id, args.debug));
    if !is_sealed() {
        diagnostics
            .warn("the shim's own binary is not sealed: start it through a read-only clone of its mount");
    }
    let events_address =
        std::env::var_os("TTRPC_ADDRESS").filter(|address| !address.is_empty()).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| format!("start the event loop: {error}"))?;
    runtime.block_on(async {
        let events = Publisher::new(&args.namespace, events_address, args.events, Arc::clone(&diagnostics));
        let shim = Arc::new(Shim::new(args, events, diagnostics));
        run(shim, listener).await
    })
}

async fn run(shim: Arc<Shim>, listener: OwnedFd) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("start the server: {error}");
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true).map_err(failed)?;
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_path_buf));
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    // Registered and never looked at: these ask a daemon to end, and containers outlive daemons.
    let ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let children = reaper::register().map_err(failed)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(reaper::run(Arc::clone(&shim), children));
    tasks.spawn({
        let shim = Arc::clone(&shim);
        async move { shim.events.run().await }
    });
    tasks.spawn(rest(Arc::clone(&shim)));
    let mut connections = JoinSet::new();
    accept(&shim, &listener, &mut connections).await;
    // From here on nobody may connect: containerd would start another shim.
    drop(listener);
    if let Some(path) = path {
        std::fs::remove_file(path).unwrap_or_default();
    }
    shim.events.flush(LAST_EVENTS).await;
    let answered = async { while connections.join_next().await.is_some() {} };
    // Peers that keep their connections open have had their answers.
    drop(tokio::time::timeout(LAST_ANSWERS, answered).await);
    drop(ignored);
    Ok(())
}

/// Gives memory back whenever the shim has had nothing to do for a while: most of what an idle shim weighs is code
/// that is mapped and will not run for hours.
async fn rest(shim: Arc<Shim>) {
    loop {
        while tokio::time::timeout(REST, shim.active.notified()).await.is_ok() {}
        // A hundred calls at once leave a heap full of holes.
        #[cfg(target_env = "gnu")]
        tare_sys::memory::trim_heap();
        if let Err(error) = tare_sys::memory::release_code() {
            shim.diagnostics.debug(format!("release code: {error}"));
        }
        shim.active.notified().await;
    }
}

/// Accepts connections until the shim is to end.
async fn accept(shim: &Arc<Shim>, listener: &UnixListener, connections: &mut JoinSet<()>) {
    loop {
        let unused = connections.is_empty() && shim.is_empty() && shim.held.is_idle();
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if is_trusted(&stream) => {
                    let shim = Arc::clone(shim);
                    connections.spawn(async move {
                        let service = Arc::new(ShimService(Arc::clone(&shim)));
                        if let Err(error) = serve_connection(stream, service).await {
                            shim.diagnostics.debug(format!("connection: {error}"));
                        }
                    });
                }
                Ok(_) => shim.diagnostics.warn("connection of another user refused"),
                Err(error) => {
                    shim.diagnostics.warn(format!("accept: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = shim.ending.notified() => return,
            () = tokio::time::sleep(IDLE), if unused => return,
        }
    }
}

/// The socket's mode keeps others out; this holds even if somebody changes it.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

/// Takes the listening socket from standard input and puts `/dev/null` in its place.
fn take_listener() -> Result<OwnedFd, String> {
    let stdin = std::io::stdin();
    let listening = rustix::net::sockopt::socket_acceptconn(stdin.as_fd()).unwrap_or(false);
    if !listening {
        return Err("standard input must be a listening socket: use the action start".to_owned());
    }
    let failed = |error: &dyn std::fmt::Display| format!("take the listening socket: {error}");
    let listener = stdin.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    let null =
        std::fs::File::options().read(true).write(true).open("/dev/null").map_err(|error| failed(&error))?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| failed(&error))?;
    rustix::stdio::dup2_stdout(&null).map_err(|error| failed(&error))?;
    Ok(listener)
}

/// Session, group and name of its own; children of children become its children; first to be killed before the daemon.
fn detach_from_starter() -> Result<(), String> {
    let failed = |step: &str, error: &dyn std::fmt::Display| format!("{step}: {error}");
    // Fails for a group leader, which has what it needs.
    if rustix::process::setsid().is_err() {
        rustix::process::setpgid(None, None).unwrap_or_default();
    }
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|error| failed("become a subreaper", &error))?;
    rustix::thread::set_name(c"containerd-shim").map_err(|error| failed("set the name", &error))?;
    let path = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(score) = score.filter(|score| *score < 1000) {
        // Where that is forbidden the shim is as likely to be chosen as its daemon.
        std::fs::write(path, (score + 1).to_string()).unwrap_or_default();
    }
    Ok(())
}

/// Whether nobody can write to this process's binary through `/proc/<pid>/exe` (CVE-2019-5736).
fn is_sealed() -> bool {
    use rustix::fs::{Mode, OFlags, SealFlags};
    let exe = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    exe.is_ok_and(|exe| {
        let read_only =
            rustix::fs::fstatvfs(&exe).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
        read_only || rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
    })
}
