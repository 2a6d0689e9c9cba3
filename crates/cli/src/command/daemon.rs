//! Starting a daemon with defaults when none is running.

use crate::failure::Failure;
use crate::wire::client::Client;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// Where its messages go.
const LOG: &str = "/var/log/tared.log";

/// Starts `tared` unless a daemon answers; waits until it does.
pub(crate) async fn start_if_absent(client: &Client) -> Result<(), Failure> {
    if client.clone().negotiate().await.is_ok() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("only root can start the daemon").hint("sudo tare run --start-daemon …"));
    }
    let program = beside_us("tared");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(LOG)
        .map_err(|error| Failure::new(format!("open {LOG}: {error}")))?;
    let errors = log.try_clone()?;
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C of the person is not for the daemon.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            Failure::new(format!("run {program}: {error}")).hint("is tared installed beside tare?")
        })?;
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if client.clone().negotiate().await.is_ok() {
            eprintln!("started the daemon (pid {}, log {LOG})", child.id());
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(format!("the daemon ended with {status}")).hint(format!("see {LOG}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new("the daemon does not answer within 15 s").hint(format!("see {LOG}")))
}

/// The program in our own directory, or by `PATH`.
pub(crate) fn beside_us(name: &str) -> String {
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(|dir| dir.join(name)));
    own.filter(|path| path.exists()).map_or_else(|| name.to_owned(), |path| path.display().to_string())
}
