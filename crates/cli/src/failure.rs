//! What went wrong, in the words and with the exit codes that users of docker know.

use std::fmt;

/// A failure of the command: a message, an optional hint, an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The whole message, without a prefix.
    pub(crate) message: String,
    /// What to try.
    pub(crate) hint: Option<String>,
    /// Exit code of the process.
    pub(crate) code: u8,
    /// Status of the daemon's answer, where there was one.
    pub(crate) status: Option<u16>,
    /// What of the manual is shown below the message.
    pub(crate) manual: Manual,
}

/// What of the manual is shown below a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manual {
    /// Nothing.
    #[default]
    None,
    /// Where help is found.
    Help,
    /// The usage line too.
    Usage,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message, hint: None, code: 1, status: None, manual: Manual::None }
    }

    /// A wrong flag or argument: exit code 125, as docker has it.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 125, ..Self::new(message) }
    }

    /// A value that a flag cannot have: `invalid argument "x" for "-m, --memory" flag: …`.
    pub(crate) fn flag(value: &str, flags: &str, why: impl fmt::Display) -> Self {
        let message = format!("invalid argument \"{value}\" for \"{flags}\" flag: {why}");
        Self { manual: Manual::Usage, ..Self::usage(message) }
    }

    /// An exit code without a message: that of the container's program.
    pub(crate) fn exit(code: u8) -> Self {
        Self { code, ..Self::new("") }
    }

    /// An answer of the daemon.
    pub(crate) fn from_daemon(status: u16, message: &str) -> Self {
        Self { status: Some(status), ..Self::new(format!("Error response from daemon: {message}")) }
    }

    /// The same with a hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Whether the daemon said 404.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }
}

/// An error of the kernel in its own words: `no such file or directory`.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!("the daemon's answer is not the JSON it should be: {error}"))
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::new(format!("connection to the daemon: {error}"))
    }
}
