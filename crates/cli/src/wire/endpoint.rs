//! Which daemon to talk to: `-H`, then `DOCKER_HOST`, then Tare's own socket.

use crate::failure::Failure;
use std::path::PathBuf;

/// The socket of a daemon that was started with defaults.
pub(crate) const DEFAULT_SOCKET: &str = "/run/tare/docker.sock";

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `unix:///path`
    Unix(PathBuf),
    /// `tcp://host:port`, without TLS.
    Tcp(String),
}

impl Endpoint {
    /// Parses `unix://PATH`, a bare absolute path, `tcp://HOST[:PORT]` or `http://HOST[:PORT]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let host = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"));
        match host.map(|host| host.trim_end_matches('/')) {
            Some(host) if !host.is_empty() => {
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port { host.to_owned() } else { format!("{host}:2375") }))
            }
            _ => Err(Failure::usage(format!("unable to parse docker host `{text}`"))
                .hint("use unix:///path/to/docker.sock or tcp://host:port")),
        }
    }

    /// The endpoint of the flag, the environment or the default, in this order.
    pub(crate) fn choose(flag: Option<&str>, environment: Option<&str>) -> Result<Self, Failure> {
        match flag.or(environment.filter(|text| !text.is_empty())) {
            Some(text) => Self::parse(text),
            None => Ok(Self::Unix(PathBuf::from(DEFAULT_SOCKET))),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_wins_over_environment_over_default() {
        let choose = |flag, environment| Endpoint::choose(flag, environment).unwrap().to_string();
        assert_eq!(choose(Some("unix:///a"), Some("tcp://b:1")), "unix:///a");
        assert_eq!(choose(None, Some("tcp://b")), "tcp://b:2375");
        assert_eq!(choose(None, Some("")), format!("unix://{DEFAULT_SOCKET}"));
        assert!(Endpoint::parse("ftp://x").is_err());
        assert!(Endpoint::parse("tcp://").is_err());
    }
}
