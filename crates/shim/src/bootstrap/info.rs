//! `-v` and `-info`: who this is.

use prost::Message;
use std::io::Write;
use tare_api::containerd::types::{RuntimeInfo, RuntimeVersion};

/// The runtime's name as containerd has it.
pub(crate) const RUNTIME_NAME: &str = "io.containerd.tare.v2";

/// Prints the version as containerd's shims do.
///
/// # Errors
/// Standard output is gone.
pub(crate) fn version(program: &str) -> std::io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{program}:\n  Version:  {version}\n  Revision: \n  Go version: none\n\n");
    std::io::stdout().write_all(text.as_bytes())
}

/// Prints `containerd.types.RuntimeInfo`.
///
/// # Errors
/// Standard output is gone.
pub(crate) fn info() -> std::io::Result<()> {
    let info = RuntimeInfo {
        name: RUNTIME_NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        ..Default::default()
    };
    std::io::stdout().write_all(&info.encode_to_vec())
}
