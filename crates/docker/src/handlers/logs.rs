//! Logs.

use crate::body::{self, Handled};
use crate::door::Docker;
use crate::error::ApiError;
use crate::hijack::Framing;
use crate::request::Request;
use crate::stdcopy;
use crate::units::{fixed_nanos, parse_unix};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use std::collections::BTreeMap;
use tare_engine::attach::Stream;
use tare_engine::logs::{LogEntry, LogOptions};
use tare_types::ErrorKind;

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
        match log.next().await? {
            Ok(entry) => Some((Ok(line(&entry, framing, prefix)), Some(log))),
            // The head is out: the error is said in the stream, which ends with it.
            Err(error) => Some((Ok(failure(&error.to_string(), framing)), None)),
        }
    });
    Ok(body::stream(framing.content_type(request), chunks))
}

fn line(entry: &LogEntry, framing: Framing, prefix: Prefix) -> Bytes {
    let mut line = BytesMut::with_capacity(stdcopy::HEAD + entry.bytes.len() + 32);
    if prefix.timestamps {
        line.put_slice(fixed_nanos(entry.time).as_bytes());
        line.put_u8(b' ');
    }
    if prefix.details {
        line.put_slice(attributes(&entry.attributes).as_bytes());
        line.put_u8(b' ');
    }
    line.put_slice(&entry.bytes);
    match (framing, entry.stream) {
        (Framing::Raw, _) => line.freeze(),
        (Framing::Multiplexed, Stream::Stdout) => stdcopy::frame(stdcopy::Stream::Stdout, &line),
        (Framing::Multiplexed, Stream::Stderr) => stdcopy::frame(stdcopy::Stream::Stderr, &line),
    }
}

fn failure(message: &str, framing: Framing) -> Bytes {
    let text = format!("Error grabbing logs: {message}\n");
    match framing {
        Framing::Raw => text.into(),
        Framing::Multiplexed => stdcopy::frame(stdcopy::Stream::System, text.as_bytes()),
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
        let raw = line(&entry(), Framing::Raw, prefix);
        assert_eq!(raw, "1970-01-01T00:00:00.000000001Z a+b=c%2Fd hi\n");
        let framed = line(&entry(), Framing::Multiplexed, Prefix { timestamps: false, details: false });
        assert_eq!(framed, Bytes::from_static(b"\x02\0\0\0\0\0\0\x03hi\n"));
    }
}
