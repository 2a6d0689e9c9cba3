//! Signals as a descriptor (signalfd(2)).
//!
//! For a program with one thread: blocking is per thread, and a child between clone and execve inherits it.

use crate::{Context, Errno, Result, raw};
use alloc::vec::Vec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Signals that are received by reading instead of by a handler.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the signals (numbers 1 to 64) for the calling thread and opens the descriptor.
    ///
    /// # Errors
    /// rt_sigprocmask(2)'s and signalfd(2)'s.
    pub fn block(signals: impl IntoIterator<Item = i32>) -> Result<Self> {
        let mask = signals.into_iter().filter(|signal| (1..=64).contains(signal));
        let mask = mask.fold(0, |mask, signal| mask | 1 << (signal - 1));
        raw::block_signals(mask).on("rt_sigprocmask", || "")?;
        raw::signalfd(mask).on("signalfd4", || "").map(Self)
    }

    /// The signals that have arrived, without waiting.
    ///
    /// # Errors
    /// read(2)'s.
    pub fn arrived(&self) -> Result<Vec<i32>> {
        // `struct signalfd_siginfo`: 128 bytes, the number first.
        let mut bytes = [0; 1024];
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut bytes)) {
            Err(Errno::AGAIN) => 0,
            length => length.on("read", || "signalfd")?,
        };
        let number = |info: &[u8; 128]| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        Ok(bytes[..length].as_chunks::<128>().0.iter().map(number).collect())
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
