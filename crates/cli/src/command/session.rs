//! A person (or a pipe) connected to a container's streams: copying both ways, detach keys, resizes, signals.

use crate::failure::Failure;
use crate::view::terminal::{self, RawMode};
use crate::wire::client::{Client, Hijacked, with_query};
use crate::wire::frames::{FrameDecoder, Stream};
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{SignalKind, signal};

/// Which streams are connected, and how.
#[derive(Debug)]
pub(crate) struct Session {
    /// Bytes are raw and stdin is a terminal's.
    pub(crate) tty: bool,
    /// Standard input is sent.
    pub(crate) stdin: bool,
    /// Keys that detach; empty for none.
    pub(crate) detach_keys: Vec<u8>,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The streams of the container ended.
    Closed,
    /// The person pressed the detach keys.
    Detached,
}

/// The default: Ctrl-P Ctrl-Q.
pub(crate) const DEFAULT_DETACH_KEYS: [u8; 2] = [16, 17];

/// Parses `ctrl-p,ctrl-q` or `a,b`.
pub(crate) fn parse_detach_keys(text: Option<&str>) -> Result<Vec<u8>, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_DETACH_KEYS.to_vec()) };
    text.split(',')
        .filter(|key| !key.is_empty())
        .map(|key| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([c @ b'a'..=b'z']) => Ok(c - b'a' + 1),
            Some(b"@") => Ok(0),
            Some(b"[") => Ok(27),
            Some(b"\\") => Ok(28),
            Some(b"]") => Ok(29),
            Some(b"^") => Ok(30),
            Some(b"_") => Ok(31),
            None if key.len() == 1 => Ok(key.as_bytes()[0]),
            _ => Err(Failure::usage(format!("invalid detach keys ({text})"))),
        })
        .collect()
}

impl Session {
    /// Copies until the container's side ends. Standard input's end closes only the way in.
    pub(crate) async fn run(&self, stream: Hijacked) -> Result<End, Failure> {
        let _raw = if self.tty && self.stdin { RawMode::enter()? } else { None };
        let (reader, writer) = tokio::io::split(stream);
        let output = copy_output(reader, self.tty);
        if !self.stdin {
            // The way in stays open: closing it would end what reads it.
            let _held = writer;
            return output.await.map(|()| End::Closed);
        }
        let input = copy_input(writer, self.detach_keys.clone());
        tokio::pin!(output, input);
        tokio::select! {
            result = &mut output => result.map(|()| End::Closed),
            detached = &mut input => match detached? {
                true => Ok(End::Detached),
                false => output.await.map(|()| End::Closed),
            },
        }
    }
}

async fn copy_output(mut reader: ReadHalf<Hijacked>, tty: bool) -> Result<(), Failure> {
    let mut decoder = FrameDecoder::default();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(Failure::new(format!("read the container's output: {error}"))),
        };
        if tty {
            write_all(Stream::Out, &buffer[..count])?;
            continue;
        }
        decoder.push(&buffer[..count]);
        while let Some((stream, bytes)) = decoder.next() {
            write_all(stream, &bytes)?;
        }
    }
}

/// Writes to this process's output at once: a prompt must not wait for its newline.
pub(crate) fn write_all(stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    let result = match stream {
        Stream::Out => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Err | Stream::System => std::io::stderr().lock().write_all(bytes),
    };
    result.map_err(|error| Failure::new(format!("write the container's output: {error}")))
}

/// Returns true when the detach keys were pressed.
async fn copy_input(mut writer: WriteHalf<Hijacked>, keys: Vec<u8>) -> Result<bool, Failure> {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    let mut matched = 0;
    loop {
        let count = stdin.read(&mut buffer).await?;
        if count == 0 {
            // The half of the connection: the container sees the end of its input.
            let _closed = writer.shutdown().await;
            return Ok(false);
        }
        let mut pass = Vec::with_capacity(count);
        for &byte in &buffer[..count] {
            if keys.get(matched) == Some(&byte) {
                matched += 1;
                if matched == keys.len() {
                    return Ok(true);
                }
                continue;
            }
            pass.extend_from_slice(&keys[..matched]);
            matched = usize::from(keys.first() == Some(&byte));
            if matched == 0 {
                pass.push(byte);
            }
        }
        if writer.write_all(&pass).await.is_err() {
            // The container has gone; its output says the rest.
            return Ok(false);
        }
    }
}

/// Keeps the container's terminal at the size of ours; runs until it is dropped.
pub(crate) async fn follow_size(client: &Client, path: &str) -> Result<(), Failure> {
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        if let Some((rows, columns)) = terminal::size() {
            let query = with_query(path, &[("h", Some(rows.to_string())), ("w", Some(columns.to_string()))]);
            // The container may have ended; a failed resize is no reason to stop.
            let _ignored = client.post(&query, None).await;
        }
        if changes.recv().await.is_none() {
            return Ok(());
        }
    }
}

/// Sends our signals on to the container; runs until it is dropped.
pub(crate) async fn forward_signals(client: &Client, id: &str) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    loop {
        let name = tokio::select! {
            _ = hangup.recv() => "HUP",
            _ = interrupt.recv() => "INT",
            _ = quit.recv() => "QUIT",
            _ = terminate.recv() => "TERM",
            _ = user1.recv() => "USR1",
            _ = user2.recv() => "USR2",
        };
        let path = with_query(&format!("/containers/{id}/kill"), &[("signal", Some(name.to_owned()))]);
        let _ignored = client.post(&path, None).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys() {
        assert_eq!(parse_detach_keys(None).unwrap(), [16, 17]);
        assert_eq!(parse_detach_keys(Some("ctrl-a,x")).unwrap(), [1, b'x']);
        assert!(parse_detach_keys(Some("ctrl-1")).is_err());
    }
}
