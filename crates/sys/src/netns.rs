//! Network namespaces: enter, leave and make one, on the calling thread alone.

use core::marker::PhantomData;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::{self, Errno},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// The magic link of the calling thread's network namespace.
pub const OWN: &str = "/proc/thread-self/ns/net";

/// Opens the network namespace of the calling thread.
///
/// # Errors
/// The errno of openat(2).
pub fn current() -> io::Result<OwnedFd> {
    openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
/// The errno of setns(2).
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

/// Moves the calling thread into a new network namespace.
///
/// # Errors
/// The errno of unshare(2).
pub fn unshare() -> io::Result<()> {
    #[allow(unsafe_code, reason = "sys is where unsafe lives")]
    // SAFETY: the flags hold CLONE_NEWNET alone; the descriptor table stays shared, which is what the
    // precondition of `unshare_unsafe` is about.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET)
    }
}

/// A stay in another network namespace: the thread returns when this is dropped.
///
/// Bound to its thread (not `Send`): a namespace is entered by threads.
#[derive(Debug)]
pub struct Stay {
    home: Option<OwnedFd>,
    not_send: PhantomData<*const ()>,
}

impl Stay {
    /// Enters `namespace`.
    ///
    /// # Errors
    /// The errno of opening the own namespace or of setns(2); the thread is where it was.
    pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let home = current()?;
        enter(namespace)?;
        Ok(Self { home: Some(home), not_send: PhantomData })
    }

    /// Enters a new namespace.
    ///
    /// # Errors
    /// As [`Stay::enter`], with unshare(2).
    pub fn in_new() -> io::Result<Self> {
        let home = current()?;
        unshare()?;
        Ok(Self { home: Some(home), not_send: PhantomData })
    }

    /// Returns and says whether it worked; a thread that could not return must end.
    ///
    /// # Errors
    /// The errno of setns(2).
    pub fn leave(mut self) -> io::Result<()> {
        self.home.take().map_or(Ok(()), |home| enter(home.as_fd()))
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // It fails only where CAP_SYS_ADMIN was lost meanwhile, and then nothing here can help.
            let _: Result<(), Errno> = enter(home.as_fd());
        }
    }
}
