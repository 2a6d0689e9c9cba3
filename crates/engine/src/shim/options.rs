//! What the engine tells a shim beside the bundle: where the streams of a driven container go.

use crate::{
    Any, Error, Result, entry::Entry, exec::ExecRequest, record::EngineFields, request::LogConfig,
    tasks::Stdio,
};
use prost::Message;
use std::path::Path;
use tare_api::tare::shim::v1::{
    CreateOptions, ExecOptions, JsonFileLog, LogConfig as ShimLog, TerminalSize, log_config::Driver,
};
use tare_types::{ContainerId, ErrorKind};

/// stdio of a process whose streams the shim owns.
pub(crate) const OWNED: &str = "tare:";
/// Type URLs of the options.
const CREATE_OPTIONS: &str = "tare.shim.v1.CreateOptions";
const EXEC_OPTIONS: &str = "tare.shim.v1.ExecOptions";

/// Name of a container's log file in its directory.
pub(crate) fn log_name(id: &ContainerId) -> String {
    format!("{id}-json.log")
}

/// The streams of a driven container's first process.
///
/// # Errors
/// `Unimplemented` for a log behind a foreign shim: nobody there writes Docker's form.
pub(crate) fn stdio(entry: &Entry, fields: &EngineFields, native: bool) -> Result<Stdio> {
    if native {
        return Ok(owned(fields.process.tty));
    }
    if fields.log.driver != "none" {
        let detail = format!("log driver {} behind a foreign shim is not implemented", fields.log.driver);
        return Err(Error::new(
            ErrorKind::Unimplemented,
            "start",
            "container",
            entry.key.id.as_str(),
            detail,
        )
        .with_hint("use --log-driver none, or Tare's own runtime"));
    }
    Ok(Stdio { terminal: fields.process.tty, ..Stdio::default() })
}

/// Streams that the shim owns.
pub(crate) fn owned(terminal: bool) -> Stdio {
    Stdio { stdin: OWNED.into(), stdout: OWNED.into(), stderr: OWNED.into(), terminal }
}

/// Options of a driven container.
pub(crate) fn create(id: &ContainerId, directory: &Path, fields: &EngineFields, start: bool) -> Result<Any> {
    let log = match fields.log.driver.as_str() {
        "json-file" => {
            Some(ShimLog { driver: Some(Driver::JsonFile(json_file(id, directory, &fields.log)?)) })
        }
        _ => None,
    };
    let options = CreateOptions {
        log,
        stdin_open: fields.process.open_stdin,
        stdin_once: fields.process.stdin_once,
        start,
        terminal_size: size(fields.process.console_size),
        ..CreateOptions::default()
    };
    Ok(Any::new(CREATE_OPTIONS, options.encode_to_vec()))
}

/// Options of an exec: the OCI process and its streams.
pub(crate) fn exec(request: &ExecRequest, process: Vec<u8>) -> Any {
    let options = ExecOptions {
        stdin_open: request.stdin,
        stdin_once: true,
        process,
        terminal_size: size(request.console_size),
    };
    Any::new(EXEC_OPTIONS, options.encode_to_vec())
}

fn size(console: Option<(u16, u16)>) -> Option<TerminalSize> {
    let (height, width) = console.filter(|size| *size != (0, 0))?;
    Some(TerminalSize { width: width.into(), height: height.into() })
}

fn json_file(id: &ContainerId, directory: &Path, log: &LogConfig) -> Result<JsonFileLog> {
    let max_size = match log.options.get("max-size").map(String::as_str) {
        None | Some("" | "-1") => 0,
        Some(text) => parse_size(text).ok_or_else(|| invalid("max-size", text))?,
    };
    let max_files = match log.options.get("max-file").map(String::as_str) {
        None | Some("") => 1,
        Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or_else(|| invalid("max-file", text))?,
    };
    Ok(JsonFileLog {
        path: directory.join(log_name(id)).to_string_lossy().into_owned(),
        max_size,
        max_files,
        attrs: Default::default(),
    })
}

/// Checks log options when a container is created rather than when it is started.
pub(crate) fn check_log(log: &LogConfig) -> Result<()> {
    match log.driver.as_str() {
        "none" => Ok(()),
        "json-file" => {
            let known = [
                "max-size",
                "max-file",
                "labels",
                "labels-regex",
                "env",
                "env-regex",
                "tag",
                "compress",
                "mode",
                "max-buffer-size",
            ];
            if let Some(unknown) = log.options.keys().find(|key| !known.contains(&key.as_str())) {
                let detail = "unknown log opt for json-file log driver";
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "use",
                    "log option",
                    unknown.as_str(),
                    detail,
                ));
            }
            json_file(&ContainerId::new("check")?, Path::new("/"), log).map(drop)
        }
        other => Err(Error::new(ErrorKind::Unimplemented, "use", "log driver", other, "not implemented")),
    }
}

fn invalid(option: &'static str, text: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "use",
        "log option",
        option,
        format!("{text:?} is not a value of it"),
    )
}

/// `10m`, `1g`, `512k`, `100`: powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match bare.as_bytes().last()? {
        b'k' => (&bare[..bare.len() - 1], 10),
        b'm' => (&bare[..bare.len() - 1], 20),
        b'g' => (&bare[..bare.len() - 1], 30),
        b't' => (&bare[..bare.len() - 1], 40),
        _ => (bare, 0),
    };
    digits.parse::<u64>().ok()?.checked_shl(shift).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("10m", 10 << 20), ("1G", 1 << 30), ("512kb", 512 << 10), ("100", 100)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "0", "1.5m"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
