//! One place that serves a repository: a registry or a mirror of it, and how to speak to it.

use crate::{Error, Result};
use http::{HeaderMap, Uri};
use std::path::PathBuf;
use tare_types::ErrorKind;

/// What an endpoint may be used for (containerd's `capabilities` in `hosts.toml`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Fetching by digest.
    pub pull: bool,
    /// Turning a tag into a digest: only where the tags can be trusted.
    pub resolve: bool,
    /// Storing.
    pub push: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true };
}

/// The TLS part of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsOptions {
    /// PEM files with further authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// PEM files with certificate and key to show, a pair each; the key may be in the first file.
    pub(crate) clients: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether the peer's certificate is not checked.
    pub(crate) skip_verify: bool,
}

/// A registry or mirror.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Host with its port if one is given.
    pub(crate) authority: String,
    /// Path of the API: `/v2`, or as `override_path` says.
    pub(crate) prefix: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) headers: HeaderMap,
    pub(crate) tls: TlsOptions,
    /// Whether this is the registry that the reference names; only it gets the credentials of that name.
    pub(crate) origin: bool,
}

impl Endpoint {
    /// Parses `scheme://host[:port][/path]`; without `override_path`, `/v2` is added to the path.
    pub(crate) fn parse(url: &str, override_path: bool) -> Result<Self> {
        let invalid = |detail: &str| {
            Error::new(ErrorKind::InvalidArgument, "parse", format!("registry URL {url:?}"), detail)
        };
        let full = if url.contains("://") { url.to_string() } else { format!("https://{url}") };
        let uri: Uri = full.parse().map_err(|_| invalid("it is not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") => "http",
            _ => return Err(invalid("the scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?.as_str();
        if authority.contains('@') || authority.starts_with(':') {
            return Err(invalid("it must be a host with an optional port"));
        }
        let mut prefix = uri.path().trim_end_matches('/').to_string();
        if !override_path && !prefix.ends_with("/v2") {
            prefix.push_str("/v2");
        }
        Ok(Self {
            scheme,
            authority: authority.to_ascii_lowercase(),
            prefix,
            capabilities: Capabilities::ALL,
            headers: HeaderMap::new(),
            tls: TlsOptions::default(),
            origin: false,
        })
    }

    /// `host[:port]` of the endpoint.
    pub fn host(&self) -> &str {
        &self.authority
    }

    /// What it may be used for.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The URL of `path` (beginning with a slash) below the API, with a query or nothing.
    pub(crate) fn uri(&self, path: &str, query: &str) -> Uri {
        let mark = if query.is_empty() { "" } else { "?" };
        let text = format!("{}://{}{}{path}{mark}{query}", self.scheme, self.authority, self.prefix);
        text.parse().expect("invariant: checked host, path of grammar-checked parts, encoded query")
    }
}

/// Whether a registry's host is this machine's loopback interface.
pub(crate) fn is_loopback(domain: &str) -> bool {
    let host = match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => domain.split(':').next().unwrap_or(domain),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_endpoints() {
        let plain = Endpoint::parse("https://mirror.example:8443/hub", false).unwrap();
        assert_eq!(
            plain.uri("/a/tags/list", "n=1").to_string(),
            "https://mirror.example:8443/hub/v2/a/tags/list?n=1"
        );
        assert_eq!(Endpoint::parse("http://m/hub/v2/", false).unwrap().prefix, "/hub/v2");
        assert_eq!(Endpoint::parse("http://m/api", true).unwrap().prefix, "/api");
        assert_eq!(
            Endpoint::parse("Mirror.Example", false).unwrap().uri("/", "").to_string(),
            "https://mirror.example/v2/"
        );
        for bad in ["ftp://x", "https://", "https://u:p@h", "unix:///x", "http://a b"] {
            assert!(Endpoint::parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_names() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example", "128.0.0.1", "docker.io", "[::2]:1", "10.0.0.1:5000"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
