//! Image references as people write them and as they are stored (the grammar of distribution/reference).

use crate::{Digest, InvalidValue};
use alloc::{format, string::String, string::ToString};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// The registry that a name without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The longest repository name with its domain, in bytes.
const MAX_NAME_LENGTH: usize = 255;

/// A full reference: `domain/path[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a person typed: `nginx` means `docker.io/library/nginx:latest`.
    ///
    /// # Errors
    /// [`InvalidValue`] when a part breaks the grammar, or the name is 64 hexadecimal digits (an id, not a name).
    pub fn parse_familiar(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason| InvalidValue::new("image reference", text, reason);
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("64 hexadecimal digits are an image id, not a name"));
        }
        let mut reference = Self::split(text)?;
        if reference.domain.is_empty() {
            reference.domain = DEFAULT_DOMAIN.to_string();
        }
        if reference.domain == "index.docker.io" {
            reference.domain = DEFAULT_DOMAIN.to_string();
        }
        if reference.domain == DEFAULT_DOMAIN && !reference.path.contains('/') {
            reference.path = format!("library/{}", reference.path);
        }
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some("latest".to_string());
        }
        Ok(reference)
    }

    /// Parses a stored, full name. It must carry its domain; a tag is not added.
    ///
    /// # Errors
    /// [`InvalidValue`] when a part is missing or breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let reference = Self::split(text)?;
        if reference.domain.is_empty() {
            return Err(InvalidValue::new("image reference", text, "it names no registry"));
        }
        Ok(reference)
    }

    fn split(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason| InvalidValue::new("image reference", text, reason);
        let (name_tag, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).map_err(|_| invalid("the digest is malformed"))?))
            }
            None => (text, None),
        };
        // A colon after the last slash begins the tag; before it, a port.
        let last_slash = name_tag.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name_tag[last_slash..].find(':') {
            Some(at) => (&name_tag[..last_slash + at], Some(&name_tag[last_slash + at + 1..])),
            None => (name_tag, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("the tag must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"));
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, rest)) if is_domain_like(first) => (first, rest),
            _ => ("", name),
        };
        if !domain.is_empty() && !is_domain(domain) {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        if path.is_empty() || !path.split('/').all(is_path_component) {
            let upper = path.bytes().any(|b| b.is_ascii_uppercase());
            return Err(invalid(if upper {
                "the repository name must be lower case"
            } else {
                "the repository name breaks the grammar"
            }));
        }
        if domain.len() + 1 + path.len() > MAX_NAME_LENGTH {
            return Err(invalid("the repository name is longer than 255 characters"));
        }
        Ok(Self { domain: domain.into(), path: path.into(), tag: tag.map(Into::into), digest })
    }

    /// Host of the registry with its port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository below the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if any.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if any.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `domain/path` without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// What to ask the registry for: the digest if there is one, else the tag, else `latest`.
    pub fn object(&self) -> &str {
        self.digest.as_ref().map_or_else(|| self.tag().unwrap_or("latest"), Digest::as_str)
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// [`InvalidValue`] when the tag breaks the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidValue> {
        if !is_tag(tag) {
            return Err(InvalidValue::new("tag", tag, "it must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"));
        }
        Ok(Self { tag: Some(tag.to_string()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository as docker shows it: `nginx`, `user/app`, `localhost:5000/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_string(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as docker shows it.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !tag.is_empty()
        && tag.len() <= 128
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// The first component is a registry when it has a dot or a port, is `localhost`, or has upper case letters.
fn is_domain_like(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            match rest {
                "" => return true,
                rest => ("v6", rest.strip_prefix(':')),
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, Some("0")),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if bytes.is_empty() || !word(bytes[0]) || !word(bytes[bytes.len() - 1]) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.name()))
    }
}

impl FromStr for Reference {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::parse_familiar(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        format!("{reference}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, full: &str, familiar: &str) {
        let reference = Reference::parse_familiar(text).unwrap();
        assert_eq!(reference.to_string(), full);
        assert_eq!(reference.familiar(), familiar);
        assert_eq!(Reference::parse(full).unwrap(), reference);
    }

    #[test]
    fn familiar_names_are_completed() {
        check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("user/app:v1", "docker.io/user/app:v1", "user/app:v1");
        check("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("localhost/x", "localhost/x:latest", "localhost/x:latest");
        check("localhost:5000/a/b:1.0", "localhost:5000/a/b:1.0", "localhost:5000/a/b:1.0");
        check("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest");
        check(
            "127.0.0.1:5000/a__b/c--d",
            "127.0.0.1:5000/a__b/c--d:latest",
            "127.0.0.1:5000/a__b/c--d:latest",
        );
    }

    #[test]
    fn digests_take_no_tag() {
        let digest = Digest::of_bytes(b"x");
        let text = format!("nginx@{digest}");
        check(&text, &format!("docker.io/library/nginx@{digest}"), &text);
        assert_eq!(Reference::parse_familiar(&text).unwrap().object(), digest.as_str());
        let both = format!("nginx:1@{digest}");
        assert_eq!(Reference::parse_familiar(&both).unwrap().tag(), Some("1"));
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":",
            "a:",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a@",
            "a@sha256:1",
            "a:b c",
            "http://x/y",
            "host:port/x",
            "[::1/x",
            "a:..",
            &long,
            &"f".repeat(64),
        ] {
            assert!(Reference::parse_familiar(bad).is_err(), "{bad}");
        }
    }
}
