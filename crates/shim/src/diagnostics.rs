//! Messages for the daemon's log: one logfmt line each, as containerd's shims write them to the fifo
//! `<bundle>/log` (or to standard error when tared started the shim).
//!
//! A message that cannot be written at once is dropped: nobody may stop the shim by not reading its log.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    file: Option<File>,
    id: String,
    debug: bool,
}

impl Diagnostics {
    /// Opens the log fifo of a bundle if somebody reads it, else standard error.
    pub(crate) fn open(bundle: &Path, id: &str, debug: bool) -> Self {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let fifo =
            std::fs::OpenOptions::new().write(true).custom_flags(nonblock).open(bundle.join("log")).ok();
        let stderr = || rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3).ok().map(File::from);
        Self { file: fifo.or_else(stderr), id: id.to_owned(), debug }
    }

    /// Something is wrong and the shim goes on.
    pub(crate) fn warn(&self, message: impl Display) {
        self.write("warning", &message);
    }

    /// Something that could not be done.
    pub(crate) fn error(&self, message: impl Display) {
        self.write("error", &message);
    }

    /// What was decided and why; only with `-debug`.
    pub(crate) fn debug(&self, message: impl Display) {
        if self.debug {
            self.write("debug", &message);
        }
    }

    fn write(&self, level: &str, message: &dyn Display) {
        let Some(mut file) = self.file.as_ref() else { return };
        let time = now();
        let line = format!(
            "time=\"{time}\" level={level} msg={:?} id={:?} runtime=tare\n",
            message.to_string(),
            self.id
        );
        // A full or closed log must not hurt: see the file's head.
        file.write_all(line.as_bytes()).unwrap_or_default();
    }
}

/// The time of day.
pub(crate) fn now() -> tare_types::Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    tare_types::Timestamp::new(since.as_secs() as i64, since.subsec_nanos())
}

/// The time of day on the wire.
pub(crate) fn wire_time(time: tare_types::Timestamp) -> tare_api::Timestamp {
    tare_api::Timestamp { seconds: time.seconds, nanos: time.nanos as i32 }
}
