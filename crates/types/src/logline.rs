//! Lines of container logs: Docker's json-file and the kubelet's CRI format, written and read. Pure.
//!
//! - json-file: one JSON object a line, `{"log":"text\n","stream":"stdout","attrs":{...},"time":"RFC 3339"}`; a
//!   message of the process that has no line feed at its end (cut at 16 KiB, or the last one) has none in `log`.
//! - CRI: `<RFC 3339 with nanoseconds> <stdout|stderr> <P|F> <text>`; `P` marks a part of a line, the last part is `F`.
//!
//! The writer is the shim's, the readers are the engine's; files, rotation and following are theirs, not here.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use serde::Deserialize;

use crate::Timestamp;

mod json;
pub use json::{encode_attrs, push_json};

/// Bytes of text a line holds at most; longer ones are cut into parts, as Docker's copier and CRI do.
pub const MAX_LINE: usize = 16 * 1024;

/// Which output of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line, or a part of one, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When the shim read it.
    pub time: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes without the line feed. json-file keeps text only: bytes that are not UTF-8 were replaced.
    pub text: Cow<'a, [u8]>,
    /// The line goes on in the next one of the same stream.
    pub partial: bool,
    /// json-file's `attrs`, in the order written.
    pub attrs: Vec<(String, String)>,
}

/// Appends a json-file line. `attrs` is the encoded object ([`encode_attrs`]) or empty. `text` has no line feed.
pub fn push_json_line(
    out: &mut Vec<u8>,
    time: Timestamp,
    stream: Stream,
    text: &[u8],
    partial: bool,
    attrs: &[u8],
) {
    out.extend_from_slice(b"{\"log\":\"");
    push_json(out, text);
    if !partial {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_str().as_bytes());
    if !attrs.is_empty() {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attrs);
        out.extend_from_slice(b",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"time\":\"");
    }
    push_time(out, time);
    out.extend_from_slice(b"\"}\n");
}

/// Appends a CRI line. `text` has no line feed.
pub fn push_cri_line(out: &mut Vec<u8>, time: Timestamp, stream: Stream, text: &[u8], partial: bool) {
    push_time(out, time);
    out.push(b' ');
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(if partial { b" P " } else { b" F " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 with nine digits of fraction, as both formats are written by their owners.
fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let (year, month, day, hour, minute, second) = time.civil();
    push_digits(out, year.clamp(0, 9999) as u64, 4);
    let fields = [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)];
    for (separator, value) in fields {
        out.push(separator);
        push_digits(out, u64::from(value), 2);
    }
    out.push(b'.');
    push_digits(out, u64::from(time.nanos), 9);
    out.push(b'Z');
}

fn push_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = value;
    for byte in out[start..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: Option<alloc::collections::BTreeMap<String, String>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads a json-file line, with or without its line feed. `None`: it is not one (a half-written last line).
pub fn parse_json_line(line: &[u8]) -> Option<LogLine<'_>> {
    let parsed: JsonLine<'_> = serde_json::from_slice(line).ok()?;
    let time = Timestamp::parse(&parsed.time).ok()?;
    let stream = if parsed.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    let partial = !parsed.log.ends_with('\n');
    let text = match parsed.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text).as_bytes()),
        Cow::Owned(mut text) => {
            if !partial {
                text.pop();
            }
            Cow::Owned(text.into_bytes())
        }
    };
    let attrs = parsed.attrs.unwrap_or_default().into_iter().collect();
    Some(LogLine { time, stream, text, partial, attrs })
}

/// Reads a CRI line, with or without its line feed. `None`: it is not one.
pub fn parse_cri_line(line: &[u8]) -> Option<LogLine<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = Timestamp::parse(core::str::from_utf8(parts.next()?).ok()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first says whether the line is whole.
    let tag = parts.next()?.split(|byte| *byte == b':').next()?;
    let partial = match tag {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let text = parts.next().unwrap_or_default();
    Some(LogLine { time, stream, text: Cow::Borrowed(text), partial, attrs: Vec::new() })
}

/// Cuts the bytes of one stream into lines of at most [`MAX_LINE`] (or less) bytes.
///
/// Give it what was read, in order; it calls back with each line or part, and keeps the rest that has no line feed.
#[derive(Debug)]
pub struct LineCutter {
    rest: Vec<u8>,
    max: usize,
}

impl LineCutter {
    /// A cutter of lines of at most `max` bytes; 0 stands for [`MAX_LINE`].
    pub fn new(max: usize) -> Self {
        Self { rest: Vec::new(), max: if max == 0 { MAX_LINE } else { max } }
    }

    /// Takes bytes in; `line(text, partial)` is called for each line that is whole or as long as it may be.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
        while !bytes.is_empty() {
            let room = self.max - self.rest.len();
            // A line feed right behind a full part still ends it: no empty line after a line of exactly `max` bytes.
            let window = &bytes[..bytes.len().min(room + 1)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.emit(&bytes[..end], false, &mut line);
                    bytes = &bytes[end + 1..];
                }
                None if window.len() > room => {
                    self.emit(&bytes[..room], true, &mut line);
                    bytes = &bytes[room..];
                }
                None => {
                    self.rest.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The stream is at its end: what is left is a line without a line feed.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8], bool)) {
        if !self.rest.is_empty() {
            self.emit(&[], true, &mut line);
        }
    }

    fn emit(&mut self, bytes: &[u8], partial: bool, line: &mut impl FnMut(&[u8], bool)) {
        if self.rest.is_empty() {
            line(bytes, partial);
        } else {
            self.rest.extend_from_slice(bytes);
            line(&self.rest, partial);
            // Most lines are short: one long line leaves no large buffer behind.
            self.rest = Vec::new();
        }
    }
}

/// The text of a line for people, when it is known to be text.
pub fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_string()
}

#[cfg(test)]
mod tests;
