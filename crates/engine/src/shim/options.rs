//! What the engine tells a shim beside the bundle: where the streams of a driven container go.

use crate::{
    Any, ContainerRecord, Error, Result, exec::ExecRequest, record::EngineFields, request::LogConfig,
    tasks::Stdio,
};
use prost::Message;
use std::{collections::BTreeMap, path::Path};
use tare_api::tare::shim::v1::{
    CreateOptions, ExecOptions, HoldStreamsRequest, JsonFileLog, LogConfig as ShimLog, TerminalSize,
    log_config::Driver,
};
use tare_types::{ContainerId, ErrorKind, ExecId};

/// stdio of a process whose streams the shim owns.
pub(crate) const OWNED: &str = "tare:";
/// Type URLs of the options.
const CREATE_OPTIONS: &str = "tare.shim.v1.CreateOptions";
const EXEC_OPTIONS: &str = "tare.shim.v1.ExecOptions";

/// Name of a container's log file in its directory.
pub(crate) fn log_name(id: &ContainerId) -> String {
    format!("{id}-json.log")
}

/// The streams of a driven container's first process; behind a foreign shim they are replaced by what is held.
pub(crate) fn stdio(fields: &EngineFields) -> Stdio {
    owned(fields.process.tty)
}

/// What Tare's shim beside a foreign one is asked to hold for a container's first process.
///
/// # Errors
/// `InvalidArgument` for options of the log.
pub(crate) fn held(
    record: &ContainerRecord,
    directory: &Path,
    fields: &EngineFields,
    fifos: &Path,
) -> Result<HoldStreamsRequest> {
    Ok(HoldStreamsRequest {
        id: record.id.to_string(),
        exec_id: String::new(),
        directory: fifos.to_string_lossy().into_owned(),
        terminal: fields.process.tty,
        stdin_open: fields.process.open_stdin,
        stdin_once: fields.process.stdin_once,
        log: log(record, directory, fields)?,
        adopt: false,
    })
}

/// The same for an exec.
pub(crate) fn held_exec(
    id: &ContainerId,
    exec: &ExecId,
    request: &ExecRequest,
    fifos: &Path,
) -> HoldStreamsRequest {
    HoldStreamsRequest {
        id: id.to_string(),
        exec_id: exec.to_string(),
        directory: fifos.to_string_lossy().into_owned(),
        terminal: request.tty,
        stdin_open: request.stdin,
        stdin_once: true,
        log: None,
        adopt: false,
    }
}

/// Streams that the shim owns.
pub(crate) fn owned(terminal: bool) -> Stdio {
    Stdio { stdin: OWNED.into(), stdout: OWNED.into(), stderr: OWNED.into(), terminal }
}

/// Options of a driven container.
pub(crate) fn create(
    record: &ContainerRecord,
    directory: &Path,
    fields: &EngineFields,
    start: bool,
) -> Result<Any> {
    let options = CreateOptions {
        log: log(record, directory, fields)?,
        stdin_open: fields.process.open_stdin,
        stdin_once: fields.process.stdin_once,
        start,
        terminal_size: size(fields.process.console_size),
        ..CreateOptions::default()
    };
    Ok(Any::new(CREATE_OPTIONS, options.encode_to_vec()))
}

/// Where the log of a driven container goes; `None` for driver `none`.
pub(crate) fn log(
    record: &ContainerRecord,
    directory: &Path,
    fields: &EngineFields,
) -> Result<Option<ShimLog>> {
    if fields.log.driver != "json-file" {
        return Ok(None);
    }
    let mut file = json_file(&record.id, directory, &fields.log)?;
    file.attrs = attributes(record, fields).into_iter().collect();
    Ok(Some(ShimLog { driver: Some(Driver::JsonFile(file)) }))
}

/// What the log options `labels`, `env` and `tag` put beside each line.
fn attributes(record: &ContainerRecord, fields: &EngineFields) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let listed = |name: &str| {
        let text = fields.log.options.get(name).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|name| !name.is_empty())
    };
    for label in listed("labels") {
        if let Some(value) = record.labels.get(label) {
            attributes.insert(label.to_owned(), value.clone());
        }
    }
    for name in listed("env") {
        let value = fields.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = fields.log.options.get("tag").filter(|tag| !tag.is_empty()) {
        attributes.insert("tag".to_owned(), rendered(tag, record, fields));
    }
    attributes
}

/// A tag with the fields that Docker's log tags know filled in; what it does not know stays as it is.
fn rendered(tag: &str, record: &ContainerRecord, fields: &EngineFields) -> String {
    let (id, image) = (record.id.as_str(), fields.image_id.as_str());
    let image_hex = image.split_once(':').map_or(image, |(_, hex)| hex);
    let short = |text: &str| text.get(..12).unwrap_or(text).to_owned();
    let mut text = tag.to_owned();
    for (name, value) in [
        ("ID", short(id)),
        ("FullID", id.to_owned()),
        ("Name", fields.name.clone()),
        ("ImageID", short(image_hex)),
        ("ImageFullID", image.to_owned()),
        ("ImageName", fields.image_request.clone()),
        ("DaemonName", "tared".to_owned()),
    ] {
        text = text.replace(&format!("{{{{.{name}}}}}"), &value);
    }
    text
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
        format!("invalid value for {option}: {text:?}"),
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
