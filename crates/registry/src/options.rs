//! What a client is made with: directories of `hosts.toml`, deadlines, retries, limits.

use std::{path::PathBuf, time::Duration};

/// How a [`crate::Client`] behaves. Nothing is read from the environment.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Directories with `<host>/hosts.toml` as containerd's `config_path`; the first that has the host wins.
    pub hosts_directories: Vec<PathBuf>,
    /// Registries (`host` or `host:port`) reached without TLS beside those on the loopback interface.
    pub plain_http: Vec<String>,
    /// Registries (`host` or `host:port`) whose certificate is not checked.
    pub skip_verify: Vec<String>,
    /// Mirrors of Docker Hub as URLs, tried in order before it (dockerd's `registry-mirrors`).
    pub hub_mirrors: Vec<String>,
    /// Name and version of the program, for the `User-Agent` header.
    pub user_agent: String,
    /// How long each wait may take.
    pub deadlines: Deadlines,
    /// How often and after which pauses something is tried again.
    pub retries: Retries,
    /// The largest manifest or index that is read, in bytes.
    pub document_limit: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            hosts_directories: Vec::new(),
            plain_http: Vec::new(),
            skip_verify: Vec::new(),
            hub_mirrors: Vec::new(),
            user_agent: concat!("tare/", env!("CARGO_PKG_VERSION")).to_string(),
            deadlines: Deadlines::default(),
            retries: Retries::default(),
            // The distribution specification asks registries to take at least 4 MiB.
            document_limit: 4 << 20,
        }
    }
}

/// The longest waits; each is named in the error when it runs out.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// Name lookup and TCP connect.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// From the end of the request to the headers of the answer.
    pub response_header: Duration,
    /// Between two pieces of a body, in either direction.
    pub progress: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            tls: Duration::from_secs(15),
            response_header: Duration::from_secs(60),
            progress: Duration::from_secs(30),
        }
    }
}

/// When a failed exchange is tried again: broken connections, 408, 429 and 5xx.
#[derive(Debug, Clone)]
pub struct Retries {
    /// Attempts in all; a blob's count starts anew whenever bytes arrived.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each, and a random half is taken off.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is an error.
    pub longest_retry_after: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}
