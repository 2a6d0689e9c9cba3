//! Identifiers. The alphabet and the length are those of containerd's `identifiers` package:
//! letters and digits, single separators `.`, `-`, `_` between them, at most 76 characters.

use crate::InvalidValue;
use alloc::string::{String, ToString};
use core::{borrow::Borrow, fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// The longest identifier, in bytes.
pub const MAX_ID_LENGTH: usize = 76;
/// The longest snapshot key or lease id, in bytes.
pub const MAX_KEY_LENGTH: usize = 1024;

fn check_id(what: &'static str, text: &str) -> Result<(), InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::new(what, text, "it is empty"));
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(InvalidValue::new(what, text, "it is longer than 76 characters"));
    }
    let bytes = text.as_bytes();
    let alphanumeric_ends =
        bytes[0].is_ascii_alphanumeric() && bytes[bytes.len() - 1].is_ascii_alphanumeric();
    let separated = bytes.windows(2).all(|pair| pair.iter().any(u8::is_ascii_alphanumeric));
    let alphabet = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if alphanumeric_ends && separated && alphabet {
        return Ok(());
    }
    Err(InvalidValue::new(what, text, "it must match [A-Za-z0-9]+([._-][A-Za-z0-9]+)*"))
}

fn check_key(what: &'static str, text: &str) -> Result<(), InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::new(what, text, "it is empty"));
    }
    if text.len() > MAX_KEY_LENGTH {
        return Err(InvalidValue::new(what, text, "it is longer than 1024 bytes"));
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(InvalidValue::new(what, text, "it holds a control character"));
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it.
            ///
            /// # Errors
            /// [`InvalidValue`] when the length or the alphabet is wrong.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidValue> {
                let text = text.into();
                $check($what, &text)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;
            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Self::new(text.to_string())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A tenant of the daemon, as in containerd: objects of two namespaces never meet, content is shared.
    Namespace, "namespace", check_id);
identifier!(
    /// A container within a namespace.
    ContainerId, "container id", check_id);
identifier!(
    /// A sandbox (pod) within a namespace.
    SandboxId, "sandbox id", check_id);
identifier!(
    /// A process started in a container beside its first one.
    ExecId, "exec id", check_id);
identifier!(
    /// The name of a snapshot: a ChainID for a committed one, mostly a container for an active one.
    SnapshotKey, "snapshot key", check_key);
identifier!(
    /// A lease: a root of garbage collection with an owner and an end.
    LeaseId, "lease id", check_key);

impl Namespace {
    /// The namespace of the Docker door and of the `tare` command.
    pub fn default_namespace() -> Self {
        Self("default".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_containerd() {
        for good in ["a", "default", "k8s.io", "a-b_c.d", "0123", &"a".repeat(76)] {
            assert!(ContainerId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a..b", "-a", "a-", "a/b", "a b", "é", "a\0b", "../x", &"a".repeat(77)] {
            assert!(ContainerId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_free_text_without_control_characters() {
        assert!(SnapshotKey::new("sha256:abc").is_ok());
        assert!(SnapshotKey::new("extract-12 sha256:abc").is_ok());
        assert!(SnapshotKey::new("a\nb").is_err());
    }
}
