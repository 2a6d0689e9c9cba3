//! Carrying TCP connections to a container.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections carried at once by one port; more wait in the backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long the container may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes held for each direction of a connection.
const BUFFER: usize = 8 * 1024;
/// Pause after a failed accept (no descriptors left).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts and carries connections until it is dropped, and them with it. Without a target they are closed.
pub(super) async fn carry(listener: TcpListener, target: Option<SocketAddr>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match (accepted, target) {
                (Ok((client, _)), Some(target)) => {
                    connections.spawn(async move {
                        connection(client, target).await;
                        drop(place);
                    });
                }
                (Ok(_), None) => {}
                (Err(_), _) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr) {
    let Ok(Ok(mut container)) = tokio::time::timeout(CONNECT, TcpStream::connect(target)).await else {
        // The client sees a reset, as it would without a holder.
        client.set_zero_linger().unwrap_or_default();
        return;
    };
    for stream in [&client, &container] {
        stream.set_nodelay(true).unwrap_or_default();
    }
    // An error of either side ends the connection: both see it.
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut container, BUFFER, BUFFER).await;
    drop(copied);
}
