//! Logs.

use crate::body::{self, Handled};
use crate::door::Docker;
use crate::error::ApiError;
use crate::hijack::Framing;
use crate::request::Request;
use crate::stdcopy;
use crate::units::{fixed_nanos, parse_unix};
use bytes::{BufMut, BytesMut};
use futures_util::{FutureExt, stream};
use std::collections::BTreeMap;
use tare_engine::attach::Stream;
use tare_engine::logs::{LogEntry, LogOptions};
use tare_types::ErrorKind;

/// About how many bytes of a log go out at once.
const CHUNK: usize = 32 << 10;

/// What goes before each line.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    timestamps: bool,
    details: bool,
}

/// `GET /containers/{name}/logs`.
pub(crate) async fn logs(door: &Docker, request: &Request, name: &str) -> Handled {
    let query = &request.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_parameter("Bad parameters: you must choose at least one stream"));
    }
    let time = |name: &str| {
        parse_unix(query.get(name))
            .map(|time| time.filter(|time| time.seconds != 0 || time.nanos != 0))
            .map_err(|error| error.map_message(|why| format!("invalid value for \"{name}\": {why}")))
    };
    let options = LogOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        // What is no number means all, as in dockerd.
        tail: query.get("tail").parse::<usize>().ok(),
        since: time("since")?,
        until: time("until")?,
    };
    let prefix = Prefix { timestamps: query.flag("timestamps"), details: query.flag("details") };
    let log =
        door.engine().containers().logs(door.namespace(), name, options).await.map_err(
            |error| match error.kind() {
                ErrorKind::Unimplemented => ApiError::not_implemented("reading")
                    .map_message(|_| "configured logging driver does not support reading".to_owned()),
                _ => ApiError::from(error),
            },
        )?;
    let framing = if log.tty { Framing::Raw } else { Framing::Multiplexed };
    let chunks = stream::unfold(Some(log), move |log| async move {
        let mut log = log?;
        let mut chunk = BytesMut::new();
        let mut entry = log.next().await?;
        // What is there already goes out together: a log has many short lines.
        loop {
            match entry {
                Ok(entry) => put_entry(&mut chunk, &entry, framing, prefix),
                // The head is out: the error is said in the stream, which ends with it.
                Err(error) => {
                    put_failure(&mut chunk, &error.to_string(), framing);
                    return Some((Ok(chunk.freeze()), None));
                }
            }
            if chunk.len() >= CHUNK {
                return Some((Ok(chunk.freeze()), Some(log)));
            }
            match log.next().now_or_never() {
                Some(Some(next)) => entry = next,
                Some(None) => return Some((Ok(chunk.freeze()), None)),
                None => return Some((Ok(chunk.freeze()), Some(log))),
            }
        }
    });
    Ok(body::stream(framing.content_type(request), chunks))
}

fn put_entry(chunk: &mut BytesMut, entry: &LogEntry, framing: Framing, prefix: Prefix) {
    let begin = chunk.len();
    if framing == Framing::Multiplexed {
        chunk.put_bytes(0, stdcopy::HEAD);
    }
    if prefix.timestamps {
        chunk.put_slice(fixed_nanos(entry.time).as_bytes());
        chunk.put_u8(b' ');
    }
    if prefix.details {
        chunk.put_slice(attributes(&entry.attributes).as_bytes());
        chunk.put_u8(b' ');
    }
    chunk.put_slice(&entry.bytes);
    let stream = match entry.stream {
        Stream::Stdout => stdcopy::Stream::Stdout,
        Stream::Stderr => stdcopy::Stream::Stderr,
    };
    finish_frame(chunk, begin, framing, stream);
}

fn put_failure(chunk: &mut BytesMut, message: &str, framing: Framing) {
    let begin = chunk.len();
    if framing == Framing::Multiplexed {
        chunk.put_bytes(0, stdcopy::HEAD);
    }
    chunk.put_slice(format!("Error grabbing logs: {message}\n").as_bytes());
    finish_frame(chunk, begin, framing, stdcopy::Stream::System);
}

/// Fills the head that was left open at `begin`.
fn finish_frame(chunk: &mut BytesMut, begin: usize, framing: Framing, stream: stdcopy::Stream) {
    if framing == Framing::Multiplexed {
        let length =
            u32::try_from(chunk.len() - begin - stdcopy::HEAD).expect("invariant: lines are far below 4 GiB");
        chunk[begin..begin + stdcopy::HEAD].copy_from_slice(&stdcopy::head(stream, length));
    }
}

/// `a=1,b=2`, escaped as in a query.
fn attributes(attributes: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                b' ' => "+".to_owned(),
                byte => format!("%{byte:02X}"),
            })
            .collect::<String>()
    };
    let pairs: Vec<String> =
        attributes.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tare_types::Timestamp;

    fn entry() -> LogEntry {
        LogEntry {
            time: Timestamp::new(0, 1),
            stream: Stream::Stderr,
            bytes: Bytes::from_static(b"hi\n"),
            attributes: [("a b".to_owned(), "c/d".to_owned())].into(),
        }
    }

    #[test]
    fn lines_are_framed_with_their_prefix() {
        let prefix = Prefix { timestamps: true, details: true };
        let mut raw = BytesMut::new();
        put_entry(&mut raw, &entry(), Framing::Raw, prefix);
        assert_eq!(raw, "1970-01-01T00:00:00.000000001Z a+b=c%2Fd hi\n");
        let mut framed = BytesMut::new();
        put_entry(&mut framed, &entry(), Framing::Multiplexed, Prefix { timestamps: false, details: false });
        put_failure(&mut framed, "x", Framing::Multiplexed);
        let failure = b"\x03\0\0\0\0\0\0\x17Error grabbing logs: x\n";
        assert_eq!(framed, [&b"\x02\0\0\0\0\0\0\x03hi\n"[..], failure].concat());
    }
}
