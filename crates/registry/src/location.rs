//! `Location`: where an answer sends us, relative to where we asked (RFC 9110 §10.2.2), and who that is.

use http::Uri;

/// Scheme, host and port: the unit that credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute http or https URL.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?;
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        Some(Self { scheme: scheme.to_string(), host, port: uri.port_u16().unwrap_or(default) })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }
}

/// The absolute URL that `location` means, seen from `base`; `None` when it is no http URL.
pub(crate) fn resolve_location(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or(location);
    let root = format!("{}://{}", base.scheme_str()?, base.authority()?);
    let text = if location.contains("://") {
        location.to_string()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", base.scheme_str()?)
    } else if location.starts_with('/') {
        format!("{root}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{root}{directory}/{location}")
    };
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?.as_str();
    // User names in a URL would be credentials from the registry's hand.
    (Origin::of(&uri).is_some() && !authority.contains('@')).then_some(uri)
}

/// Adds `key=value` to the query.
pub(crate) fn with_query(uri: &Uri, pair: &str) -> Option<Uri> {
    let mark = if uri.query().is_some() { '&' } else { '?' };
    format!("{uri}{mark}{pair}").parse().ok()
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_absolute() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/x?y=1".parse().unwrap();
        let check = |location: &str, expected: &str| {
            assert_eq!(
                resolve_location(&base, location).map(|u| u.to_string()).unwrap_or_default(),
                expected
            );
        };
        check("https://cdn.example/b?sig=%2F", "https://cdn.example/b?sig=%2F");
        check("/v2/z?q#frag", "https://r.example:5000/v2/z?q");
        check("z", "https://r.example:5000/v2/a/blobs/z");
        check("//cdn.example/x", "https://cdn.example/x");
        check("ftp://cdn.example/x", "");
        check("https://u:p@cdn.example/x", "");
    }

    #[test]
    fn origins_compare_by_port_and_scheme() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap());
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y"));
        assert_ne!(origin("https://a.example"), origin("http://a.example"));
        assert_ne!(origin("http://a.example:5000"), origin("http://a.example"));
    }

    #[test]
    fn queries() {
        let uri: Uri = "http://h/u?_state=a".parse().unwrap();
        assert_eq!(
            with_query(&uri, "digest=sha256:1").unwrap().to_string(),
            "http://h/u?_state=a&digest=sha256:1"
        );
        assert_eq!(encode("a b&c+d:pull"), "a%20b%26c%2Bd:pull");
    }
}
