//! A value whose type is named beside it, as protobuf's `Any`, without protobuf.

use serde::{Deserialize, Serialize};

/// Type URL of an OCI runtime spec as JSON.
pub const SPEC_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// Type URL of an OCI process as JSON.
pub const PROCESS_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Type URL of OCI Linux resources as JSON.
pub const RESOURCES_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// Bytes and the name of their type: JSON under `types.containerd.io/opencontainers/…`, else a protobuf message
/// under its full name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Any {
    /// The type, without `type.googleapis.com/`.
    pub type_url: String,
    /// The value.
    pub value: Vec<u8>,
}

impl Any {
    /// A value under its type.
    pub fn new(type_url: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { type_url: type_url.into(), value: value.into() }
    }
}

/// How an [`Any`] is written in a record: text as it is (most values are JSON), other bytes as hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct Stored {
    type_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl From<Any> for Stored {
    fn from(any: Any) -> Self {
        match String::from_utf8(any.value) {
            Ok(text) => Self { type_url: any.type_url, text: Some(text), hex: None },
            Err(error) => {
                let mut hex = String::with_capacity(error.as_bytes().len() * 2);
                for byte in error.as_bytes() {
                    hex.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
                    hex.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
                }
                Self { type_url: any.type_url, text: None, hex: Some(hex) }
            }
        }
    }
}

impl From<Stored> for Any {
    fn from(stored: Stored) -> Self {
        let value = match (stored.text, stored.hex) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(hex)) => hex
                .as_bytes()
                .chunks_exact(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect(),
            (None, None) => Vec::new(),
        };
        Self { type_url: stored.type_url, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_survive_a_record() {
        for value in [&b"{\"a\":1}"[..], &[0xff, 0x00, 0x9c], &[]] {
            let any = Any::new("x", value);
            let json = serde_json::to_string(&any).unwrap();
            assert_eq!(serde_json::from_str::<Any>(&json).unwrap(), any, "{json}");
        }
    }
}
