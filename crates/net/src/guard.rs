//! The guard of the table: a firewall that is reloaded (`nft flush ruleset`) takes the tables of all others with it;
//! ours is made again at once from the records, and with it what keeps unpublished ports closed
//! (the class of CVE-2025-54388).

use crate::{Error, Result, shared::Shared};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use std::{
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tare_sys::netlink::{Family, Socket, nftables};

/// The thread that hears of deleted tables.
#[derive(Debug)]
pub(crate) struct Guard(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    /// Closing it ends the thread.
    stop: UnixStream,
}

impl Guard {
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Self> {
        let failed = |error: std::io::Error| Error::caused("start thread", "tare-net-guard", error);
        let socket = Socket::open(Family::Netfilter).and_then(|socket| {
            socket.subscribe(nftables::GROUP_CHANGES)?;
            Ok(socket)
        });
        let socket = socket.map_err(|e| Error::caused("hear of changes", "of nftables", e))?;
        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("tare-net-guard".to_owned())
            .spawn(move || watch(&shared, socket, &stopped))
            .map_err(failed)?;
        Ok(Self(Mutex::new(Some(Running { thread, stop }))))
    }

    /// Ends the thread; idempotent.
    pub(crate) fn close(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { thread, stop }) = running {
            drop(stop);
            // A panic of the thread is not ours to continue; the next start makes the table again.
            let _joined = thread.join();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
    }
}

fn watch(shared: &Shared, mut socket: Socket, stopped: &UnixStream) {
    loop {
        let mut ready = [PollFd::new(&socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        if !ready[0].revents().is_empty() && lost_table(shared, &mut socket) {
            // Where it cannot be made again, the next publication tries and reports it.
            let _made = shared.remake_table();
        }
    }
}

/// Whether what the socket has to say is that our table was deleted.
///
/// One change of some thousand ports is more than the socket's queue takes. What was lost may have been the deletion, so
/// the kernel is asked whether the table is there. Making it again all the same would overflow the queue again, for as
/// long as that many ports are published.
fn lost_table(shared: &Shared, socket: &mut Socket) -> bool {
    let table = shared.config.object_name();
    match socket.receive(Duration::from_millis(1)) {
        Ok(Some(mut messages)) => messages.any(|message| {
            message.is_ok_and(|m| nftables::deleted_table(&m).is_ok_and(|name| name == Some(&table)))
        }),
        Ok(None) => false,
        // Where the kernel cannot be asked either, a table too many is better than none.
        Err(_) => !is_there(&table).unwrap_or(false),
    }
}

fn is_there(table: &str) -> std::result::Result<bool, tare_sys::netlink::Error> {
    let mut socket = Socket::open(Family::Netfilter)?;
    Ok(nftables::tables(&mut socket, nftables::INET)?.iter().any(|name| name == table))
}
