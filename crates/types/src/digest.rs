//! Content digests and the two identities of layers (OCI image specification, descriptor.md and config.md).

use crate::InvalidValue;
use alloc::{format, string::String, string::ToString};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `algorithm:hex`, checked: `sha256` with 64 or `sha512` with 128 lower case hexadecimal digits.
///
/// A digest is safe as a path component (CVE-2024-3727: unchecked digests became paths and requests).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// [`InvalidValue`] when the algorithm is unknown, or length or alphabet of the digits are wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason| InvalidValue::new("digest", text, reason);
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| invalid("it has no colon"))?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(invalid("the algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != length {
            return Err(invalid("the number of digits does not fit the algorithm"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("the digits are not lower case hexadecimal"));
        }
        Ok(Self(text.to_string()))
    }

    /// The SHA-256 digest of bytes in memory.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::from_sha256(&Sha256::digest(bytes).into())
    }

    /// A digest out of the 32 bytes of a finished SHA-256.
    pub fn from_sha256(hash: &[u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            text.push(DIGITS[usize::from(byte >> 4)] as char);
            text.push(DIGITS[usize::from(byte & 15)] as char);
        }
        Self(text)
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve digits, as people see them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of a layer's uncompressed tar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a stack of layers: the name of its committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The chain of one more layer on top of `parent` (OCI image specification, config.md, "Layer ChainID").
    pub fn next(parent: Option<&ChainId>, layer: &DiffId) -> ChainId {
        match parent {
            None => ChainId(layer.0.clone()),
            Some(parent) => ChainId(Digest::of_bytes(format!("{} {}", parent.0, layer.0).as_bytes())),
        }
    }

    /// The chain of a whole stack, bottom layer first; `None` for no layers.
    pub fn of_layers<'a>(layers: impl IntoIterator<Item = &'a DiffId>) -> Option<ChainId> {
        layers.into_iter().fold(None, |parent, layer| Some(Self::next(parent.as_ref(), layer)))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_only_checked_text() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of_bytes(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty).unwrap().short(), "e3b0c44298fc");
        for bad in ["", "sha256:", "sha256:../../etc", "md5:00", &empty.to_uppercase(), &empty[..70]] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chain_id_of_one_layer_is_its_diff_id() {
        let (a, b) = (DiffId(Digest::of_bytes(b"a")), DiffId(Digest::of_bytes(b"b")));
        assert_eq!(ChainId::of_layers([&a]).unwrap().0, a.0);
        let two = Digest::of_bytes(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of_layers([&a, &b]).unwrap().0, two);
    }
}
