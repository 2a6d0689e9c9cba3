//! The platform of an image and whether this host can run it (OCI image specification, image-index.md).

use crate::InvalidValue;
use alloc::{format, string::String, string::ToString, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant in Go's words: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// `v7`, `v8`; empty when there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Only meaningful for Windows.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Only meaningful for Windows.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl Platform {
    /// The platform this program was built for.
    pub fn host() -> Self {
        Self { architecture: ARCHITECTURE.to_string(), os: "linux".to_string(), ..Self::default() }
    }

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant` and normalises it.
    ///
    /// # Errors
    /// [`InvalidValue`] for an empty part or more than three.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || !part.bytes().all(is_platform_byte)) {
            return Err(InvalidValue::new("platform", text, "it must be os[/arch[/variant]]"));
        }
        let host = Self::host();
        let (os, architecture, variant) = match parts.as_slice() {
            [one] if matches!(*one, "linux" | "windows" | "darwin" | "freebsd") => {
                (*one, host.architecture.as_str(), "")
            }
            [one] => ("linux", *one, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(InvalidValue::new("platform", text, "it has more than three parts")),
        };
        let (architecture, variant) = normalise(architecture, variant);
        Ok(Self { architecture, os: os.to_lowercase(), variant, ..Self::default() })
    }

    /// Whether an image of this platform runs on `host`; a smaller value fits better, `None` does not run.
    pub fn rank_for(&self, host: &Platform) -> Option<u32> {
        let (architecture, variant) = normalise(&self.architecture, &self.variant);
        let (host_architecture, host_variant) = normalise(&host.architecture, &host.variant);
        if self.os != host.os {
            return None;
        }
        if architecture == host_architecture {
            if variant == host_variant {
                return Some(0);
            }
            // An arm host runs the older variants too.
            let level = |v: &str| v.trim_start_matches('v').parse::<u32>().ok();
            return match (level(&host_variant), level(&variant)) {
                (Some(have), Some(want)) if want < have => Some(have - want),
                (_, None) => Some(50),
                _ => None,
            };
        }
        None
    }
}

fn is_platform_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The normal forms of containerd's `platforms` package.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", _) => ("amd64", ""),
        ("amd64", "v1") => ("amd64", ""),
        ("aarch64", "8" | "v8" | "") | ("arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("i386", _) => ("386", ""),
        other => other,
    };
    (architecture.to_string(), variant.to_string())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: &str = "riscv64";

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}/{}", self.os, self.architecture);
        f.write_str(&text)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_normalises() {
        assert_eq!(Platform::parse("linux/x86_64").unwrap().to_string(), "linux/amd64");
        assert_eq!(Platform::parse("linux/arm64/v8").unwrap().to_string(), "linux/arm64");
        assert_eq!(Platform::parse("linux/arm").unwrap().to_string(), "linux/arm/v7");
        assert!(Platform::parse("a/b/c/d").is_err());
        assert!(Platform::parse("linux/").is_err());
    }

    #[test]
    fn rank_prefers_the_nearest_variant() {
        let host = Platform::parse("linux/arm/v7").unwrap();
        let rank = |text| Platform::parse(text).unwrap().rank_for(&host);
        assert_eq!(rank("linux/arm/v7"), Some(0));
        assert_eq!(rank("linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/amd64"), None);
        assert_eq!(rank("windows/arm"), None);
    }
}
