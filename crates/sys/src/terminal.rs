//! The caller's terminal and the master of a container's.

use crate::{Context, Result};
use rustix::{
    fd::{AsFd, OwnedFd},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize},
};

/// A terminal in raw mode; dropping this restores it.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts the terminal behind `fd` into raw mode; `None` if it is no terminal.
    ///
    /// # Errors
    /// tcsetattr(3)'s.
    pub fn enter(fd: impl AsFd) -> Result<Option<Self>> {
        let Ok(before) = tcgetattr(&fd) else { return Ok(None) };
        let terminal = rustix::io::fcntl_dupfd_cloexec(&fd, 3).on("fcntl", || "terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&fd, OptionalActions::Now, &raw).on("tcsetattr", || "terminal")?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Lets line feeds pass as they are; the caller's own terminal adds the carriage returns.
///
/// # Errors
/// tcsetattr(3)'s.
pub fn pass_line_feeds(terminal: impl AsFd) -> Result<()> {
    use rustix::termios::OutputModes;
    let mut modes = tcgetattr(&terminal).on("tcgetattr", || "terminal")?;
    modes.output_modes -= OutputModes::ONLCR;
    tcsetattr(&terminal, OptionalActions::Now, &modes).on("tcsetattr", || "terminal")
}

/// Gives one terminal the size of another. If `from` is no terminal nothing happens.
///
/// # Errors
/// TIOCSWINSZ's.
pub fn copy_size(from: impl AsFd, to: impl AsFd) -> Result<()> {
    match tcgetwinsize(&from) {
        Ok(size) => tcsetwinsize(&to, size).on("ioctl", || "TIOCSWINSZ"),
        Err(_) => Ok(()),
    }
}

/// Sets the size of a terminal in characters.
///
/// # Errors
/// TIOCSWINSZ's.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).on("ioctl", || "TIOCSWINSZ")
}
