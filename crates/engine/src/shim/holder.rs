//! Tare's shim beside a foreign one: it holds the streams and the published ports of a container that another shim runs.
//!
//! It may die by itself. The foreign shim keeps the container, and the fifos keep what is written to them: another holder
//! takes the place of the dead one ([`crate::lifecycle::holder`]).

use super::Shim;
use std::{
    ops::Deref,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The place of a holder, and who has it.
#[derive(Debug)]
pub(crate) struct Holder {
    /// Its socket; the next one gets the same.
    pub(crate) address: PathBuf,
    current: RwLock<Option<Arc<Shim>>>,
    /// It is told to end, or its container is lost: nobody takes its place.
    ending: AtomicBool,
    /// A second end of a terminal's stdin: Go's shim closes the terminal when the last of them goes.
    spare: Mutex<Option<OwnedFd>>,
}

/// The shim of Tare's that serves a container's streams and ports.
pub(crate) enum Own<'a> {
    /// The one that runs it.
    Itself(&'a Shim),
    /// The one beside it.
    Beside(Arc<Shim>),
}

impl Deref for Own<'_> {
    type Target = Shim;

    fn deref(&self) -> &Shim {
        match self {
            Self::Itself(shim) => shim,
            Self::Beside(shim) => shim,
        }
    }
}

impl Holder {
    /// A place; `None`: whoever had it has died.
    pub(crate) fn new(address: &Path, shim: Option<Shim>) -> Self {
        Self {
            address: address.to_path_buf(),
            current: RwLock::new(shim.map(Arc::new)),
            ending: AtomicBool::new(false),
            spare: Mutex::default(),
        }
    }

    /// Who has the place.
    pub(crate) fn current(&self) -> Option<Arc<Shim>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the place to another one.
    pub(crate) fn replace(&self, shim: Arc<Shim>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(shim);
    }

    /// From now on its end is no loss.
    pub(crate) fn set_ending(&self) {
        self.ending.store(true, Ordering::Release);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether its end is no loss.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Keeps an end of the fifo of a terminal's stdin open.
    pub(crate) fn keep_stdin(&self, fifo: &str) {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Without it the container lives as well, until the holder dies.
        if let Ok(end) = rustix::fs::open(fifo, flags, Mode::empty()) {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        }
    }
}
