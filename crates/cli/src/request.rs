//! Flags to request bodies of the API. Nothing here talks to a daemon.

pub(crate) mod auth;
pub(crate) mod create;
pub(crate) mod ipam;
pub(crate) mod mounts;
pub(crate) mod ports;

use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// `--filter` flags as the API takes them: `{"name": ["value", …]}`; `None` without flags.
pub(crate) fn filters(flags: &[String]) -> Result<Option<String>, Failure> {
    if flags.is_empty() {
        return Ok(None);
    }
    let mut map: Map<String, Value> = Map::new();
    for flag in flags {
        let (name, value) = flag.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "invalid argument \"{flag}\" for filter: bad format of filter (expected name=value)"
            ))
        })?;
        let values = map.entry(name.trim().to_lowercase()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(Value::from(value.trim()));
        }
    }
    Ok(Some(Value::Object(map).to_string()))
}

/// `KEY=VALUE` flags as an object; a bare `KEY` has an empty value.
pub(crate) fn key_values(flags: &[String]) -> Map<String, Value> {
    flags
        .iter()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "")))
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}

/// `-e` flags and `--env-file` files as a list; a bare `NAME` takes the caller's value, or is left out.
pub(crate) fn environment(files: &[String], flags: &[String]) -> Result<Vec<String>, Failure> {
    let mut list = Vec::new();
    for file in files {
        let text = read_file(file)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_once('=').map_or(line, |(name, _)| name);
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(Failure::usage(format!(
                    "invalid env file ({file}): line {}: variable '{name}' contains whitespaces or is empty",
                    number + 1
                )));
            }
            list.extend(with_callers_value(line));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(Failure::flag(flag, "-e, --env", format!("invalid environment variable: {flag}")));
        }
        list.extend(with_callers_value(flag));
    }
    Ok(list)
}

fn with_callers_value(entry: &str) -> Option<String> {
    if entry.contains('=') {
        return Some(entry.to_owned());
    }
    std::env::var(entry).ok().map(|value| format!("{entry}={value}"))
}

/// Reads a file that a flag names.
pub(crate) fn read_file(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("open {path}: {}", crate::failure::plain(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_collect_values_by_name() {
        let flags = ["status=running".to_owned(), "label=a=b".to_owned(), "label=c".to_owned()];
        let value: Value = serde_json::from_str(&filters(&flags).unwrap().unwrap()).unwrap();
        assert_eq!(value, json!({"status": ["running"], "label": ["a=b", "c"]}));
        assert!(filters(&["x".to_owned()]).is_err());
    }
}
