//! All objects of the daemon, built in order by plain calls; and their end in reverse.

use crate::{VERSION, config::Config, grpc, instance, metrics, notify, rest, sockets};
use anyhow::Context;
use std::{ffi::OsString, path::PathBuf, time::Duration};
use tare_docker::{Docker, DockerConfig};
use tare_engine::Engine;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long calls in flight may take to end once the daemon was told to.
const GRACE: Duration = Duration::from_millis(500);

/// What `main` knows of the process's surroundings.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Directory of the daemon's own binary, where its shim is looked for.
    pub directory: Option<PathBuf>,
    /// Value of NOTIFY_SOCKET.
    pub notify: Option<OsString>,
}

/// Serves until SIGTERM or SIGINT. Containers run on after the end.
///
/// # Errors
/// When a directory is in use or a part cannot be opened.
pub async fn serve(config: Config, surroundings: Surroundings) -> anyhow::Result<()> {
    let _locks = instance::lock(&config.root, &config.state)?;
    let id = instance::id(&config.root)?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::spawn(ignore(hangup));

    let engine = Engine::open(config.engine(id, surroundings.directory.as_deref())).await?;
    let shutdown = CancellationToken::new();
    let mut doors = tokio::task::JoinSet::new();
    if !config.grpc.address.as_os_str().is_empty() {
        let listener = sockets::bind(&config.grpc, None)?;
        let (service, stopped) = (grpc::routes(&engine, &shutdown), shutdown.clone().cancelled_owned());
        doors.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stopped).await });
    }
    if !config.metrics.address.is_empty() {
        let address = &config.metrics.address;
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listen for metrics on {address}"))?;
        let (service, stopped) = (metrics::routes(&engine), shutdown.clone().cancelled_owned());
        doors.spawn(async move { axum::serve(listener, service).with_graceful_shutdown(stopped).await });
    }
    if !config.docker.address.as_os_str().is_empty() {
        let listener = sockets::bind(&config.docker, sockets::group_id("docker"))?;
        let about = DockerConfig {
            version: VERSION.to_owned(),
            git_commit: String::new(),
            build_time: String::new(),
        };
        doors.spawn(Docker::new(engine.clone(), about).serve(listener, shutdown.clone()));
    }

    let resting = tokio::spawn(rest::run(engine.clone()));
    tracing::info!(root = %config.root.display(), docker = %config.docker.address.display(), "ready");
    tell(&surroundings, "READY=1");
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // A door ends by itself only when it is broken.
        Some(ended) = doors.join_next() => ended.context("a door ended")?.context("a door is broken"),
    };
    tell(&surroundings, "STOPPING=1");
    shutdown.cancel();
    let closing = async { while doors.join_next().await.is_some() {} };
    // A client that holds a connection or a call cannot keep the daemon; work that was begun has tasks of its own.
    if tokio::time::timeout(GRACE, closing).await.is_err() {
        tracing::info!("connections that clients keep open are cut");
    }
    for address in [&config.grpc.address, &config.docker.address] {
        sockets::remove(address);
    }
    resting.abort();
    engine.shutdown().await;
    ended
}

/// A terminal that is closed, or a service manager that asks for a reload, must not end the daemon.
async fn ignore(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: the configuration is read at the start only; nothing was reloaded");
    }
}

fn tell(surroundings: &Surroundings, state: &str) {
    if let Some(socket) = &surroundings.notify
        && let Err(error) = notify::send(socket, state)
    {
        tracing::warn!(%error, "the service manager was not told {state}");
    }
}
