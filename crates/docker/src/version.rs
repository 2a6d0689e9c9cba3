//! API versions and their negotiation: the optional `/v1.NN` before a path.
//!
//! The texts are what clients print. A version below 1.24 gets them as plain text, because such clients know no JSON.

use crate::error::ApiError;
use std::fmt;

/// A version of the Docker Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The newest version served, and the one a path without prefix means.
    pub const MAX: Self = Self::new(1, 51);
    /// The oldest version served.
    pub const MIN: Self = Self::new(1, 24);

    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Whether the client speaks at least 1.`minor`.
    pub(crate) fn at_least(self, minor: u32) -> bool {
        self >= Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Splits `/v1.NN` off a path.
///
/// # Errors
/// [`ApiError`] 400 for a version outside the served range.
pub(crate) fn split(path: &str) -> Result<(ApiVersion, &str), ApiError> {
    let Some((text, rest)) = prefix(path) else { return Ok((ApiVersion::MAX, path)) };
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = ApiVersion::new(parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < ApiVersion::MIN {
        let message = format!(
            "client version {text} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
            ApiVersion::MIN
        );
        return Err(ApiError::bad_parameter(message).plain_text());
    }
    if version > ApiVersion::MAX {
        return Err(ApiError::bad_parameter(format!(
            "client version {text} is too new. Maximum supported API version is {}",
            ApiVersion::MAX
        )));
    }
    Ok((version, rest))
}

fn prefix(path: &str) -> Option<(&str, &str)> {
    let (text, _) = path.strip_prefix("/v")?.split_once('/')?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| (text, &path[2 + text.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_prefix_means_the_newest() {
        assert_eq!(split("/containers/json").unwrap(), (ApiVersion::MAX, "/containers/json"));
        assert_eq!(split("/volumes").unwrap(), (ApiVersion::MAX, "/volumes"));
        assert_eq!(split("/version").unwrap(), (ApiVersion::MAX, "/version"));
    }

    #[test]
    fn versions_compare_as_numbers() {
        let (version, rest) = split("/v1.41/info").unwrap();
        assert_eq!((version.to_string().as_str(), rest), ("1.41", "/info"));
        assert!(version.at_least(30) && !version.at_least(42));
    }

    #[test]
    fn outside_the_range_is_refused_in_dockerds_words() {
        let error = split("/v1.52/info").unwrap_err();
        assert_eq!(error.message(), "client version 1.52 is too new. Maximum supported API version is 1.51");
        let error = split("/v1.9/info").unwrap_err();
        assert_eq!(
            error.message(),
            "client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
    }
}
