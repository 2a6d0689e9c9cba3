//! Carrying UDP datagrams to a container: each client has a socket of its own towards it, so that answers find back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Clients served at once by one port; the longest silent one makes room.
const MAX_CLIENTS: usize = 1024;
/// A client that is silent in both directions for this long is forgotten, as docker-proxy does.
const SILENCE: Duration = Duration::from_secs(90);
/// Pause after a failed receive (an ICMP error of an earlier send is one).
const PAUSE: Duration = Duration::from_millis(5);
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

struct Client {
    socket: Arc<UdpSocket>,
    last: Instant,
    back: tokio::task::AbortHandle,
}

/// Carries datagrams until it is dropped. Without a target they are dropped.
pub(super) async fn carry(socket: UdpSocket, target: Option<SocketAddr>) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut tasks = JoinSet::new();
    // Made when the first datagram comes: most ports never see one here.
    let mut buffer = Vec::new();
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        buffer.resize(MAX_DATAGRAM, 0);
        match socket.try_recv_from(&mut buffer) {
            Ok((length, from)) => {
                let Some(target) = target else { continue };
                if let Some(client) = client_of(&socket, &mut clients, &mut tasks, from, target).await {
                    client.last = Instant::now();
                    // A full or refused datagram is lost, as datagrams are.
                    client.socket.send(&buffer[..length]).await.unwrap_or_default();
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // Nothing waits: the memory is not kept for the next one.
                buffer = Vec::new();
                while tasks.try_join_next().is_some() {}
                clients.retain(|_, client| !client.back.is_finished());
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn client_of<'a>(
    socket: &Arc<UdpSocket>,
    clients: &'a mut HashMap<SocketAddr, Client>,
    tasks: &mut JoinSet<()>,
    from: SocketAddr,
    target: SocketAddr,
) -> Option<&'a mut Client> {
    if clients.get(&from).is_none_or(|client| client.back.is_finished()) {
        if clients.len() >= MAX_CLIENTS {
            let oldest = clients.iter().min_by_key(|(_, client)| client.last).map(|(from, _)| *from)?;
            clients.remove(&oldest)?.back.abort();
        }
        let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let outward = Arc::new(UdpSocket::bind(any).await.ok()?);
        outward.connect(target).await.ok()?;
        let back = tasks.spawn(answers(Arc::clone(socket), Arc::clone(&outward), from));
        clients.insert(from, Client { socket: outward, last: Instant::now(), back });
    }
    clients.get_mut(&from)
}

/// Carries answers back until both sides are silent.
async fn answers(socket: Arc<UdpSocket>, outward: Arc<UdpSocket>, to: SocketAddr) {
    let mut buffer = Vec::new();
    while let Ok(ready) = tokio::time::timeout(SILENCE, outward.readable()).await {
        if ready.is_err() {
            return;
        }
        buffer.resize(MAX_DATAGRAM, 0);
        match outward.try_recv(&mut buffer) {
            Ok(length) => drop(socket.send_to(&buffer[..length], to).await),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => buffer = Vec::new(),
            // Refused: nobody listens in the container now; the next datagram tries again.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
