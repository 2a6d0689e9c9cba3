//! `--log` and `--log-format`: the file in which callers look for the reason of a failure.

use alloc::{format, string::String};
use rustix::fs::OFlags;
use tare_types::Timestamp;

/// Where and how failures are logged.
#[derive(Debug)]
pub(crate) struct Log {
    path: Option<String>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(crate) fn new(path: Option<&str>, format: Option<&str>, debug: bool) -> Self {
        let path = path.filter(|path| !path.is_empty() && *path != "/dev/stderr");
        Self { path: path.map(Into::into), json: format == Some("json"), debug }
    }

    /// Appends an entry. The failure itself is what matters: one of logging it is not reported over it.
    pub(crate) fn error(&self, text: &str) {
        self.write("error", text);
    }

    /// Whether [`Log::debug`] writes anything.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug
    }

    /// With `--debug`: what is done, to the log or to standard error.
    pub(crate) fn debug(&self, text: &str) {
        if self.debug && self.path.is_some() {
            self.write("debug", text);
        } else if self.debug {
            let (seconds, nanos) = tare_sys::clock::realtime();
            crate::output::error(&entry(self.json, "debug", text, Timestamp::new(seconds, nanos)));
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        self.write("warning", text);
        if self.path.is_none() {
            crate::complain(&format!("warning: {text}"));
        }
    }

    fn write(&self, level: &str, text: &str) {
        let Some(path) = &self.path else { return };
        let (seconds, nanos) = tare_sys::clock::realtime();
        let entry = entry(self.json, level, text, Timestamp::new(seconds, nanos));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
        if let Ok(file) = tare_sys::file::open(path, flags, 0o644) {
            let _ = tare_sys::file::write_fd(&file, entry.as_bytes());
        }
    }
}

fn entry(json: bool, level: &str, text: &str, time: Timestamp) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    if json {
        format!("{{\"level\":\"{level}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n")
    } else {
        format!("time=\"{time}\" level={level} msg={quoted}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let time = Timestamp::new(0, 0);
        let json = entry(true, "error", "a \"b\"\n", time);
        assert_eq!(
            json,
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\n\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert!(entry(false, "error", "x", time).starts_with("time=\"1970-01-01T00:00:00Z\" level=error"));
    }
}
