//! Reading documents that Go programs write: `null` anywhere stands for what is not there.

use alloc::vec::Vec;
use serde::de::DeserializeOwned;

/// Parses a configuration or a part of one. A member of an object that is `null` counts as absent, as in Go.
///
/// # Errors
/// serde_json's, with line and column of the text.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match without_nulls(text) {
        // The first error has the right line and column.
        Some(text) => serde_json::from_slice(&text).map_err(|_| error),
        None => Err(error),
    })
}

/// The text without the members of objects that are `null`; `None` if there are none.
fn without_nulls(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut found = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte != b'"' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let end = end_of_string(text, at);
        match end_of_null_member(text, end) {
            Some(next) => {
                found = true;
                at = next;
                if text.get(at) == Some(&b',') {
                    at += 1;
                } else if let Some(last) = out.iter().rposition(|byte| !byte.is_ascii_whitespace())
                    && out[last] == b','
                {
                    out.truncate(last);
                }
            }
            None => {
                out.extend_from_slice(&text[at..end]);
                at = end;
            }
        }
    }
    found.then_some(out)
}

/// Behind the string that begins at `at`.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = text.get(end) {
        match byte {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    text.len()
}

/// If a name ends at `end` whose value is `null`: the comma or bracket behind that.
fn end_of_null_member(text: &[u8], end: usize) -> Option<usize> {
    let skip = |at: usize| {
        let rest = text.get(at..)?;
        Some(at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count())
    };
    let colon = skip(end)?;
    let value = (text.get(colon) == Some(&b':')).then(|| skip(colon + 1)).flatten()?;
    let next = text.get(value..)?.starts_with(b"null").then(|| skip(value + 4)).flatten()?;
    matches!(text.get(next), Some(b',' | b'}')).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn null_members_are_absent() {
        let text = br#"{"hostname": null, "a": "x\" : null ,", "linux": {"netDevices": {"d": {"name": null}}, "b": null},
            "root": {"path": null}}"#;
        let spec: Spec = parse(text).unwrap();
        assert!(spec.linux.unwrap().net_devices["d"].name.is_empty());
        assert_eq!(spec.hostname, "");
        assert!(without_nulls(br#"{"a": "null", "b": ["null"], "c": {}}"#).is_none());
        assert_eq!(without_nulls(br#"{"a":1,"b":null}"#).unwrap(), br#"{"a":1}"#);
        assert_eq!(without_nulls(br#"{"a":null,"b":2}"#).unwrap(), br#"{"b":2}"#);
        assert_eq!(without_nulls(br#"{"a":null}"#).unwrap(), b"{}");
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        let error = parse::<Spec>(b"{\"root\": null,\n\"hostname\": 3}").unwrap_err();
        assert_eq!((error.line(), error.classify()), (2, serde_json::error::Category::Data));
        for torn in ["{\"a\": nul", "{\"a", "\"\\", "{\"a\": null"] {
            assert!(parse::<Spec>(torn.as_bytes()).is_err(), "{torn}");
        }
    }
}
